"""An estate file → the model's `Estate`, every reference resolved, every mistake with its file, line and column."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from drill.core import retention
from drill.errors import BadInput, Refused
from drill.estate import schema
from drill.estate.yaml import Document, Path_, read
from drill.model.bandwidth import Bandwidth, BandwidthWindow
from drill.model.estate import ConsistencyGroup, Database, Estate, Item, Pair, Plan, Policy, Service
from drill.model.network import NetworkMapping, Subnet, VmNetwork
from drill.model.retention import RetentionPolicy
from drill.model.server import Host, Size


def load(path: Path) -> Estate:
    """Read and check a whole estate; BadInput lists every mistake of shape, or the first broken reference."""
    document = read(path)
    try:
        section = schema.EstateSection.model_validate(document.value)
    except ValidationError as error:
        raise _shape_error(document, error) from error
    return _Resolver(document, section, path.absolute().parent).estate()


def _shape_error(document: Document, error: ValidationError) -> BadInput:
    mistakes = [(tuple(one["loc"]), one["msg"]) for one in error.errors()]
    lines = [f"{document.where(path)}: {'.'.join(map(str, path)) or 'file'}: {text}" for path, text in mistakes]
    return BadInput(where=document.where(mistakes[0][0]), problem="\n".join(["does not fit the schema", *lines]))


class _Resolver:
    """Turns names into values; each `_xxx` method is a look-up that fails with the place of the reference."""

    def __init__(self, document: Document, section: schema.EstateSection, folder: Path) -> None:
        self.document = document
        self.section = section
        self.folder = folder
        self.hosts: dict[str, Host] = {}
        self.cloud_sizes: dict[str, dict[str, Size]] = {}
        self.cloud_hosts: dict[str, list[str]] = {}
        self.networks: dict[tuple[str, str], VmNetwork] = {}
        self.sites: dict[str, set[str]] = {}

    def estate(self) -> Estate:
        """Resolve section after section; later ones refer to earlier ones only."""
        for index, server in enumerate(self.section.servers):
            self._server(server, ("servers", index))
        self._unique("policies", (one.name for one in self.section.policies))
        for index, one in enumerate(self.section.policies):
            self._check_retention(one, ("policies", index))
        policies = {
            one.name: Policy(
                name=one.name,
                copy_frequency_seconds=one.copy_frequency_seconds,
                witness=one.witness,
                application_consistent_hours=one.application_consistent_hours,
                window_seconds=one.window_minutes * 60,
                additional_points=one.additional_points,
                resync_window="" if one.resync_window == "at once" else one.resync_window,
                compress=one.compression,
                bandwidth=_bandwidth(one.bandwidth) if one.bandwidth else None,
            )
            for one in self.section.policies
        }
        pairs = self._pairs(policies)
        mappings = self._mappings()
        items = self._items(pairs)
        return Estate(
            vault=self.section.vault.name,
            hosts=self.hosts,
            networks=tuple(self.networks.values()),
            network_mappings=mappings,
            items=items,
            plans=self._plans(items),
            groups=self._groups(items),
        )

    def _wrong(self, path: Path_, problem: str) -> BadInput:
        return BadInput(where=self.document.where(path), problem=f"{'.'.join(map(str, path))}: {problem}")

    def _unique(self, list_name: str, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                raise self._wrong((list_name, index, "name"), f"{name!r} is named twice")
            seen.add(name)

    def _check_retention(self, policy: schema.PolicySection, path: Path_) -> None:
        """The bounds of E5 and E6."""
        kept = RetentionPolicy(window_seconds=policy.window_minutes * 60, additional=policy.additional_points)
        try:
            retention.check(kept, policy.application_consistent_hours)
        except Refused as refused:
            raise self._wrong((*path, "additional_points"), f"{refused.reason} ({refused.rule})") from refused

    def _server(self, server: schema.ServerSection, path: Path_) -> None:
        logical = {one.name for one in server.logical_networks}
        for network in server.logical_networks:
            for one in network.vm_networks:
                subnets = tuple(
                    Subnet(
                        name=part.name,
                        cidr=part.cidr,
                        gateway=part.gateway,
                        pool=(part.pool[0], part.pool[1]) if part.pool else None,
                        dhcp=part.dhcp,
                    )
                    for part in one.subnets
                )
                key = (server.site, one.name)
                if key in self.networks:
                    raise self._wrong(path, f"VM network {one.name!r} stands twice at site {server.site!r}")
                self.networks[key] = VmNetwork(
                    site=server.site, name=one.name, logical_network=network.name, subnets=subnets
                )
        for index, cloud in enumerate(server.clouds):
            self._cloud(server, cloud, logical, (*path, "clouds", index))

    def _cloud(self, server: schema.ServerSection, cloud: schema.CloudSection, logical: set[str], path: Path_) -> None:
        if cloud.name in self.cloud_hosts:
            raise self._wrong((*path, "name"), f"cloud {cloud.name!r} is named twice")
        for index, name in enumerate(cloud.logical_networks):
            if name not in logical:
                raise self._wrong((*path, "logical_networks", index), f"server {server.name!r} has no {name!r}")
        self.cloud_sizes[cloud.name] = {
            one.name: Size(
                name=one.name, max_nics=one.max_nics, max_vcpus=one.max_vcpus, max_memory_mib=one.max_memory_mib
            )
            for one in cloud.sizes
        }
        self.sites.setdefault(server.site, set()).add(cloud.name)
        self.cloud_hosts[cloud.name] = []
        for group in cloud.host_groups:
            for host in group.hosts:
                if host.name in self.hosts:
                    raise self._wrong(path, f"host {host.name!r} is named twice")
                self.cloud_hosts[cloud.name].append(host.name)
                self.hosts[host.name] = Host(
                    name=host.name,
                    site=server.site,
                    cloud=cloud.name,
                    libvirt=host.libvirt,
                    source_agent=host.agent.source,
                    receiver_agent=host.agent.receiver,
                    replication_address=host.replication_address or host.agent.receiver,
                )

    def _pairs(self, policies: dict[str, Policy]) -> dict[str, Pair]:
        self._unique("pairs", (one.name for one in self.section.pairs))
        used: dict[str, str] = {}
        pairs: dict[str, Pair] = {}
        for index, one in enumerate(self.section.pairs):
            path: Path_ = ("pairs", index)
            if one.policy not in policies:
                raise self._wrong((*path, "policy"), f"there is no policy {one.policy!r}")
            for key, cloud in (("source", one.source), ("target", one.target)):
                if cloud not in self.cloud_hosts:
                    raise self._wrong((*path, key), f"there is no cloud {cloud!r}")
                if cloud in used:
                    raise self._wrong((*path, key), f"cloud {cloud!r} belongs to pair {used[cloud]!r} already (D2)")
                used[cloud] = one.name
            pairs[one.name] = Pair(source=one.source, target=one.target, policy=policies[one.policy])
        return pairs

    def _mappings(self) -> tuple[NetworkMapping, ...]:
        names = {name: site for site, name in self.networks}
        mappings: dict[str, NetworkMapping] = {}
        for index, one in enumerate(self.section.network_mappings):
            for key, name in (("source", one.source), ("target", one.target)):
                if name not in names:
                    raise self._wrong(("network_mappings", index, key), f"there is no VM network {name!r}")
            if one.source in mappings:
                raise self._wrong(("network_mappings", index, "source"), f"{one.source!r} is mapped twice (F1)")
            mappings[one.source] = NetworkMapping(
                source_site=names[one.source], source=one.source, target_site=names[one.target], target=one.target
            )
        return tuple(mappings.values())

    def _items(self, pairs: dict[str, Pair]) -> dict[str, Item]:
        self._unique("protected_items", (one.name for one in self.section.protected_items))
        items: dict[str, Item] = {}
        for index, one in enumerate(self.section.protected_items):
            path: Path_ = ("protected_items", index)
            if one.pair not in pairs:
                raise self._wrong((*path, "pair"), f"there is no pair {one.pair!r}")
            pair = pairs[one.pair]
            if one.source_host not in self.cloud_hosts[pair.source]:
                raise self._wrong((*path, "source_host"), f"{one.source_host!r} is not in cloud {pair.source!r} (A6)")
            target = one.target.host or self.cloud_hosts[pair.target][0]
            if target not in self.cloud_hosts[pair.target]:
                raise self._wrong((*path, "target", "host"), f"{target!r} is not in cloud {pair.target!r}")
            sizes = self.cloud_sizes[pair.target]
            if one.target.size is not None and one.target.size not in sizes:
                raise self._wrong((*path, "target", "size"), f"cloud {pair.target!r} has no size {one.target.size!r}")
            items[one.name] = Item(
                name=one.name,
                pair=pair,
                source_host=one.source_host,
                target_host=target,
                size=sizes[one.target.size] if one.target.size else None,
                services=tuple(
                    Service(name=part.name, port=part.port, request=part.request, expect=part.expect)
                    for part in one.services
                ),
                ledgers=tuple(one.ledgers),
                agent=one.agent,
                databases=self._databases(one, path),
            )
        return items

    def _databases(self, item: schema.ProtectedItemSection, path: Path_) -> tuple[Database, ...]:
        if item.databases and not item.agent:
            raise self._wrong((*path, "databases"), f"{item.name!r} has no agent through which to look into a database")
        for index, one in enumerate(item.databases):
            if (one.table is None) != (one.history is None):
                raise self._wrong((*path, "databases", index), "table and history belong together")
            if one.name in [earlier.name for earlier in item.databases[:index]]:
                raise self._wrong((*path, "databases", index, "name"), f"{one.name!r} is named twice")
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

    def _groups(self, items: dict[str, Item]) -> dict[str, ConsistencyGroup]:
        """One agent pauses all guests of a group: they share a source host, and a policy says when (S5)."""
        self._unique("groups", (one.name for one in self.section.groups))
        used: dict[str, str] = {}
        for index, one in enumerate(self.section.groups):
            first = items.get(one.items[0])
            for position, name in enumerate(one.items):
                path: Path_ = ("groups", index, "items", position)
                if name not in items or first is None:
                    raise self._wrong(path, f"there is no protected item {name!r}")
                if name in used:
                    raise self._wrong(path, f"{name!r} is in group {used[name]!r} already (S5)")
                used[name] = one.name
                if items[name].source_host != first.source_host:
                    hosts = f"{name!r} is on {items[name].source_host!r}, {first.name!r} on {first.source_host!r}"
                    raise self._wrong(path, f"a group has one source host, whose agent pauses all of it: {hosts} (S5)")
                if items[name].pair.policy != first.pair.policy:
                    raise self._wrong(path, f"{name!r} is under another policy than {first.name!r} (S5)")
        return {one.name: ConsistencyGroup(name=one.name, items=tuple(one.items)) for one in self.section.groups}

    def _plans(self, items: dict[str, Item]) -> dict[str, Plan]:
        self._unique("plans", (one.name for one in self.section.plans))
        plans: dict[str, Plan] = {}
        for index, one in enumerate(self.section.plans):
            seen: set[str] = set()
            for place, group in enumerate(one.groups):
                for position, name in enumerate(group.items):
                    path: Path_ = ("plans", index, "groups", place, "items", position)
                    if name not in items:
                        raise self._wrong(path, f"there is no protected item {name!r}")
                    if name in seen:
                        raise self._wrong(path, f"{name!r} is in two groups of this plan (K1)")
                    seen.add(name)
            plans[one.name] = Plan(
                name=one.name,
                groups=tuple(tuple(group.items) for group in one.groups),
                rpo_objective_seconds=one.objectives.rpo_seconds,
                rto_objective_seconds=one.objectives.rto_seconds,
            )
        return plans


def _bandwidth(section: schema.BandwidthSection) -> Bandwidth:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return Bandwidth(
        bytes_per_second=section.bytes_per_second,
        windows=tuple(
            BandwidthWindow(
                begin_minute=_minute(one.begin),
                end_minute=_minute(one.end),
                bytes_per_second=one.bytes_per_second,
                weekdays=tuple(days.index(day) for day in one.weekdays),
            )
            for one in section.windows
        ),
    )


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
