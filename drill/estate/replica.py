"""What a replica is to be: host, size, cards and disks as chosen in the file, checked against the target (G, J)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drill.estate import item_schema as schema
from drill.estate.findings import Findings
from drill.estate.pairs import Pairs
from drill.estate.yaml import Path_
from drill.model.estate import Item, Pair
from drill.model.network import VmNetwork
from drill.model.server import Size
from drill.model.target import Target, TargetDisk, TargetNic

REGION_DATA_DISKS_MAX = 16
REGION_OS_DISK_BYTES_MAX = 2 << 40
REGION_NAME = re.compile(r"[A-Za-z0-9-]{1,63}\Z")
"""The limits of a region's machines (spec J7)."""


def take(taken: dict[tuple[str, ...], str], key: tuple[str, ...], path: Path_, found: Findings) -> None:
    """Note that the file has something of which there is one; a mistake where it stands elsewhere already."""
    where = found.document.where(path)
    other = taken.setdefault(key, where)
    if other != where:
        found.wrong(path, f"{key[-1]} stands already at {other}")


@dataclass(frozen=True, slots=True)
class Replica:
    """Reads the `target` of items; `taken` is shared by all of them."""

    found: Findings
    pairs: Pairs
    taken: dict[tuple[str, ...], str]

    def host(self, one: schema.ProtectedItemSection, pair: Pair, path: Path_) -> str:
        """The host that was chosen, else the target cloud's first; "" for a region."""
        at: Path_ = (*path, "target", "host")
        if not pair.target:
            if one.target.host is not None:
                self.found.wrong(at, "a region has no hosts to choose")
            return ""
        hosts = [host.name for host in self.pairs.sites.hosts.values() if host.cloud == pair.target]
        if one.target.host is not None:
            self.found.known(at, one.target.host, hosts, f"cloud {pair.target!r} has no host")
        return one.target.host or next(iter(hosts), "")

    def size(self, one: schema.ProtectedItemSection, pair: Pair, path: Path_) -> Size | None:
        """The size that was chosen, of the target cloud or region."""
        name, sites = one.target.size, self.pairs.sites
        if name is None:
            return None
        place = sites.regions[pair.region] if pair.region else sites.clouds[pair.target]
        what = f"{'region' if pair.region else 'cloud'} {place.name!r} has no size"
        self.found.known((*path, "target", "size"), name, [size.name for size in place.sizes], what)
        return place.size(name)

    def target(self, one: schema.ProtectedItemSection, pair: Pair, path: Path_) -> Target:
        """All that was chosen."""
        at: Path_ = (*path, "target")
        target = one.target
        self.found.unique((*at, "nics"), (str(nic.source) for nic in target.nics), "card", key="source")
        self.found.unique((*at, "disks"), (disk.target for disk in target.disks), "disk", key="target")
        return Target(
            name=target.name or "",
            host=target.host or "",
            size=target.size or "",
            group=target.group or "",
            availability_set=target.availability_set or "",
            nics=tuple(self._nic(nic, one, pair, (*at, "nics", n)) for n, nic in enumerate(target.nics)),
            disks=tuple(self._disk(disk, one, pair, (*at, "disks", n)) for n, disk in enumerate(target.disks)),
        )

    def _nic(
        self, nic: schema.TargetNicSection, one: schema.ProtectedItemSection, pair: Pair, path: Path_
    ) -> TargetNic:
        if one.nics and nic.source >= len(one.nics):
            self.found.wrong((*path, "source"), f"{one.name!r} has {len(one.nics)} cards, counted from 0")
        if not nic.connected and (nic.network or nic.subnet or nic.addresses):
            self.found.wrong(path, "a card that is not connected has no network, subnet or address")
        network = self._network(nic, one, pair, path)
        if network is not None:
            self._addresses(nic, network, path)
        elif nic.subnet is not None:
            self.found.wrong((*path, "subnet"), "no network is chosen, and none is mapped, that has a subnet")
        return TargetNic(
            source=nic.source,
            network=nic.network if nic.connected else "",
            subnet=nic.subnet or "",
            addresses=tuple(nic.addresses),
            chosen=nic.chosen,
        )

    def _network(
        self, nic: schema.TargetNicSection, one: schema.ProtectedItemSection, pair: Pair, path: Path_
    ) -> VmNetwork | None:
        """The network that was chosen, else the one to which the source card's is mapped, where the file says that."""
        sites, site = self.pairs.sites, self.pairs.target_site(pair)
        if nic.network is not None:
            known = sites.networks_at(site)
            if self.found.known((*path, "network"), nic.network, known, f"{site!r} has no VM network"):
                return sites.networks[site, nic.network]
            return None
        source = one.nics[nic.source].network if nic.source < len(one.nics) else None
        mapping = self.pairs.network_mappings.get((sites.clouds[pair.source].site, source or "", site))
        return sites.networks.get((site, mapping.target)) if mapping else None

    def _addresses(self, nic: schema.TargetNicSection, network: VmNetwork, path: Path_) -> None:
        names = [one.name for one in network.subnets]
        if nic.subnet is not None:
            self.found.known((*path, "subnet"), nic.subnet, names, f"VM network {network.name!r} has no subnet")
        for number, address in enumerate(nic.addresses):
            at: Path_ = (*path, "addresses", number)
            holding = [one.name for one in network.subnets if one.holds(address)]
            if not holding:
                self.found.wrong(at, f"{address} is in no subnet of VM network {network.name!r}")
            elif number == 0 and nic.subnet in names and nic.subnet not in holding:
                self.found.wrong(at, f"{address} is in subnet {holding[0]!r}, not in {nic.subnet!r}")
            take(self.taken, ("target", network.site, network.name, address), at, self.found)

    def _disk(
        self, disk: schema.TargetDiskSection, one: schema.ProtectedItemSection, pair: Pair, path: Path_
    ) -> TargetDisk:
        sites, server = self.pairs.sites, self.pairs.target_server(pair)
        if one.disks:
            known = [each.target for each in one.disks]
            self.found.known((*path, "target"), disk.target, known, f"{one.name!r} has no disk")
        if disk.classification is not None and disk.location is not None:
            self.found.wrong(path, "has either a classification or a location")
        if not server and (disk.classification or disk.location):
            self.found.wrong(path, "a region has its store, and no classifications or locations")
        elif disk.classification is not None:
            names = [name for of, name in sites.classifications if of == server]
            what = f"server {server!r} has no storage classification"
            self.found.known((*path, "classification"), disk.classification, names, what)
        elif disk.location is not None:
            host = sites.hosts.get(one.target.host or "") or sites.hosts.get(self.host(one, pair, path))
            sites.reached((*path, "location"), server, disk.location, host.host_group_key if host else "")
        return TargetDisk(target=disk.target, classification=disk.classification or "", location=disk.location or "")


def check_size(item: Item, size: Size, path: Path_, found: Findings) -> None:
    """A machine whose memory or processors are declared fits its size; cards beyond it are left out by rule (J1)."""
    for key, has, most in (
        ("memory_mib", item.memory_mib, size.max_memory_mib),
        ("vcpus", item.vcpus, size.max_vcpus),
    ):
        if has > most:
            found.wrong((*path, key), f"{has} are more than the {most} of size {size.name!r}")


def check_region_limits(item: Item, path: Path_, found: Findings) -> None:
    """What a region does not take (J7), as far as the file tells."""
    for keys, name in ((("name",), item.name), (("target", "name"), item.target.name or item.name)):
        if not REGION_NAME.match(name):
            found.wrong((*path, *keys), f"{name!r} is not 1 to 63 letters, digits and hyphens (J7)")
            break
    if len(item.disks) > REGION_DATA_DISKS_MAX + 1:
        said = f"{len(item.disks) - 1} data disks are more than {REGION_DATA_DISKS_MAX} (J7)"
        found.wrong((*path, "disks"), said)
    for number, disk in enumerate(item.disks):
        if disk.target == item.os_disk and disk.size_bytes > REGION_OS_DISK_BYTES_MAX:
            found.wrong((*path, "disks", number, "size_bytes"), "an OS disk is larger than 2 TiB (J7)")
