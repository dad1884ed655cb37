"""Policies, pairs, and what is mapped to what: sections of a file → values, by the rules D, E, F1, G1 and H6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drill.core import retention
from drill.errors import Refused
from drill.estate import schema
from drill.estate.findings import Findings
from drill.estate.sites import Sites
from drill.estate.yaml import Path_
from drill.model.bandwidth import Bandwidth, BandwidthWindow
from drill.model.estate import InitialReplication, Pair, Policy
from drill.model.network import NetworkMapping
from drill.model.retention import RetentionPolicy
from drill.model.storage import StorageMapping


@dataclass(slots=True)
class Pairs:
    """What was read so far, by name."""

    found: Findings
    sites: Sites
    policies: dict[str, Policy] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    network_mappings: dict[tuple[str, str, str], NetworkMapping] = field(default_factory=dict)
    storage_mappings: dict[tuple[str, str, str], StorageMapping] = field(default_factory=dict)

    def read(self, section: schema.EstateSection) -> None:
        """Take policies, pairs and mappings."""
        self.found.unique(("policies",), (one.name for one in section.policies), "policy")
        for index, policy in enumerate(section.policies):
            self._policy(policy, ("policies", index))
        self.found.unique(("pairs",), (one.name for one in section.pairs), "pair")
        used: dict[str, str] = {}
        for index, pair in enumerate(section.pairs):
            self._pair(pair, ("pairs", index), used)
        for index, network in enumerate(section.network_mappings):
            self._network_mapping(network, ("network_mappings", index))
        for index, storage in enumerate(section.storage_mappings):
            self._storage_mapping(storage, ("storage_mappings", index))

    def target_site(self, pair: Pair) -> str:
        """Where a pair replicates to: a site, or a region's name."""
        return pair.region or self.sites.clouds[pair.target].site

    def target_server(self, pair: Pair) -> str:
        """The server of a pair's target cloud; "" for a region."""
        return self.sites.clouds[pair.target].server if pair.target else ""

    def _policy(self, one: schema.PolicySection, path: Path_) -> None:
        kept = RetentionPolicy(window_seconds=one.window_minutes * 60, additional=one.additional_points)
        self.retention((*path, "additional_points"), kept, one.application_consistent_hours)
        initial = one.initial_replication
        folders = (initial.export_location, initial.import_location)
        if (initial.method == "offline") != all(folders) or any(folders) != all(folders):
            said = "an offline copy needs an export and an import location, one over the network has none (H2)"
            self.found.wrong((*path, "initial_replication"), said)
        self.policies[one.name] = Policy(
            name=one.name,
            copy_frequency_seconds=one.copy_frequency_seconds,
            witness=one.witness,
            application_consistent_hours=one.application_consistent_hours,
            window_seconds=one.window_minutes * 60,
            additional_points=one.additional_points,
            resync_window="" if one.resync_window == "at once" else one.resync_window,
            compress=one.compression,
            bandwidth=_bandwidth(one.bandwidth) if one.bandwidth else None,
            target_type=one.target_type,
            host_version=one.host_version or "",
            authentication=one.authentication,
            port=one.port or 0,
            delete_replica=one.delete_replica,
            initial=InitialReplication(
                method=initial.method,
                start=initial.start,
                export_location=initial.export_location or "",
                import_location=initial.import_location or "",
            ),
        )

    def retention(self, path: Path_, kept: RetentionPolicy, application_hours: int) -> None:
        """The bounds of E5 and E6."""
        try:
            retention.check(kept, application_hours)
        except Refused as refused:
            self.found.wrong(path, f"{refused.reason} ({refused.rule})")

    def _pair(self, one: schema.PairSection, path: Path_, used: dict[str, str]) -> None:
        self.found.unique((*path, "policies"), one.policies, "policy", key=None)
        names = [(("policy",), one.policy), *((("policies", n), name) for n, name in enumerate(one.policies))]
        sound = [self.found.known((*path, *keys), name, self.policies, "there is no policy") for keys, name in names]
        sound.append(self._end(one, "source", one.source, path, used))
        sound.append(self._target(one, path, used))
        if not all(sound):
            return
        policies = tuple(self.policies[name] for name in dict.fromkeys(name for _, name in names))
        pair = Pair(
            source=one.source,
            target=one.target or "",
            policy=self.policies[one.policy],
            name=one.name,
            region=one.region or "",
            store=one.store or "",
            policies=policies,
        )
        self._check_policies(pair, path)
        self.pairs[one.name] = pair

    def _end(self, one: schema.PairSection, key: str, cloud: str, path: Path_, used: dict[str, str]) -> bool:
        """Whether a cloud can be an end of a pair: it is there, synchronised (B8) and in no other pair (D2)."""
        at: Path_ = (*path, key)
        if not self.found.known(at, cloud, self.sites.clouds, "there is no cloud"):
            return False
        if not self.sites.clouds[cloud].synchronised:
            self.found.wrong(at, f"cloud {cloud!r} is not synchronised: it cannot be chosen (B8)")
            return False
        if cloud in used:
            self.found.wrong(at, f"cloud {cloud!r} belongs to pair {used[cloud]!r} already (D2)")
            return False
        used[cloud] = one.name
        return True

    def _target(self, one: schema.PairSection, path: Path_, used: dict[str, str]) -> bool:
        if one.target is not None and one.region is None and one.store is None:
            return self._end(one, "target", one.target, path, used)
        if one.target is not None or one.region is None or one.store is None:
            self.found.wrong(path, "a pair has a target cloud, or a region and a store of it (D1)")
            return False
        if not self.found.known((*path, "region"), one.region, self.sites.regions, "there is no region"):
            return False
        stores = [store.name for store in self.sites.regions[one.region].stores]
        return self.found.known((*path, "store"), one.store, stores, f"region {one.region!r} has no store")

    def _check_policies(self, pair: Pair, path: Path_) -> None:
        kind = "region" if pair.region else "site"
        one_server = bool(pair.target) and self.sites.clouds[pair.source].server == self.target_server(pair)
        for policy in pair.policies:
            at: Path_ = (*path, "policy")
            if policy.target_type != kind:
                said = f"policy {policy.name!r} is for a {policy.target_type}, the target is a {kind} (E1)"
                self.found.wrong(at, said)
            if one_server and policy.initial.method == "offline":
                said = f"policy {policy.name!r} copies offline; between clouds of one server it is the network (H6)"
                self.found.wrong(at, said)
            self._check_port(policy, pair, at)

    def _check_port(self, policy: Policy, pair: Pair, path: Path_) -> None:
        """The port of a policy is that at which the target's receivers take replication (E3)."""
        if not policy.port or not pair.target:
            return
        for host in self.sites.hosts.values():
            if host.cloud == pair.target and int(host.replication_address.rpartition(":")[2]) != policy.port:
                said = f"policy {policy.name!r} has port {policy.port}, host {host.name!r} {host.replication_address}"
                self.found.wrong(path, f"{said}: the same on both ends (E3)")

    def _network_mapping(self, one: schema.NetworkMappingSection, path: Path_) -> None:
        places = [site for site, _ in self.sites.networks]
        homes = _homes(self.sites.networks)
        source = self._home(one.source, one.source_site, "source", path, homes, "VM network", places, "site")
        target = self._home(one.target, one.target_site, "target", path, homes, "VM network", places, "site")
        if source is None or target is None:
            return
        if (source, one.source) == (target, one.target):
            self.found.wrong((*path, "target"), f"{one.target!r} is mapped to itself (F1)")
        if (source, one.source, target) in self.network_mappings:
            self.found.wrong((*path, "source"), f"{one.source!r} is mapped twice (F1)")
        self.network_mappings[source, one.source, target] = NetworkMapping(
            source_site=source,
            source=one.source,
            target_site=target,
            target=one.target,
            first_subnet=one.first_subnet,
        )

    def _storage_mapping(self, one: schema.StorageMappingSection, path: Path_) -> None:
        homes, servers = _homes(self.sites.classifications), list(self.sites.servers)
        what = "storage classification"
        source = self._home(one.source, one.source_server, "source", path, homes, what, servers, "server")
        target = self._home(one.target, one.target_server, "target", path, homes, what, servers, "server")
        if source is None or target is None:
            return
        if (source, one.source, target) in self.storage_mappings:
            self.found.wrong((*path, "source"), f"{one.source!r} is mapped twice (G1)")
        self.storage_mappings[source, one.source, target] = StorageMapping(
            source_server=source, source=one.source, target_server=target, target=one.target
        )

    def _home(
        self,
        name: str,
        said: str | None,
        end: str,
        path: Path_,
        homes: Mapping[str, list[str]],
        what: str,
        places: list[str],
        place: str,
    ) -> str | None:
        """The site or server that has a name of the file; None and a mistake where that is none or not clear."""
        if said is not None and not self.found.known((*path, f"{end}_{place}"), said, places, f"there is no {place}"):
            return None
        if not self.found.known((*path, end), name, homes, f"there is no {what}"):
            return None
        if said is not None:
            if said not in homes[name]:
                self.found.wrong((*path, end), f"{place} {said!r} has no {what} {name!r}")
                return None
            return said
        if len(homes[name]) > 1:
            self.found.wrong((*path, end), f"{what} {name!r} is at {', '.join(homes[name])}: say {end}_{place}")
            return None
        return homes[name][0]


def _homes(keys: Mapping[tuple[str, str], object]) -> dict[str, list[str]]:
    homes: dict[str, list[str]] = {}
    for home, name in keys:
        homes.setdefault(name, []).append(home)
    return homes


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
