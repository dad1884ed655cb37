"""What stands in the way of replicating an item, and what will cost more than it needs to; asked before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from drill.errors import DrillError
from drill.wiring.controller import Protection


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Of one item: `problems` forbid replication, each with its cure; `without_bitmap` are disks, sorted."""

    item: str
    problems: tuple[str, ...]
    without_bitmap: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What works, but at a price."""
        return (full_read(self.without_bitmap),) if self.without_bitmap else ()


def full_read(targets: tuple[str, ...]) -> str:
    """What it means that disks can hold no dirty bitmap."""
    disks = ", ".join(targets)
    return (
        f"no change tracking on {disks} (raw, or qcow2 of version 2): read whole, and compared by digests, in each "
        "cycle; qcow2 of version 3 is read where it changed only"
    )


def look(protection: Protection, name: str) -> Readiness:
    """Ask the item's libvirt and both agents; nothing is changed.  Usage for an item that the estate does not have."""
    item = protection.estate.items[protection.item_named(name)]
    disks: list[str] = []
    problems: list[str] = []
    for ask in (
        lambda: protection.hosts.receiver(item.target_host).points(protection.identity(name)),
        lambda: disks.extend(protection.source(name).without_bitmap(name)),
    ):
        try:
            ask()
        except DrillError as error:
            problems.append(f"{error}; {error.remedy}" if error.remedy else str(error))
    return Readiness(item=name, problems=tuple(dict.fromkeys(problems)), without_bitmap=tuple(disks))
