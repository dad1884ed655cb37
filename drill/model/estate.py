"""The estate: sites, clouds, hosts, networks, storage, pairs, policies, protected items and recovery plans.

Plain values, already validated against each other (drill.estate.load does that); names are the keys.  What stands at a
site is in drill/model/server.py, networks, storage, regions, targets, actions and DNS zones in files of those names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drill.model.action import Action
from drill.model.bandwidth import Bandwidth
from drill.model.dns import DnsZone
from drill.model.network import LogicalNetwork, NetworkMapping, VmNetwork
from drill.model.region import Region
from drill.model.server import Cloud, Credential, Host, HostGroup, Server, Site, Size
from drill.model.storage import StorageClassification, StorageLocation, StorageMapping
from drill.model.target import ItemDisk, ItemNic, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialReplication:
    """How the first copy travels (spec E9, H): over the network, or on a medium (`offline`).

    `start` is `now` or a local time of the source host (`2026-11-23T22:00`).  The locations are folders on the source
    and on the target host, "" for a copy over the network.
    """

    method: str = "network"
    start: str = "now"
    export_location: str = ""
    import_location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A replication policy (spec E).  With `witness` each cycle is also read whole by a foreign tool.

    `application_consistent_hours` is how far application-consistent points lie apart, 0 for none (spec E6).  A resync
    waits for `resync_window`, `HH:MM-HH:MM` in the source host's local time (spec S1); empty means at once.
    Every cycle of `window_seconds` stays a point, and `additional_points` hourly ones before (spec E5).
    Without `compress` data travels and is stored as it is; `bandwidth` None means no limit.
    `target_type` is `site` or `region`; `host_version` is "" where any will do (spec E1, A12).  `authentication` is
    `certificate` or `pair-key`, `port` 0 for that of the receivers' addresses (spec E2, E3).
    """

    name: str
    copy_frequency_seconds: int
    witness: bool
    application_consistent_hours: int = 0
    window_seconds: int = 3600
    additional_points: int = 24
    resync_window: str = ""
    compress: bool = True
    bandwidth: Bandwidth | None = None
    target_type: str = "site"
    host_version: str = ""
    authentication: str = "certificate"
    port: int = 0
    delete_replica: bool = False
    initial: InitialReplication = InitialReplication()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A cloud that replicates to another under a policy, or to a region and a store of it (spec D1).

    `target` is a cloud, or "" where `region` and `store` are set.  `policies` are all that are associated with the
    pair, `policy` among them; the pair of an item has the item's own policy there (A12: a mixed cloud needs several).
    """

    source: str
    target: str
    policy: Policy
    name: str = ""
    region: str = ""
    store: str = ""
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A TCP port on which a recovered machine must answer; `expect` is a text its first answer holds, or "".

    `request` is what is sent first, "" for a service that speaks of its own accord or is only connected to.
    """

    name: str
    port: int
    request: str
    expect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A PostgreSQL database in a protected item, looked into as the operating system's user `user`, its superuser.

    `table` and `history` are both set or both empty: the table whose rows a writer outside the guest puts there, known
    by whole numbers in `column`, and the path of that writer's history on the controller (drill/model/rows.py).
    """

    name: str
    user: str
    table: str
    column: str
    history: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A protected item: a virtual machine, its pair, and what its replica is to look like.

    `ledgers` are the paths of the ledgers in the guest, the first disk's first; empty for a guest that keeps none.
    `agent` says whether the guest runs an agent; one without is judged by its console.  `os_type` is `linux`, `windows`
    or `other`, `os_disk` a device name (`vda`); both are "" until they are set (spec A14).  `nics`, `disks`, memory and
    processors are the source machine's as declared, empty or 0 where the machine itself is to be asked.  `target` holds
    what the operator chose for the replica, `target_host` and `size` what follows from it ("" for a region).
    `additional_points` overrides the policy's, None for that of the policy (spec E5); `pair.policy` has it already.
    """

    name: str
    pair: Pair
    source_host: str
    target_host: str
    size: Size | None
    services: tuple[Service, ...]
    ledgers: tuple[str, ...]
    agent: bool
    databases: tuple[Database, ...] = ()
    os_type: str = ""
    os_disk: str = ""
    memory_mib: int = 0
    vcpus: int = 0
    nics: tuple[ItemNic, ...] = ()
    disks: tuple[ItemDisk, ...] = ()
    target: Target = field(default_factory=Target)
    additional_points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyGroup:
    """Items whose points share one instant (spec S5), all of one source host and under one policy."""

    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A recovery plan: groups of item names, started in order (spec K1); objectives in seconds.

    `source` and `target` are servers, the same one twice where one has both clouds (spec K6).  `actions` stand in the
    order in which they run.  `needs` leads from an item to those of its group that must be up before it starts.  At
    most `starts_max` machines start at a time.  `infrastructure` names the items that a test brings up first (L5).
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    rpo_objective_seconds: float
    rto_objective_seconds: float
    source: str = ""
    target: str = ""
    actions: tuple[Action, ...] = ()
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    starts_max: int = 4
    infrastructure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """Everything, by name.  `region` and `subscription` are the vault's (spec B1), "" where nothing is said.

    `host_groups` has `CLOUD/GROUP` for keys.  `networks` are those of sites and of regions, whose name then stands for
    the site.
    """

    vault: str
    hosts: dict[str, Host]
    networks: tuple[VmNetwork, ...]
    network_mappings: tuple[NetworkMapping, ...]
    items: dict[str, Item]
    plans: dict[str, Plan]
    region: str = ""
    subscription: str = ""
    sites: dict[str, Site] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    clouds: dict[str, Cloud] = field(default_factory=dict)
    host_groups: dict[str, HostGroup] = field(default_factory=dict)
    logical_networks: tuple[LogicalNetwork, ...] = ()
    storage_classifications: tuple[StorageClassification, ...] = ()
    storage_locations: tuple[StorageLocation, ...] = ()
    storage_mappings: tuple[StorageMapping, ...] = ()
    regions: dict[str, Region] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    dns_zones: dict[str, DnsZone] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)
    groups: dict[str, ConsistencyGroup] = field(default_factory=dict)

    def group_of(self, item: str) -> ConsistencyGroup | None:
        """The consistency group that has an item, by names."""
        return next((one for one in self.groups.values() if item in one.items), None)

    def network(self, site: str, name: str) -> VmNetwork | None:
        """The VM network of that name at a site."""
        return next((one for one in self.networks if (one.site, one.name) == (site, name)), None)

    def mapped_network(self, source_site: str, source: str, target_site: str) -> str | None:
        """The name of the VM network at `target_site` to which one at `source_site` is mapped; None: not mapped."""
        wanted = (source_site, source, target_site)
        found = (m.target for m in self.network_mappings if (m.source_site, m.source, m.target_site) == wanted)
        return next(found, None)

    def target_site(self, pair: Pair) -> str:
        """Where a pair replicates to: the target cloud's site, or the region's name."""
        return pair.region or self.clouds[pair.target].site
