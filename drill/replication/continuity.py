"""Where the next cycle must begin: the source's journal and the receiver's head, compared.

Pure: facts in, a decision out.  Whatever is not proven to continue is read whole (I31), and sent only where it differs
from what the receiver has; old points stay where they are (I23).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from drill.model.machine import Disk, Machine
from drill.model.point import Point, Way
from drill.replication.journal import Acknowledged, Journal, Pending, Seeding

BACKLOG_FLOOR_BYTES = 64 << 20
"""Half of a disk is a backlog (spec S1) only from so many bytes on: less is sent in a second."""
NO_HELP = "comparing did not help"
RESIZED = "resized"
NO_BITMAP = "it can hold no bitmap"
CLOSED = "its image was closed since"
BACKLOG = "more than half of it has changed"


@dataclass(frozen=True, slots=True)
class Continue:
    """Both sides agree on the newest point: the next sequence follows it."""

    acknowledged: Acknowledged


@dataclass(frozen=True, slots=True)
class Adopt:
    """The receiver sealed what the journal has as pending; the acknowledgement was lost and is made up for."""

    pending: Pending
    point: Point


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """Nothing connects the two: a new epoch that supersedes the receiver's head, None where it has no point at all."""

    head: Point | None
    reason: str


@dataclass(frozen=True, slots=True)
class Await:
    """The first copy is on a medium that the receiver has not been given yet: nothing is sent meanwhile."""

    reason: str


Decision = Continue | Adopt | NewEpoch | Await


def decide(journal: Journal, head: Point | None) -> Decision:
    """What the receiver's newest point means to this source."""
    known, pending = journal.acknowledged, journal.pending
    awaited = _awaited(journal.seeding, head)
    if awaited:
        return Await(awaited)
    if head is None:
        return NewEpoch(None, "the receiver lost its points" if known else "first copy")
    if known is not None and _same(known.point, head):
        return Continue(known)
    if pending is not None and (pending.epoch, pending.sequence, pending.log_digest) == (
        head.epoch,
        head.sequence,
        head.log_digest,
    ):
        return Adopt(pending, head)
    if known is None:
        return NewEpoch(head, "the receiver has points of another source or of an earlier protection")
    return NewEpoch(
        head,
        f"the receiver's head is {head.epoch}/{head.sequence}, acknowledged was "
        f"{known.point.epoch}/{known.point.sequence}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWay:
    """What a disk builds upon: `base` is the checkpoint whose changes are enough, None where it is read whole.

    `read_bytes` is how much of it will be looked at.
    `reason` says why it is not simply tracked, and is empty when it is.  `waits`: it is a resync in the sense of
    spec S1, which waits for its window; what costs no more than a cycle, or has nothing to compare with, does not.
    """

    target: str
    way: Way
    read_bytes: int
    base: str | None = None
    reason: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for the continuity of an item's disks.

    `dirty` has the bytes that a provable bitmap has as changed since the acknowledged checkpoint; `lineage` is the port
    Backups' word for each image; `owed` and `owed_whole` are the journal's.  A disk `without_bitmap` is
    compared in each cycle, which is no resync.
    """

    dirty: Mapping[str, int]
    lineage: Mapping[str, str]
    owed: Collection[str] = ()
    owed_whole: Collection[str] = ()
    without_bitmap: Collection[str] = ()


def ways(
    machine: Machine, acknowledged: Acknowledged | None, head: Point | None, evidence: Evidence
) -> tuple[DiskWay, ...]:
    """How each disk of the machine is carried on top of `head`.

    Tracked is enough where the bitmap is provable, the image was under one QEMU's eyes since, the receiver's head has
    the disk in this size, and nothing is owed.  What the receiver has no smaller copy of goes whole; the rest is read
    whole and compared.
    """
    return tuple(_way(disk, acknowledged, head, evidence) for disk in machine.disks)


def _way(disk: Disk, acknowledged: Acknowledged | None, head: Point | None, evidence: Evidence) -> DiskWay:
    target, size = disk.target, disk.size_bytes
    sizes = {seal.target: seal.size_bytes for seal in head.disks} if head else {}
    whole = _first(
        ("first copy", target not in sizes),
        ("smaller than at the receiver", sizes.get(target, 0) > size),
        (NO_HELP, target in evidence.owed_whole),
    )
    if whole:
        return DiskWay(target=target, way=Way.WHOLE, read_bytes=size, reason=whole, waits=whole == NO_HELP)
    dirty, known = evidence.dirty.get(target), dict(acknowledged.lineage) if acknowledged else {}
    lost = _first(
        ("nothing connects journal and receiver", acknowledged is None),
        ("resync needed", target in evidence.owed),
        (RESIZED, sizes[target] != size),
        (NO_BITMAP, target in evidence.without_bitmap),
        ("its changes were not tracked", dirty is None),
        (CLOSED, target not in known or evidence.lineage.get(target) != known[target]),
    )
    if lost or acknowledged is None or dirty is None:
        waits = lost not in (RESIZED, CLOSED, NO_BITMAP)
        return DiskWay(target=target, way=Way.COMPARED, read_bytes=size, reason=lost, waits=waits)
    backlog = BACKLOG if dirty >= BACKLOG_FLOOR_BYTES and 2 * dirty > size else ""
    base = acknowledged.checkpoint
    return DiskWay(target=target, way=Way.TRACKED, read_bytes=dirty, base=base, reason=backlog, waits=bool(backlog))


def _first(*reasons: tuple[str, bool]) -> str:
    """The first reason that holds, or an empty text."""
    return next((reason for reason, holds in reasons if holds), "")


def _awaited(seeding: Seeding | None, head: Point | None) -> str:
    """What a first copy on a medium is waiting for; "" when there is none, or when the receiver has another head."""
    if seeding is None:
        return ""
    if not seeding.written:
        return "its first copy is to be exported, and is not yet"
    unchanged = seeding.supersedes == (head.log_digest if head else "")
    return "its first copy was exported, and is not imported yet" if unchanged else ""


def _same(one: Point, other: Point) -> bool:
    return (one.epoch, one.sequence, one.log_digest) == (other.epoch, other.sequence, other.log_digest)
