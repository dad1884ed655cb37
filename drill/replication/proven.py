"""When each disk of an item was last proven: a small state file beside the item's points, which may always be lost."""

from __future__ import annotations

from dataclasses import dataclass

from drill.errors import BadInput, Damaged
from drill.ports import Files
from drill.replication import manifest, sealed

KIND = "scrub-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """When a disk was last proven, by the receiver's wall clock."""

    target: str
    proven_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """When each disk of an item was last proven."""

    disks: tuple[Proven, ...] = ()


def known(files: Files, item: str) -> dict[str, int]:
    """When each disk was last proven; what cannot be read counts as never."""
    try:
        found = sealed.read(files, f"{item}/{manifest.SCRUB}", KIND, Record)
    except (Damaged, BadInput):
        return {}
    return {disk.target: disk.proven_us for disk in found.value.disks} if found else {}


def note(files: Files, item: str, target: str, proven_us: int | None) -> None:
    """Write down when a disk was proven; None makes it due."""
    times = {one: at for one, at in known(files, item).items() if one != target}
    if proven_us is not None:
        times[target] = proven_us
    disks = tuple(Proven(target=one, proven_us=at) for one, at in sorted(times.items()))
    sealed.write(files, f"{item}/{manifest.SCRUB}", KIND, Record, Record(disks=disks), generation=1)
