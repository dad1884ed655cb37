"""Servers with all that stands at their sites, and regions: sections of a file → values, references resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drill.estate import site_schema as schema
from drill.estate.findings import Findings
from drill.estate.schema import EstateSection
from drill.estate.subnets import subnets
from drill.estate.yaml import Path_
from drill.model.network import LogicalNetwork, VmNetwork
from drill.model.region import Region, RegionStore
from drill.model.server import Cloud, Credential, Host, HostGroup, Proxy, Server, ServerNode, Site, Size, Versions
from drill.model.storage import StorageClassification, StorageLocation


@dataclass(slots=True)
class Sites:
    """What was read so far, by name; networks by site and name, storage by server and name."""

    found: Findings
    sites: dict[str, Site] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    clouds: dict[str, Cloud] = field(default_factory=dict)
    host_groups: dict[str, HostGroup] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    logical_networks: dict[tuple[str, str], LogicalNetwork] = field(default_factory=dict)
    networks: dict[tuple[str, str], VmNetwork] = field(default_factory=dict)
    classifications: dict[tuple[str, str], StorageClassification] = field(default_factory=dict)
    locations: dict[tuple[str, str], StorageLocation] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)
    sites_listed: bool = False
    taken: dict[str, str] = field(default_factory=dict)

    def read(self, section: EstateSection) -> None:
        """Take the sections that stand on nothing else; later ones refer to what is here."""
        self._unique_names(section)
        for one in section.credentials:
            self.credentials[one.name] = Credential(name=one.name, kind=one.kind, user=one.user or "")
        self.sites_listed = bool(section.sites)
        for site in section.sites:
            self.sites[site.name] = Site(name=site.name, time_zone=site.time_zone or "")
        for index, server in enumerate(section.servers):
            self._server(server, ("servers", index))
        for index, server in enumerate(section.servers):
            self._storage(server, ("servers", index))
        for index, region in enumerate(section.regions):
            self._region(region, ("regions", index))

    def networks_at(self, site: str) -> list[str]:
        """Names of the VM networks at a site."""
        return [name for at, name in self.networks if at == site]

    def credential(self, path: Path_, name: str | None, kind: str) -> str:
        """The name of a credential that the file uses for a purpose of that kind; "" for none."""
        if name is None:
            return ""
        if self.found.known(path, name, self.credentials, "there is no credential"):
            has = self.credentials[name].kind
            if has != kind:
                self.found.wrong(path, f"credential {name!r} is a {has}, where a {kind} is wanted")
        return name

    def _unique_names(self, section: EstateSection) -> None:
        unique = self.found.unique
        unique(("credentials",), (one.name for one in section.credentials), "credential")
        unique(("sites",), (one.name for one in section.sites), "site")
        unique(("servers",), (one.name for one in section.servers), "server")
        unique(("regions",), (one.name for one in section.regions), "region")

    def _site(self, name: str, path: Path_) -> str:
        if name not in self.sites:
            if self.sites_listed:
                self.found.known(path, name, self.sites, "there is no site")
            self.sites[name] = Site(name=name)
        return name

    def _server(self, server: schema.ServerSection, path: Path_) -> None:
        self._site(server.site, (*path, "site"))
        self.found.unique((*path, "nodes"), (one.name for one in server.nodes), "node")
        proxy = server.proxy
        self.servers[server.name] = Server(
            name=server.name,
            site=server.site,
            clouds=tuple(one.name for one in server.clouds),
            nodes=tuple(ServerNode(name=one.name, address=one.address or "") for one in server.nodes),
            proxy=Proxy(
                host=proxy.host,
                port=proxy.port,
                credential=self.credential((*path, "proxy", "credential"), proxy.credential, "password"),
            )
            if proxy
            else None,
            virtual_machine=server.virtual_machine or "",
        )
        self.found.unique((*path, "logical_networks"), (one.name for one in server.logical_networks), "logical network")
        for index, network in enumerate(server.logical_networks):
            self._logical_network(server, network, (*path, "logical_networks", index))
        for index, cloud in enumerate(server.clouds):
            self._cloud(server, cloud, (*path, "clouds", index))

    def _logical_network(
        self, server: schema.ServerSection, network: schema.LogicalNetworkSection, path: Path_
    ) -> None:
        site = self._site(network.site, (*path, "site")) if network.site else server.site
        logical = LogicalNetwork(name=network.name, server=server.name, site=site)
        self.logical_networks[server.name, network.name] = logical
        self._vm_networks(network.vm_networks, (*path, "vm_networks"), logical)

    def _vm_networks(self, sections: Sequence[schema.VmNetworkSection], path: Path_, logical: LogicalNetwork) -> None:
        for index, one in enumerate(sections):
            key = (logical.site, one.name)
            if key in self.networks:
                self.found.wrong((*path, index, "name"), f"VM network {one.name!r} stands twice at {logical.site!r}")
            self.networks[key] = VmNetwork(
                site=logical.site,
                name=one.name,
                logical_network=logical.name,
                subnets=subnets(one.subnets, (*path, index, "subnets"), self.found),
                server=logical.server,
            )

    def _cloud(self, server: schema.ServerSection, cloud: schema.CloudSection, path: Path_) -> None:
        if cloud.name in self.clouds:
            self.found.wrong((*path, "name"), f"cloud {cloud.name!r} is named twice")
        site = self._site(cloud.site, (*path, "site")) if cloud.site else server.site
        self._associations(server, cloud, site, path)
        self.found.unique((*path, "host_groups"), (one.name for one in cloud.host_groups), "host group")
        self.clouds[cloud.name] = Cloud(
            name=cloud.name,
            server=server.name,
            site=site,
            host_groups=tuple(f"{cloud.name}/{one.name}" for one in cloud.host_groups),
            logical_networks=tuple(cloud.logical_networks),
            sizes=self._sizes(cloud.sizes, (*path, "sizes")),
            capability_profile=cloud.capability_profile or "",
            synchronised=cloud.synchronised,
            encryption=cloud.encryption,
        )
        for index, group in enumerate(cloud.host_groups):
            self._host_group(self.clouds[cloud.name], group, (*path, "host_groups", index))

    def _associations(self, server: schema.ServerSection, cloud: schema.CloudSection, site: str, path: Path_) -> None:
        at: Path_ = (*path, "logical_networks")
        self.found.unique(at, cloud.logical_networks, "logical network", key=None)
        names = [one.name for one in server.logical_networks]
        for index, name in enumerate(cloud.logical_networks):
            if not self.found.known((*at, index), name, names, f"server {server.name!r} has no logical network"):
                continue
            where = self.logical_networks[server.name, name].site
            if where != site:
                self.found.wrong((*at, index), f"logical network {name!r} is at {where!r}, the cloud at {site!r}")

    def _sizes(self, sizes: Sequence[schema.SizeSection], path: Path_) -> tuple[Size, ...]:
        self.found.unique(path, (one.name for one in sizes), "size")
        return tuple(
            Size(name=one.name, max_nics=one.max_nics, max_vcpus=one.max_vcpus, max_memory_mib=one.max_memory_mib)
            for one in sizes
        )

    def _host_group(self, cloud: Cloud, group: schema.HostGroupSection, path: Path_) -> None:
        value = HostGroup(
            name=group.name,
            cloud=cloud.name,
            hosts=tuple(one.name for one in group.hosts),
            clustered=group.clustered,
            static_addressing=group.static_addressing,
            replica_broker=group.replica_broker or "",
        )
        self.host_groups[value.key] = value
        for index, host in enumerate(group.hosts):
            self._host(cloud, value, host, (*path, "hosts", index))

    def _host(self, cloud: Cloud, group: HostGroup, host: schema.HostSection, path: Path_) -> None:
        if host.name in self.hosts:
            self.found.wrong((*path, "name"), f"host {host.name!r} is named twice")
        value = Host(
            name=host.name,
            site=cloud.site,
            cloud=cloud.name,
            libvirt=host.libvirt,
            source_agent=host.agent.source,
            receiver_agent=host.agent.receiver,
            replication_address=host.replication_address or host.agent.receiver,
            host_group=group.name,
            versions=Versions(
                libvirt=host.versions.libvirt or "",
                qemu=host.versions.qemu or "",
                agent=host.versions.agent or "",
                kernel=host.versions.kernel or "",
            ),
            vm_networks=None if host.vm_networks is None else tuple(host.vm_networks),
            default_location=host.default_location or "",
            memory_mib=host.memory_mib,
            vcpus=host.vcpus,
        )
        self._check_alone(value, path)
        for index, name in enumerate(host.vm_networks or ()):
            known = self.networks_at(cloud.site)
            self.found.known((*path, "vm_networks", index), name, known, f"site {cloud.site!r} has no VM network")
        self.hosts[host.name] = value

    def _check_alone(self, host: Host, path: Path_) -> None:
        """No two hosts share a libvirt or an agent: whatever is done to the one would be done to the other."""
        for keys, mine in (
            (("libvirt",), host.libvirt),
            (("agent", "source"), host.source_agent),
            (("agent", "receiver"), host.receiver_agent),
        ):
            other = self.taken.setdefault(f"{'.'.join(keys)} {mine}", host.name)
            if other != host.name:
                self.found.wrong((*path, *keys), f"host {other!r} has {mine} already")

    def _storage(self, server: schema.ServerSection, path: Path_) -> None:
        classes = [one.name for one in server.storage_classifications]
        self.found.unique((*path, "storage_classifications"), classes, "storage classification")
        for one in server.storage_classifications:
            self.classifications[server.name, one.name] = StorageClassification(
                name=one.name, server=server.name, media=one.media or ""
            )
        locations = [one.name for one in server.storage_locations]
        self.found.unique((*path, "storage_locations"), locations, "storage location")
        for index, location in enumerate(server.storage_locations):
            self._location(server, location, classes, (*path, "storage_locations", index))
        self._default_locations(server, path)

    def _location(
        self, server: schema.ServerSection, one: schema.StorageLocationSection, classes: list[str], path: Path_
    ) -> None:
        if (one.path is None) == (one.pool is None):
            self.found.wrong(path, "has either a path or a pool")
        if one.classification is not None:
            what = f"server {server.name!r} has no storage classification"
            self.found.known((*path, "classification"), one.classification, classes, what)
        groups = [key for cloud in server.clouds for key in self.clouds[cloud.name].host_groups]
        for index, key in enumerate(one.host_groups):
            what = f"server {server.name!r} has no host group"
            self.found.known((*path, "host_groups", index), key, groups, what)
        self.locations[server.name, one.name] = StorageLocation(
            name=one.name,
            server=server.name,
            host_groups=tuple(one.host_groups),
            classification=one.classification or "",
            path=one.path or "",
            pool=one.pool or "",
            free_bytes=one.free_bytes,
        )

    def _default_locations(self, server: schema.ServerSection, path: Path_) -> None:
        for c, cloud in enumerate(server.clouds):
            for g, group in enumerate(cloud.host_groups):
                for h, host in enumerate(group.hosts):
                    if host.default_location is None:
                        continue
                    at: Path_ = (*path, "clouds", c, "host_groups", g, "hosts", h, "default_location")
                    self.reached(at, server.name, host.default_location, f"{cloud.name}/{group.name}")

    def reached(self, path: Path_, server: str, name: str, group: str) -> StorageLocation | None:
        """A storage location of a server that a host group reaches, or a mistake."""
        names = [one for of, one in self.locations if of == server]
        if not self.found.known(path, name, names, f"server {server!r} has no storage location"):
            return None
        location = self.locations[server, name]
        if group not in location.host_groups:
            self.found.wrong(path, f"storage location {name!r} is not available to host group {group!r}")
        return location

    def _region(self, region: schema.RegionSection, path: Path_) -> None:
        if region.name in self.sites:
            self.found.wrong((*path, "name"), f"{region.name!r} is a site already")
        self.found.unique((*path, "stores"), (one.name for one in region.stores), "store")
        self.regions[region.name] = Region(
            name=region.name,
            subscription=region.subscription or "",
            stores=tuple(
                RegionStore(
                    name=one.name,
                    region=one.region or region.name,
                    subscription=one.subscription or region.subscription or "",
                    redundancy=one.redundancy,
                    tier=one.tier,
                )
                for one in region.stores
            ),
            sizes=self._sizes(region.sizes, (*path, "sizes")),
            gateway=region.gateway,
        )
        place = LogicalNetwork(name="", server="", site=region.name)
        self._vm_networks(region.vm_networks, (*path, "vm_networks"), place)
