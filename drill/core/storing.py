"""Where the disks of a replica go (spec G): by the mapping of storage classes, else to the host's default location."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from drill.model.estate import Estate, Item
from drill.model.fact import DiskPredicted
from drill.model.finding import Finding
from drill.model.server import Host
from drill.model.storage import StorageClassification, StorageLocation, StorageMapping
from drill.model.target import ItemDisk, TargetDisk

DEFAULT = "default"
"""What the agent's own store is called where a host names no default location."""


@dataclass(slots=True)
class Free:
    """Free bytes per location, as last seen; what is placed is taken off.  A location nobody knows of is absent."""

    bytes_by_location: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, estate: Estate) -> Free:
        """What the estate says of its locations."""
        return cls({one.name: one.free_bytes for one in estate.storage_locations if one.free_bytes is not None})

    def take(self, location: str, size_bytes: int) -> None:
        """A disk of that size goes there."""
        if location in self.bytes_by_location:
            self.bytes_by_location[location] -= size_bytes


def classification_of(estate: Estate, host: Host, disk: ItemDisk, path: str = "") -> StorageLocation | None:
    """The location that a source disk lies in: the declared one, else the one whose folder holds its path."""
    if disk.location:
        return next((one for one in estate.storage_locations if one.name == disk.location), None)
    reached = [one for one in estate.storage_locations if one.path and host.host_group_key in one.host_groups]
    holding = [one for one in reached if path.startswith(one.path.rstrip("/") + "/")]
    return max(holding, key=lambda one: len(one.path), default=None)


def mapped_class(estate: Estate, item: Item, location: StorageLocation | None) -> str:
    """The target class that a source location's class is mapped to, "" for none (G1, G2)."""
    if location is None or not location.classification or item.pair.target not in estate.clouds:
        return ""
    server = estate.clouds[item.pair.target].server
    key = (location.server, location.classification, server)
    found = (one.target for one in estate.storage_mappings if (one.source_server, one.source, one.target_server) == key)
    return next(found, "")


def reached(estate: Estate, host: Host, classification: str) -> tuple[StorageLocation, ...]:
    """The locations of a class that a host reaches (G3)."""
    return tuple(
        one
        for one in estate.storage_locations
        if one.classification == classification and host.host_group_key in one.host_groups
    )


def place(estate: Estate, item: Item, host: Host, disk: ItemDisk, *, free: Free, path: str = "") -> DiskPredicted:
    """Where a disk goes on a host, and its bytes are taken off `free` (G2, G4).  The operator's choice comes first."""
    chosen = item.target.disk(disk.target) or TargetDisk(target=disk.target)
    if chosen.location:
        free.take(chosen.location, disk.size_bytes)
        return DiskPredicted(
            disk=disk.target, location=chosen.location, classification="", rule="J3: set by the operator"
        )
    wanted = chosen.classification or mapped_class(
        estate, item, classification_of(estate, host_of(estate, item), disk, path)
    )
    if not wanted:
        rule = "G2: its storage class is not mapped, so the host's default"
        return _default(host, disk, rule, free)
    best = best_location(reached(estate, host, wanted), disk.size_bytes, free)
    if best is None:
        return _default(host, disk, f"G4: no location of {wanted} has room, so the host's default", free)
    free.take(best, disk.size_bytes)
    rule = f"G4: most free space of {wanted}"
    return DiskPredicted(disk=disk.target, location=best, classification=wanted, rule=rule)


def host_of(estate: Estate, item: Item) -> Host:
    """The source host of an item."""
    return estate.hosts[item.source_host]


def _default(host: Host, disk: ItemDisk, rule: str, free: Free) -> DiskPredicted:
    location = host.default_location or DEFAULT
    free.take(location, disk.size_bytes)
    return DiskPredicted(disk=disk.target, location=location, classification="", rule=rule)


def best_location(locations: Iterable[StorageLocation], size_bytes: int, free: Free) -> str | None:
    """The one with most free space that fits, of equals the first by name (G4).

    One whose free space nobody knows comes after all that are known to fit.
    """
    known = free.bytes_by_location
    names = sorted(one.name for one in locations)
    fitting = [name for name in names if known.get(name, size_bytes) >= size_bytes]
    return max(fitting, key=lambda name: known.get(name, -1), default=None)


def mappings(estate: Estate) -> tuple[Finding, ...]:
    """Mappings whose classes do not exist, or that no pair between their servers can use (G1).

    A pair can use one when each class is offered to a host group of its cloud.
    """
    found = []
    for one in estate.storage_mappings:
        for server, name in ((one.source_server, one.source), (one.target_server, one.target)):
            if not any((known.server, known.name) == (server, name) for known in estate.storage_classifications):
                problem = f"server {server} has no storage classification {name}"
                cure = "declare it, or remove the mapping"
                found.append(Finding(rule="G1", kind="storage mapping", name=one.source, problem=problem, remedy=cure))
        found += _unusable(estate, one)
    return tuple(found)


def _unusable(estate: Estate, one: StorageMapping) -> list[Finding]:
    """What each pair between the mapping's servers lacks; nothing where one of them lacks nothing."""
    missing: list[list[Finding]] = []
    for pair in estate.pairs.values():
        source, target = estate.clouds[pair.source], estate.clouds.get(pair.target)
        if target is None or (source.server, target.server) != (one.source_server, one.target_server):
            continue
        ends = ((source.name, one.source), (target.name, one.target))
        missing.append(
            [
                Finding(
                    rule="G1", kind="storage classification", name=name,
                    problem=f"no host group of cloud {cloud} reaches storage of it",
                    remedy=f"offer a location of {name} to a host group of {cloud}",
                )
                for cloud, name in ends
                if not _offered(estate, cloud, name)
            ]
        )  # fmt: skip
    return [finding for each in missing for finding in each] if all(missing) else []


def _offered(estate: Estate, cloud: str, classification: str) -> bool:
    groups = set(estate.clouds[cloud].host_groups)
    return any(
        one.classification == classification and groups & set(one.host_groups) for one in estate.storage_locations
    )


def onward(estate: Estate, target: StorageClassification) -> tuple[str, ...]:
    """The classes that a class is itself mapped to; for a class of a target usually none (G5)."""
    return tuple(
        one.target for one in estate.storage_mappings if (one.source_server, one.source) == (target.server, target.name)
    )
