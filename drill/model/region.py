"""A region as a target: stores, virtual networks and sizes in place of hosts (spec A13, D1, F2, J)."""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.server import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStore:
    """Where replicas of a region lie.  `redundancy` is `geo` or `local`, `tier` is `standard` or `premium` (A13)."""

    name: str
    region: str
    subscription: str = ""
    redundancy: str = "geo"
    tier: str = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region target.  Its VM networks stand in `Estate.networks`, with the region's name for a site.

    With `gateway` the source site's machines are reached from its networks too (F2).
    """

    name: str
    subscription: str = ""
    stores: tuple[RegionStore, ...] = ()
    sizes: tuple[Size, ...] = ()
    gateway: bool = False

    def store(self, name: str) -> RegionStore | None:
        """The store of that name."""
        return next((one for one in self.stores if one.name == name), None)

    def size(self, name: str) -> Size | None:
        """The size of that name."""
        return next((one for one in self.sizes if one.name == name), None)
