"""Observers of a machine as its hypervisor and its own agent show it."""

from __future__ import annotations

import re

from drill.core.owed import BEATS_MIN
from drill.errors import DrillError
from drill.model.command import Check
from drill.model.fact import Json
from drill.model.machine import PowerState
from drill.ports import Clock, Hosts

_BEAT = re.compile(rb"drill-heartbeat (\d{1,18})(?!\d)")
CONSOLE_SECONDS = 2.6
LEDGER_BYTES_MAX = 64 << 20


def boot(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """The power state, and the machine as the libvirt of the host it was looked for on has it."""
    del clock
    hypervisor = hosts.hypervisor(check.host)
    state, machine = hypervisor.power(check.domain), hypervisor.machine(check.domain)
    return {
        "state": state.value,
        "host": check.host,
        "memory_mib": machine.memory_mib,
        "vcpus": machine.vcpus,
        "disks": [disk.target for disk in machine.disks],
    }, None


def agent(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Whether the guest's agent answers within the check's time, and after how many seconds."""
    guest = hosts.hypervisor(check.host).guest(check.domain)
    began, refusal = clock.monotonic(), ""
    while clock.monotonic() - began < check.seconds:
        try:
            guest.ping(check.seconds)
        except DrillError as error:
            refusal = str(error)
            clock.sleep(0.2)
        else:
            return {"answers": True, "seconds": round(clock.monotonic() - began, 3)}, None
    return {"answers": False, "seconds": round(clock.monotonic() - began, 3)}, {"refusal": refusal}


def heartbeat(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """The beats a guest counts on its serial console; needs no agent and no network.

    Listens until there are beats that rise, at most for the check's time: the guest may still be booting.
    """
    began, beats, printed = clock.monotonic(), [], 0
    while True:
        heard = hosts.hypervisor(check.host).console(check.domain, CONSOLE_SECONDS)
        beats += [int(number) for number in _BEAT.findall(heard)]
        printed += len(heard)
        if len(beats) >= BEATS_MIN or clock.monotonic() - began >= check.seconds:
            return {"beats": list[Json](beats)}, {"listened_seconds": clock.monotonic() - began, "bytes": printed}


def primary(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Whether the primary runs and its item replicates; the ledger's growth over half a second is shown beside it."""
    state = hosts.hypervisor(check.host).power(check.domain)
    status = hosts.source(check.host).status(check.item)
    evidence: dict[str, Json] = {"acknowledged_sequence": status.acknowledged_sequence, "last_error": status.last_error}
    if check.paths and state is PowerState.RUNNING:
        guest = hosts.hypervisor(check.host).guest(check.domain)
        before = len(guest.read_file(check.paths[0], LEDGER_BYTES_MAX))
        clock.sleep(0.5)
        evidence["ledger_grew_bytes"] = len(guest.read_file(check.paths[0], LEDGER_BYTES_MAX)) - before
    return {"state": state.value, "item_state": status.state.value}, evidence
