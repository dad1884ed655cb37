"""Where the next cycle must begin: the source's journal and the receiver's head, compared.

Pure: facts in, a decision out.  Whatever is not proven to continue begins anew (I31); old points stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drill.model.machine import Machine
from drill.model.point import Point
from drill.replication.journal import Acknowledged, Journal, Pending


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
    """Nothing connects the two: all disks go whole, in a new epoch that supersedes the receiver's head."""

    supersedes: str
    reason: str


Decision = Continue | Adopt | NewEpoch


def decide(journal: Journal, head: Point | None) -> Decision:
    """What the receiver's newest point means to this source."""
    known, pending = journal.acknowledged, journal.pending
    if head is None:
        return NewEpoch("", "the receiver lost its points" if known else "first copy")
    if known is not None and _same(known.point, head):
        return Continue(known)
    if pending is not None and (pending.epoch, pending.sequence, pending.log_digest) == (
        head.epoch,
        head.sequence,
        head.log_digest,
    ):
        return Adopt(pending, head)
    if known is None:
        return NewEpoch(head.log_digest, "the receiver has points of another source or of an earlier protection")
    return NewEpoch(
        head.log_digest,
        f"the receiver's head is {head.epoch}/{head.sequence}, acknowledged was "
        f"{known.point.epoch}/{known.point.sequence}",
    )


def bases(
    machine: Machine, acknowledged: Acknowledged | None, provable: Iterable[str], owed_full: Iterable[str]
) -> dict[str, str | None]:
    """Per disk the checkpoint whose changes are enough, or None where the disk must be read whole.

    Enough is: the bitmap is provable, the receiver's newest point has the disk in the same size, nothing is owed.
    """
    if acknowledged is None:
        return {disk.target: None for disk in machine.disks}
    proven = set(provable) - set(owed_full)
    sizes = {seal.target: seal.size_bytes for seal in acknowledged.point.disks}
    return {
        disk.target: acknowledged.checkpoint
        if disk.target in proven and sizes.get(disk.target) == disk.size_bytes
        else None
        for disk in machine.disks
    }


def _same(one: Point, other: Point) -> bool:
    return (one.epoch, one.sequence, one.log_digest) == (other.epoch, other.sequence, other.log_digest)
