"""Who controls a site and what stands there: sites, servers, clouds, host groups, hosts, sizes, named credentials."""

from __future__ import annotations

from dataclasses import dataclass

KVM_PROFILE = "kvm"
"""The capability profile that a cloud must carry before it can be paired (spec A4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place that fails as a whole; `time_zone` (`Europe/Berlin`) is "" where nothing is said."""

    name: str
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A secret by its name.  The secret itself is in no estate: the vault has it, or it is asked for.

    `kind` is `password` (with `user`), `tsig-key` (the user is the key's name) or `certificate`.
    """

    name: str
    kind: str
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What a server reaches its vault through (spec B7); `credential` is a name, "" for a proxy that asks for none."""

    host: str
    port: int
    credential: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerNode:
    """One node of a server cluster (spec B6)."""

    name: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The controller of a site; one may control both sites (spec A1).  `site` is that of its own machine.

    A cluster has `nodes`, the first of them active; the server's name is then the cluster role's (spec B6).
    `virtual_machine` names the item or domain it runs in, "" for a machine of its own (spec O1).
    """

    name: str
    site: str
    clouds: tuple[str, ...] = ()
    nodes: tuple[ServerNode, ...] = ()
    proxy: Proxy | None = None
    virtual_machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a machine of this size may have (spec J1)."""

    name: str
    max_nics: int
    max_vcpus: int
    max_memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """A named set of host groups on a server, at one site; the unit that is paired (spec A3, A4, B8, B10).

    `host_groups` are keys of `Estate.host_groups`; `logical_networks` names those of its server that it is associated
    with (spec F6).  `encryption` counts for a region target alone.
    """

    name: str
    server: str
    site: str
    host_groups: tuple[str, ...] = ()
    logical_networks: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    capability_profile: str = ""
    synchronised: bool = True
    encryption: bool = False

    def size(self, name: str) -> Size | None:
        """The size of that name."""
        return next((one for one in self.sizes if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGroup:
    """Hosts that are alike.  A clustered one with static addressing needs a replica broker (spec A8)."""

    name: str
    cloud: str
    hosts: tuple[str, ...] = ()
    clustered: bool = False
    static_addressing: bool = False
    replica_broker: str = ""

    @property
    def key(self) -> str:
        """`CLOUD/GROUP`: a group's own name is unique within its cloud alone."""
        return f"{self.cloud}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What runs on a host, as declared or as seen; "" where nothing is known (spec A7, A12)."""

    libvirt: str = ""
    qemu: str = ""
    agent: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A hypervisor.  `source_agent` and `receiver_agent` are `address:port` as the controller reaches them;
    `replication_address` is `address:port` of the receiver as *peers* reach it.

    `host_group` is its group's name within the cloud.  `vm_networks` are the networks of its site that it carries,
    None: all of them.  `default_location` names the storage location for what is not mapped (spec G2), "" for the
    agent's own store.  Memory and processors are 0 where they are not declared.
    """

    name: str
    site: str
    cloud: str
    libvirt: str
    source_agent: str
    receiver_agent: str
    replication_address: str
    host_group: str = ""
    versions: Versions = Versions()
    vm_networks: tuple[str, ...] | None = None
    default_location: str = ""
    memory_mib: int = 0
    vcpus: int = 0

    @property
    def host_group_key(self) -> str:
        """The key of its host group in `Estate.host_groups`."""
        return f"{self.cloud}/{self.host_group}"

    def carries(self, network: str) -> bool:
        """Whether a VM network of its site is on this host (spec F3)."""
        return self.vm_networks is None or network in self.vm_networks
