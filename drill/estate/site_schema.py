"""The shape of what stands at a site, or in a region: servers, clouds, hosts, networks, storage, sizes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from drill.estate.shapes import (
    AbsolutePath,
    AddressText,
    Cidr,
    Endpoint,
    GroupKey,
    HostText,
    Name,
    Port,
    Section,
)

VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+~_-]{0,62}$")]


class SiteSection(Section):
    """A site; the list may be left out, the sites are then those that servers and clouds name."""

    name: Name
    time_zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$")] | None = None


class CredentialSection(Section):
    """A secret by its name; the secret itself never stands in a file."""

    name: Name
    kind: Literal["password", "tsig-key", "certificate"]
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]{1,255}$")] | None = None


class SubnetSection(Section):
    """A named subnet; `pool` is its first and last address, both given out, but for those that are reserved."""

    name: Name
    cidr: Cidr
    gateway: AddressText | None = None
    pool: Annotated[list[AddressText], Field(min_length=2, max_length=2)] | None = None
    dhcp: bool = False
    reserved: list[AddressText] = []


class VmNetworkSection(Section):
    """A VM network and its subnets in definition order (spec F5: the first one counts)."""

    name: Name
    subnets: Annotated[list[SubnetSection], Field(min_length=1)]


class LogicalNetworkSection(Section):
    """A logical network and the VM networks on it; `site` where it is not the server's."""

    name: Name
    site: Name | None = None
    vm_networks: list[VmNetworkSection]


class SizeSection(Section):
    """A machine size on a cloud or in a region (spec J1)."""

    name: Name
    max_nics: Annotated[int, Field(ge=0, le=64)]
    max_vcpus: Annotated[int, Field(ge=1, le=4096)] = 64
    max_memory_mib: Annotated[int, Field(ge=1, le=1 << 24)] = 1 << 20


class AgentSection(Section):
    """Where the two roles of a host's agent answer."""

    source: Endpoint
    receiver: Endpoint


class VersionsSection(Section):
    """What a host is declared to run (spec A7, A12); preflight compares it with what it sees."""

    libvirt: VersionText | None = None
    qemu: VersionText | None = None
    agent: VersionText | None = None
    kernel: VersionText | None = None


class HostSection(Section):
    """A hypervisor: its libvirt URI and its agent; `replication_address` is where peers send.

    Without `vm_networks` it carries all networks of its site.
    """

    name: Name
    libvirt: Annotated[str, StringConstraints(pattern=r"^qemu(\+[a-z0-9]+)?://[!-~]*$", max_length=500)]
    agent: AgentSection
    replication_address: Endpoint | None = None
    versions: VersionsSection = VersionsSection()
    vm_networks: list[Name] | None = None
    default_location: Name | None = None
    memory_mib: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    vcpus: Annotated[int, Field(ge=0, le=1 << 16)] = 0


class HostGroupSection(Section):
    """A named set of hosts; a clustered one with static addressing needs its replica broker named (spec A8)."""

    name: Name
    hosts: Annotated[list[HostSection], Field(min_length=1)]
    clustered: bool = False
    static_addressing: bool = False
    replica_broker: Name | None = None


class CloudSection(Section):
    """A cloud: host groups, the logical networks it is associated with, and machine sizes."""

    name: Name
    site: Name | None = None
    capability_profile: Literal["kvm"] | None = None
    synchronised: bool = True
    encryption: bool = False
    logical_networks: list[Name] = []
    sizes: list[SizeSection] = []
    host_groups: Annotated[list[HostGroupSection], Field(min_length=1)]


class StorageClassificationSection(Section):
    """A class of storage of a server (spec G1)."""

    name: Name
    media: Name | None = None


class StorageLocationSection(Section):
    """A directory or libvirt pool on the hosts of some host groups, of a classification or of none."""

    name: Name
    classification: Name | None = None
    path: AbsolutePath | None = None
    pool: Name | None = None
    host_groups: Annotated[list[GroupKey], Field(min_length=1)]
    free_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None


class NodeSection(Section):
    """A node of a server cluster (spec B6)."""

    name: Name
    address: HostText | None = None


class ProxySection(Section):
    """What a server reaches the vault through (spec B7)."""

    host: HostText
    port: Port
    credential: Name | None = None


class ServerSection(Section):
    """The controller of one site, or of both (spec A1); `nodes` where it is a cluster, the active one first."""

    name: Name
    site: Name
    nodes: list[NodeSection] = []
    proxy: ProxySection | None = None
    virtual_machine: Name | None = None
    logical_networks: list[LogicalNetworkSection] = []
    storage_classifications: list[StorageClassificationSection] = []
    storage_locations: list[StorageLocationSection] = []
    clouds: Annotated[list[CloudSection], Field(min_length=1)]


class RegionStoreSection(Section):
    """A store of a region; `region` where it does not lie in the one that lists it (spec A13)."""

    name: Name
    region: Name | None = None
    subscription: Name | None = None
    redundancy: Literal["geo", "local"] = "geo"
    tier: Literal["standard", "premium"] = "standard"


class RegionSection(Section):
    """A region as a target: stores, networks, sizes."""

    name: Name
    subscription: Name | None = None
    gateway: bool = False
    stores: Annotated[list[RegionStoreSection], Field(min_length=1)]
    vm_networks: list[VmNetworkSection] = []
    sizes: list[SizeSection] = []


class VaultSection(Section):
    """The record of the estate (spec B1)."""

    name: Name
    region: Name
    subscription: Name | None = None
