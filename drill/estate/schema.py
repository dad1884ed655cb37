"""The shape of an estate file, as pydantic models; names of keys are final.

Only shape and single values are judged here; what must agree with something else is judged in `drill.estate.load`.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from drill.core.groups import MEMBERS_MAX, MEMBERS_MIN


def _address(text: str) -> str:
    ip_address(text)
    return text


def _cidr(text: str) -> str:
    ip_network(text)
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
AddressText = Annotated[str, AfterValidator(_address)]
Cidr = Annotated[str, AfterValidator(_cidr)]
Minute = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
SqlName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Endpoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-]+:[0-9]{1,5}$")]


class Section(BaseModel):
    """A mapping in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SubnetSection(Section):
    """A named subnet; `pool` is inclusive."""

    name: Name
    cidr: Cidr
    gateway: AddressText | None = None
    pool: Annotated[list[AddressText], Field(min_length=2, max_length=2)] | None = None
    dhcp: bool = False


class VmNetworkSection(Section):
    """A VM network and its subnets in definition order (spec F5: the first one counts)."""

    name: Name
    subnets: Annotated[list[SubnetSection], Field(min_length=1)]


class LogicalNetworkSection(Section):
    """A logical network and the VM networks on it."""

    name: Name
    vm_networks: list[VmNetworkSection]


class SizeSection(Section):
    """A machine size on a cloud (spec J1)."""

    name: Name
    max_nics: Annotated[int, Field(ge=0, le=64)]
    max_vcpus: Annotated[int, Field(ge=1)] = 64
    max_memory_mib: Annotated[int, Field(ge=1)] = 1 << 20


class AgentSection(Section):
    """Where the two roles of a host's agent answer."""

    source: Endpoint
    receiver: Endpoint


class HostSection(Section):
    """A hypervisor: its libvirt URI and its agent; `replication_address` is where peers send."""

    name: Name
    libvirt: Annotated[str, StringConstraints(pattern=r"^qemu(\+[a-z0-9]+)?://")]
    agent: AgentSection
    replication_address: Endpoint | None = None


class HostGroupSection(Section):
    """A named set of hosts."""

    name: Name
    hosts: Annotated[list[HostSection], Field(min_length=1)]


class CloudSection(Section):
    """A cloud: host groups, the logical networks it is associated with, and machine sizes."""

    name: Name
    logical_networks: list[Name] = []
    sizes: list[SizeSection] = []
    host_groups: Annotated[list[HostGroupSection], Field(min_length=1)]


class ServerSection(Section):
    """The controller of one site (spec A1)."""

    name: Name
    site: Name
    logical_networks: list[LogicalNetworkSection] = []
    clouds: Annotated[list[CloudSection], Field(min_length=1)]


class VaultSection(Section):
    """The record of the estate (spec B1)."""

    name: Name
    region: Name


class BandwidthWindowSection(Section):
    """Another limit for a part of the day, `begin` and `end` as HH:MM in the sending host's local time."""

    begin: Minute
    end: Minute
    bytes_per_second: Annotated[int, Field(ge=0)]
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = []


class BandwidthSection(Section):
    """A limit on what is sent to one receiver (spec Q1); 0 is no limit."""

    bytes_per_second: Annotated[int, Field(ge=0)] = 0
    windows: list[BandwidthWindowSection] = []


class PolicySection(Section):
    """A replication policy; the frequencies are those of spec E4 and E6, compression that of E7."""

    name: Name
    copy_frequency_seconds: Literal[30, 300, 900]
    witness: bool = False
    application_consistent_hours: int = Field(default=0, ge=0, le=12)
    window_minutes: int = Field(default=60, ge=0, le=1440)
    additional_points: int = Field(default=24, ge=0, le=24)
    resync_window: str = Field(
        default="18:30-06:00", pattern=r"^(at once|([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)$"
    )
    compression: bool = True
    bandwidth: BandwidthSection | None = None


class PairSection(Section):
    """Source cloud → target cloud under a policy (spec D1)."""

    name: Name
    source: Name
    target: Name
    policy: Name


class NetworkMappingSection(Section):
    """Source VM network → target VM network (spec F1)."""

    source: Name
    target: Name


class ServiceSection(Section):
    """A TCP service that must answer after a failover."""

    name: Name
    port: Annotated[int, Field(ge=1, le=65535)]
    request: str = ""
    expect: str = ""


class DatabaseSection(Section):
    """A database that must come up sound; with `table` and `history` also its rows are counted.

    `history` is a path on the controller, a relative one from the estate file's folder.
    """

    kind: Literal["postgresql"]
    name: SqlName
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "postgres"
    table: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$")] | None = None
    column: SqlName = "id"
    history: Annotated[str, StringConstraints(min_length=1)] | None = None


class TargetSection(Section):
    """What the replica is to look like; without a host the first one of the target cloud that fits is taken."""

    host: Name | None = None
    size: Name | None = None


class ProtectedItemSection(Section):
    """A protected virtual machine, by the name libvirt knows."""

    name: Name
    pair: Name
    source_host: Name
    target: TargetSection = TargetSection()
    services: list[ServiceSection] = []
    databases: list[DatabaseSection] = []
    ledgers: list[Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")]] = []
    agent: bool = True


class GroupSection(Section):
    """Machines that start together."""

    items: Annotated[list[Name], Field(min_length=1)]


class ConsistencyGroupSection(Section):
    """Protected items that share one instant (spec S5)."""

    name: Name
    items: Annotated[list[Name], Field(min_length=MEMBERS_MIN, max_length=MEMBERS_MAX)]


class ObjectivesSection(Section):
    """What the plan promises."""

    rpo_seconds: Annotated[float, Field(gt=0, strict=False)]
    rto_seconds: Annotated[float, Field(gt=0, strict=False)]


class PlanSection(Section):
    """A recovery plan: at most 7 groups, started in order (spec K1)."""

    name: Name
    groups: Annotated[list[GroupSection], Field(min_length=1, max_length=7)]
    objectives: ObjectivesSection


class EstateSection(Section):
    """The whole file."""

    vault: VaultSection
    servers: Annotated[list[ServerSection], Field(min_length=1)]
    policies: list[PolicySection] = []
    pairs: list[PairSection] = []
    network_mappings: list[NetworkMappingSection] = []
    protected_items: list[ProtectedItemSection] = []
    groups: list[ConsistencyGroupSection] = []
    plans: list[PlanSection] = []
