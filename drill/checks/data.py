"""Observers of a machine's data: whole contents by a foreign tool, and the ledger its guest keeps."""

from __future__ import annotations

import re
from bisect import bisect_right

from drill.checks.machine import LEDGER_BYTES_MAX
from drill.errors import BadInput
from drill.model import ledger
from drill.model.command import Check, ReadSourceLedger, SourceLedger
from drill.model.fact import Json, LedgerRead
from drill.ports import Clock, Guest, Hosts

OFFSET_TRIES = 3
_UPTIME = re.compile(rb"([0-9]{1,10})\.([0-9]{2}) ")


def disk_content(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """SHA-256 per disk of the point as stored, read whole; the expectation is the same of the source's export."""
    del clock
    if check.point is None:
        raise BadInput(where=check.vm, problem="no recovery point was chosen")
    point = check.point
    found = hosts.receiver(check.host).witness(point.item, point.epoch, point.sequence)
    return {"disks": dict(found)}, {"epoch": point.epoch, "sequence": point.sequence}


def point_digest(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """The content digest per disk of the point as stored, every byte read again; what rotted since the last scrub
    would otherwise be served unseen."""
    del clock
    if check.point is None:
        raise BadInput(where=check.vm, problem="no recovery point was chosen")
    point = check.point
    found = hosts.receiver(check.host).proof(point.item, point.epoch, point.sequence)
    return (
        {"disks": {target: digest or None for target, digest in found}},
        {"epoch": point.epoch, "sequence": point.sequence},
    )


def replica_ledger(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json, LedgerRead]:
    """The ledger in the bubble *as the point held it*: the recovered guest goes on writing, and its own records,
    those younger than its boot, are left out."""
    guest = hosts.hypervisor(check.host).guest(check.domain)
    booted_us = _booted_us(guest)
    content = guest.read_file(check.paths[0], LEDGER_BYTES_MAX)
    read = ledger.parse(content)
    held = _begun_by(content, read.count, booted_us)
    damage = str(read.damage) if read.damage else ""
    last = ledger.nth(content, held) if held else None
    observed: Json = {"last_sequence": held, "records": held, "torn_bytes": read.torn_bytes, "damage": damage}
    fact = LedgerRead(
        at_us=clock.now_us(),
        vm=check.vm,
        side="replica",
        records=held,
        last_sequence=held,
        last_us=last.time_us if last else 0,
        torn_bytes=read.torn_bytes,
        damage=damage,
    )
    return observed, {"booted_us": booted_us, "records_since_boot": read.count - held}, fact


def one_instant(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Where the two lock-step ledgers ended when the point was taken.

    At boot the guest's writer brings the second level with the first, if it was one behind, and refuses to write if
    it was anything else; so what a point of two instants held is still seen.
    """
    del clock
    guest = hosts.hypervisor(check.host).guest(check.domain)
    booted_us = _booted_us(guest)
    first, second = (_held(guest.read_file(path, LEDGER_BYTES_MAX), booted_us) for path in check.paths[:2])
    return {"first": first, "second": second}, {"booted_us": booted_us}


def _held(content: bytes, booted_us: int) -> int:
    return _begun_by(content, ledger.parse(content).count, booted_us)


def _booted_us(guest: Guest) -> int:
    """The guest's wall clock when its kernel started: no record of its own is older."""
    said = guest.read_file("/proc/uptime", 256)
    found = _UPTIME.match(said)
    if found is None:
        raise BadInput(where="/proc/uptime in the guest", problem=f"{said[:40]!r} is no uptime")
    return guest.time_us() - int(found[1]) * 1_000_000 - int(found[2]) * 10_000


def source_ledger(command: ReadSourceLedger, hosts: Hosts, clock: Clock) -> SourceLedger:
    """The primary's ledger cut at the incident, and the bounds it sets for the point.

    A record is *sent* at its own time and known to be *acknowledged* once the next one begins.  Guest times are moved
    to the host's clock by the offset measured here; its error (half the round trip) widens both bounds.
    """
    guest = hosts.hypervisor(command.host).guest(command.domain)
    offset_us, error_us = _clock_offset(guest, clock)
    content = guest.read_file(command.path, LEDGER_BYTES_MAX)
    read = ledger.parse(content)
    if read.damage is not None:
        return SourceLedger(
            read=None, acknowledged_before=0, sent_before=0, offset_us=offset_us, offset_error_us=error_us,
            error=str(read.damage),
        )  # fmt: skip
    at_incident = _begun_by(content, read.count, command.incident_us + offset_us)
    begun = _begun_by(content, read.count, command.point.begun_us + offset_us - error_us)
    taken = _begun_by(content, read.count, command.point.taken_us + offset_us + error_us)
    last = ledger.nth(content, at_incident) if at_incident else None
    return SourceLedger(
        read=LedgerRead(
            at_us=clock.now_us(),
            vm=command.vm,
            side="source",
            records=at_incident,
            last_sequence=at_incident,
            last_us=last.time_us if last else 0,
            torn_bytes=0,
            damage="",
        ),
        acknowledged_before=max(begun - 1, 0),
        sent_before=taken,
        offset_us=offset_us,
        offset_error_us=error_us,
        error="",
    )


def _begun_by(content: bytes, count: int, instant_us: int) -> int:
    """How many of the first `count` records were begun by a guest instant."""
    return bisect_right(range(1, count + 1), instant_us, key=lambda sequence: ledger.nth(content, sequence).time_us)


def _clock_offset(guest: Guest, clock: Clock) -> tuple[int, int]:
    """Guest clock minus ours, and its error, both in microseconds: the try with the shortest round trip counts."""
    best = (0, 1 << 62)
    for _ in range(OFFSET_TRIES):
        before = clock.now_us()
        guest_us = guest.time_us()
        after = clock.now_us()
        error = (after - before) // 2 + 1
        if error < best[1]:
            best = (guest_us - (before + after) // 2, error)
    return best
