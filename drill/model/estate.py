"""The estate: sites, clouds, hosts, networks, pairs, policies, protected items and recovery plans.

Plain values, already validated against each other (drill.estate.load does that); names are the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.bandwidth import Bandwidth
from drill.model.network import VmNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A hypervisor.  `source_agent` and `receiver_agent` are `address:port` as the controller reaches them;
    `replication_address` is `address:port` of the receiver as *peers* reach it."""

    name: str
    site: str
    cloud: str
    libvirt: str
    source_agent: str
    receiver_agent: str
    replication_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a machine of this size may have (spec J1)."""

    name: str
    max_nics: int
    max_vcpus: int
    max_memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A replication policy (spec E).  With `witness` each cycle is also read whole by a foreign tool.

    `application_consistent_hours` is how far application-consistent points lie apart, 0 for none (spec E6).  A resync
    waits for `resync_window`, `HH:MM-HH:MM` in the source host's local time (spec S1); empty means at once.
    Every cycle of `window_seconds` stays a point, and `additional_points` hourly ones before (spec E5).
    Without `compress` data travels and is stored as it is; `bandwidth` None means no limit.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two clouds that replicate one to the other under one policy (spec D1)."""

    source: str
    target: str
    policy: Policy


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
    `agent` says whether the guest runs an agent; one without is judged by its console.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A recovery plan: groups of item names, started in order (spec K1); objectives in seconds."""

    name: str
    groups: tuple[tuple[str, ...], ...]
    rpo_objective_seconds: float
    rto_objective_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """Everything, by name; `network_mappings` leads from a source VM network's name to its target's."""

    vault: str
    hosts: dict[str, Host]
    networks: tuple[VmNetwork, ...]
    network_mappings: dict[str, str]
    items: dict[str, Item]
    plans: dict[str, Plan]

    def network(self, site: str, name: str) -> VmNetwork | None:
        """The VM network of that name at a site."""
        return next((one for one in self.networks if (one.site, one.name) == (site, name)), None)
