"""Protected items: sections of a file → values, with what the file alone can say against them (A6, E5, J, G)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from pathlib import Path

from drill.estate import item_schema as schema
from drill.estate.findings import Findings
from drill.estate.pairs import Pairs
from drill.estate.replica import Replica, check_region_limits, check_size, take
from drill.estate.yaml import Path_
from drill.model.estate import Database, Item, Pair, Service
from drill.model.network import VmNetwork
from drill.model.retention import RetentionPolicy
from drill.model.server import Size
from drill.model.target import ItemDisk, ItemNic


@dataclass(slots=True)
class Items:
    """What was read so far; `taken` has every MAC address and every static address of a network, and its place."""

    found: Findings
    pairs: Pairs
    folder: Path
    items: dict[str, Item] = field(default_factory=dict)
    taken: dict[tuple[str, ...], str] = field(default_factory=dict)
    replica: Replica = field(init=False)

    def __post_init__(self) -> None:
        self.replica = Replica(self.found, self.pairs, self.taken)

    def read(self, sections: Sequence[schema.ProtectedItemSection]) -> None:
        """Take all items."""
        self.found.unique(("protected_items",), (one.name for one in sections), "protected item")
        for index, one in enumerate(sections):
            self._item(one, ("protected_items", index))

    def _item(self, one: schema.ProtectedItemSection, path: Path_) -> None:
        sites = self.pairs.sites
        if not self.found.known((*path, "pair"), one.pair, self.pairs.pairs, "there is no pair"):
            return
        pair = self._pair(one, self.pairs.pairs[one.pair], path)
        host = sites.hosts.get(one.source_host)
        if self.found.known((*path, "source_host"), one.source_host, sites.hosts, "there is no host"):
            if host is None or host.cloud != pair.source:
                self.found.wrong((*path, "source_host"), f"{one.source_host!r} is not in cloud {pair.source!r} (A6)")
                return
            self.items[one.name] = self._value(one, pair, host.site, path)

    def _pair(self, one: schema.ProtectedItemSection, pair: Pair, path: Path_) -> Pair:
        """The pair as it is for this item: with the item's own policy and count of points (A12, E5)."""
        policy = pair.policy
        if one.policy is not None:
            policies = {each.name: each for each in pair.policies}
            if self.found.known((*path, "policy"), one.policy, policies, f"pair {pair.name!r} has no policy"):
                policy = policies[one.policy]
        if one.additional_points is not None:
            at: Path_ = (*path, "additional_points")
            if one.additional_points < policy.additional_points:
                said = (
                    f"{one.additional_points} are fewer than the {policy.additional_points} of policy {policy.name!r}"
                )
                self.found.wrong(at, f"{said} (E5)")
            policy = replace(policy, additional_points=one.additional_points)
            kept = RetentionPolicy(window_seconds=policy.window_seconds, additional=policy.additional_points)
            self.pairs.retention(at, kept, policy.application_consistent_hours)
        return replace(pair, policy=policy)

    def _value(self, one: schema.ProtectedItemSection, pair: Pair, source_site: str, path: Path_) -> Item:
        nics = tuple(self._nic(nic, source_site, (*path, "nics", number)) for number, nic in enumerate(one.nics))
        disks = self._disks(one, pair, path)
        size = self.replica.size(one, pair, path)
        item = Item(
            name=one.name,
            pair=pair,
            source_host=one.source_host,
            target_host=self.replica.host(one, pair, path),
            size=size,
            services=tuple(
                Service(name=part.name, port=part.port, request=part.request, expect=part.expect)
                for part in one.services
            ),
            ledgers=tuple(one.ledgers),
            agent=one.agent,
            databases=self._databases(one, path),
            os_type=one.os_type or "",
            os_disk=one.os_disk or "",
            memory_mib=one.memory_mib,
            vcpus=one.vcpus,
            nics=nics,
            disks=disks,
            target=self.replica.target(one, pair, path),
            additional_points=one.additional_points,
        )
        self.found.unique((*path, "services"), (part.name for part in one.services), "service")
        _check_machine(item, size, path, self.found)
        return item

    def _nic(self, nic: schema.NicSection, site: str, path: Path_) -> ItemNic:
        sites, network = self.pairs.sites, None
        if nic.network is not None:
            known = sites.networks_at(site)
            if self.found.known((*path, "network"), nic.network, known, f"site {site!r} has no VM network"):
                network = sites.networks[site, nic.network]
        elif nic.addresses or nic.subnet or nic.gateway:
            self.found.wrong(path, "a card on no network has no subnet, address or gateway")
        if nic.mac is not None:
            take(self.taken, ("mac", nic.mac), (*path, "mac"), self.found)
        if network is not None:
            self._addresses(nic, network, path)
        return ItemNic(
            mac=nic.mac or "",
            network=nic.network,
            subnet=nic.subnet or "",
            mode=nic.mode,
            addresses=tuple(nic.addresses),
            gateway=nic.gateway or "",
        )

    def _addresses(self, nic: schema.NicSection, network: VmNetwork, path: Path_) -> None:
        names = [one.name for one in network.subnets]
        if nic.subnet is not None:
            self.found.known((*path, "subnet"), nic.subnet, names, f"VM network {network.name!r} has no subnet")
        for number, text in enumerate(nic.addresses):
            at: Path_ = (*path, "addresses", number)
            address = str(ip_interface(text).ip)
            holding = [one.name for one in network.subnets if one.holds(address)]
            if not holding:
                self.found.wrong(at, f"{address} is in no subnet of VM network {network.name!r}")
            elif number == 0 and nic.subnet in names and nic.subnet not in holding:
                self.found.wrong(at, f"{address} is in subnet {holding[0]!r}, not in {nic.subnet!r}")
            if nic.mode == "static":
                take(self.taken, ("source", network.site, network.name, address), at, self.found)

    def _disks(self, one: schema.ProtectedItemSection, pair: Pair, path: Path_) -> tuple[ItemDisk, ...]:
        sites = self.pairs.sites
        self.found.unique((*path, "disks"), (disk.target for disk in one.disks), "disk", key="target")
        host = sites.hosts[one.source_host]
        for number, disk in enumerate(one.disks):
            if disk.location is not None:
                server = sites.clouds[pair.source].server
                sites.reached((*path, "disks", number, "location"), server, disk.location, host.host_group_key)
        targets = [disk.target for disk in one.disks]
        if one.os_disk is not None and targets:
            self.found.known((*path, "os_disk"), one.os_disk, targets, f"{one.name!r} has no disk")
        return tuple(
            ItemDisk(target=disk.target, size_bytes=disk.size_bytes, location=disk.location or "") for disk in one.disks
        )

    def _databases(self, item: schema.ProtectedItemSection, path: Path_) -> tuple[Database, ...]:
        at: Path_ = (*path, "databases")
        if item.databases and not item.agent:
            self.found.wrong(at, f"{item.name!r} has no agent through which to look into a database")
        self.found.unique(at, (one.name for one in item.databases), "database")
        for index, one in enumerate(item.databases):
            if (one.table is None) != (one.history is None):
                self.found.wrong((*at, index), "table and history belong together")
        return tuple(
            Database(
                name=one.name,
                user=one.user,
                table=one.table or "",
                column=one.column,
                history=str(self.folder / one.history) if one.history else "",
            )
            for one in item.databases
        )


def _check_machine(item: Item, size: Size | None, path: Path_, found: Findings) -> None:
    if size is not None:
        check_size(item, size, path, found)
    if item.pair.region:
        check_region_limits(item, path, found)
