"""How long recovery points are kept, and what a store says of those it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.point import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Every cycle of the last `window_seconds` is a point, and one an hour before that, `additional` of them (E5)."""

    window_seconds: int = 3600
    additional: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Somebody wants a point kept; `locked_us` is the receiver's wall clock."""

    reason: str
    locked_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPoint:
    """A point as its store keeps it.  `damaged` names the disks whose stored bytes are not what the source had."""

    point: Point
    lock: Lock | None
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What a store says of one item.

    `owed` are disks of the newest point that rotted: what of them did comes from the source again, whole disks but for
    those that are `rotten` (target, pages of 4 KiB).  `chain` is the longest chain of
    files below a disk of the newest point, `proven` (target, receiver's wall clock in microseconds) when every byte
    of a disk was last compared with its digests; a disk that was never compared is not in it.
    """

    item: str
    policy: RetentionPolicy
    points: tuple[KeptPoint, ...]
    owed: tuple[str, ...]
    chain: int
    proven: tuple[tuple[str, int], ...]
    rotten: tuple[tuple[str, int], ...] = ()
