"""A protected machine as its estate declares it, card by card and disk by disk, and what its replica is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemNic:
    """A card of the source machine, in the machine's order.  `network` None: plugged into nothing.

    `addresses` have prefix lengths (`10.61.1.11/24`, `fd00::11/64`), the first one leads; a DHCP card's are what it was
    last seen with and may be empty.  `subnet` is "" where it follows from the first address.  `gateway` "" for none.
    """

    mac: str = ""
    network: str | None = None
    subnet: str = ""
    mode: str = "static"
    addresses: tuple[str, ...] = ()
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDisk:
    """A disk of the source machine (`vda`); `location` names the storage location it lies in, "" for none declared."""

    target: str
    size_bytes: int = 0
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNic:
    """What the operator chose for a card of the replica (spec J2, J3, J4); `source` is the source card's index from 0.

    `network` None leaves the choice to the mapping and "" means: connected to nothing.  `subnet` "" and no `addresses`
    leave those to the rules.  An address has no prefix length.  A card with `chosen` comes before the others where the
    size has fewer cards or the cards map to different networks.
    """

    source: int
    network: str | None = None
    subnet: str = ""
    addresses: tuple[str, ...] = ()
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDisk:
    """Where a disk of the replica goes: a storage classification or a location, at most one of them; "" for neither."""

    target: str
    classification: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The replica's properties, viewable and editable before a failover (spec J3); "" where the rules decide.

    `name` is the replica's, "" for that of the source; `group` is a resource group, and the availability set is as a
    region has it.
    """

    name: str = ""
    host: str = ""
    size: str = ""
    group: str = ""
    availability_set: str = ""
    nics: tuple[TargetNic, ...] = ()
    disks: tuple[TargetDisk, ...] = ()

    def nic(self, source: int) -> TargetNic | None:
        """What was chosen for the source's card of that index."""
        return next((one for one in self.nics if one.source == source), None)

    def disk(self, target: str) -> TargetDisk | None:
        """What was chosen for the disk of that device name."""
        return next((one for one in self.disks if one.target == target), None)
