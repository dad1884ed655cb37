"""What must hold before anything is protected (spec A), as findings that name the object and the remedy.

Pure: what was declared is the estate, what was seen on hosts is handed in.  Nothing found means nothing amiss.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from drill.core.versions import MATRIX, judge
from drill.model.estate import Estate, Item
from drill.model.finding import Finding
from drill.model.server import KVM_PROFILE, Host, Server, Versions
from drill.model.vault import SeenVersion

_SERVERS_MAX = 2
_CLOUDS_OF_A_LONE_SERVER = 2


def topology(estate: Estate) -> tuple[Finding, ...]:
    """Servers, clouds, host groups and capability profiles (A1-A4, A8, O1), in the estate's order."""
    return (*_servers(estate), *_clouds(estate), *_groups(estate))


def _servers(estate: Estate) -> Iterator[Finding]:
    servers = tuple(estate.servers.values())
    if not 1 <= len(servers) <= _SERVERS_MAX:
        cure = "declare one server for each site, or one for both"
        yield Finding(
            rule="A1", kind="estate", name=estate.vault, problem=f"it has {len(servers)} servers", remedy=cure
        )
    if len(servers) == _SERVERS_MAX and servers[0].site == servers[1].site:
        problem = f"it stands at site {servers[1].site}, as {servers[0].name} does"
        cure = "give each site one server"
        yield Finding(rule="A1", kind="server", name=servers[1].name, problem=problem, remedy=cure)
    if len(servers) == 1:
        cure = "give the other site a server of its own, so that one is left when a site fails"
        problem = "it is the only one"
        yield Finding(rule="A1", kind="server", name=servers[0].name, problem=problem, remedy=cure, refuses=False)
    least = _CLOUDS_OF_A_LONE_SERVER if len(servers) == 1 and not _only_regions(estate) else 1
    for server in servers:
        if len(server.clouds) < least:
            problem = f"it has {len(server.clouds)} clouds and needs {least}"
            cure = "add a cloud to it" if len(servers) > 1 else "add a cloud to it, or a second server"
            yield Finding(rule="A2", kind="server", name=server.name, problem=problem, remedy=cure)
        if server.virtual_machine in estate.items:
            problem = f"its machine {server.virtual_machine} is in a protected cloud"
            cure = "move it to a host outside the protected clouds, and replicate it by itself"
            yield Finding(rule="O1", kind="server", name=server.name, problem=problem, remedy=cure)


def _only_regions(estate: Estate) -> bool:
    return bool(estate.pairs) and all(pair.region for pair in estate.pairs.values())


def _clouds(estate: Estate) -> Iterator[Finding]:
    for cloud in estate.clouds.values():
        if not cloud.host_groups:
            cure = "add a host group with at least one host"
            yield Finding(rule="A3", kind="cloud", name=cloud.name, problem="it has no host group", remedy=cure)
        if cloud.capability_profile != KVM_PROFILE:
            problem = f"its capability profile is {cloud.capability_profile or 'not set'}"
            cure = f"set capability_profile: {KVM_PROFILE}"
            yield Finding(rule="A4", kind="cloud", name=cloud.name, problem=problem, remedy=cure)


def _groups(estate: Estate) -> Iterator[Finding]:
    for group in estate.host_groups.values():
        if group.clustered and group.static_addressing and not group.replica_broker:
            problem = "its hosts form a cluster with static addresses, and it has no replica broker"
            cure = "set a replica broker up by hand on the cluster and name it as replica_broker"
            yield Finding(rule="A8", kind="host group", name=group.key, problem=problem, remedy=cure)


def nodes(server: Server, registered: Collection[str]) -> tuple[Finding, ...]:
    """Nodes of a server's cluster that have not registered (O3): one of them may be what is left after an outage."""
    return tuple(
        Finding(
            rule="O3", kind="server node", name=node.name,
            problem=f"it belongs to the cluster {server.name} and is not registered",
            remedy="register it, after the active node",
        )
        for node in server.nodes
        if node.name not in registered
    )  # fmt: skip


def members(estate: Estate, machines: Mapping[str, int]) -> tuple[Finding, ...]:
    """Hosts in both clouds of every pair and machines on the source's (A5); `machines` were counted host by host."""
    found = []
    for pair in estate.pairs.values():
        for cloud in (pair.source, *([pair.target] if pair.target else [])):
            if not hosts_of(estate, cloud):
                cure = "put a host into one of its host groups"
                found.append(Finding(rule="A5", kind="cloud", name=cloud, problem="it has no host", remedy=cure))
        sources = hosts_of(estate, pair.source)
        if sources and not any(machines.get(host.name, 0) for host in sources):
            cure = "create a machine on one of its hosts, or pair another cloud"
            problem = "none of its hosts has a machine"
            found.append(Finding(rule="A5", kind="cloud", name=pair.source, problem=problem, remedy=cure))
    return tuple(found)


def hosts_of(estate: Estate, cloud: str) -> tuple[Host, ...]:
    """The hosts of a cloud, in definition order."""
    return tuple(host for host in estate.hosts.values() if host.cloud == cloud)


def in_a_cloud(estate: Estate, machine: str, host: str) -> tuple[Finding, ...]:
    """Whether the host of a machine belongs to a cloud (A6)."""
    known = estate.hosts.get(host)
    if known is not None and known.cloud in estate.clouds:
        return ()
    problem = f"its host {host} belongs to no cloud"
    cure = f"put {host} into a host group of a cloud, or move the machine to a host of one"
    return (Finding(rule="A6", kind="machine", name=machine, problem=problem, remedy=cure),)


def release(version: str) -> str:
    """Major and minor of a version as programs report it (`9.0.0`, `6.1.0-38-amd64`), "" for none."""
    found = re.search(r"\d+\.\d+", version)
    return found[0] if found else ""


def versions(host: str, seen: Versions) -> tuple[Finding, ...]:
    """Components of a host that the table of tested versions (drill/core/versions.py) does not have (A7)."""
    found = [(row.component, getattr(seen, row.component)) for row in MATRIX]
    return judge(SeenVersion(component=component, place=host, version=version) for component, version in found)


def networks(estate: Estate, item: Item, attached: Iterable[str | None]) -> tuple[Finding, ...]:
    """The machine's VM networks and those of the target cloud (A10); `attached` are the networks of its cards."""
    found = []
    site, cloud = estate.hosts[item.source_host].site, estate.clouds[item.pair.source]
    known = [estate.network(site, name) for name in attached if name]
    if not any(one is not None and one.logical_network in cloud.logical_networks for one in known):
        problem = f"no card of it is on a VM network of a logical network of cloud {cloud.name}"
        cure = "plug a card into such a network, or associate the network's logical network with the cloud"
        found.append(Finding(rule="A10", kind="machine", name=item.name, problem=problem, remedy=cure))
    if not _has_networks(estate, item):
        target = item.pair.region or item.pair.target
        kind = "region" if item.pair.region else "cloud"
        cure = f"make a VM network there, on a logical network of the {kind}"
        found.append(Finding(rule="A10", kind=kind, name=target, problem="it has no VM network", remedy=cure))
    return tuple(found)


def _has_networks(estate: Estate, item: Item) -> bool:
    if item.pair.region:
        return any(one.site == item.pair.region for one in estate.networks)
    cloud = estate.clouds[item.pair.target]
    return any(one.site == cloud.site and one.logical_network in cloud.logical_networks for one in estate.networks)


def region_host(
    host: str, *, cache_folder: str, needed: Collection[str], installed: Collection[str]
) -> tuple[Finding, ...]:
    """What a host lacks that is to send to a region (A11): a cache folder, packages."""
    found = []
    if not cache_folder:
        cure = "choose a folder with room for what is being sent"
        found.append(Finding(rule="A11", kind="host", name=host, problem="no cache folder is chosen", remedy=cure))
    for package in sorted(set(needed) - set(installed)):
        problem = f"{package} is not installed"
        found.append(Finding(rule="A11", kind="host", name=host, problem=problem, remedy=f"install {package} on it"))
    return tuple(found)


def one_version(estate: Estate) -> tuple[Finding, ...]:
    """Hosts of several versions under one policy, and hosts of mixed clouds that no policy covers (A12)."""
    found = []
    for name, pair in estate.pairs.items():
        hosts = [one for cloud in (pair.source, pair.target) for one in hosts_of(estate, cloud)]
        policies = pair.policies or (pair.policy,)
        for policy in policies:
            covered = {one.name: release(one.versions.qemu) for one in hosts if covers(policy.host_version, one)}
            if len(set(covered.values())) > 1:
                told = ", ".join(f"{host} {version or 'unknown'}" for host, version in covered.items())
                problem = f"its hosts run different versions: {told}"
                cure = f"associate pair {name} with a policy for each host version"
                found.append(Finding(rule="A12", kind="policy", name=policy.name, problem=problem, remedy=cure))
        for host in hosts:
            if not any(covers(policy.host_version, host) for policy in policies):
                problem = f"no policy of pair {name} is for its version {host.versions.qemu or 'unknown'}"
                cure = "associate the pair with a policy of that host version"
                found.append(Finding(rule="A12", kind="host", name=host.name, problem=problem, remedy=cure))
    return tuple(found)


def covers(host_version: str, host: Host) -> bool:
    """Whether a policy of that host version, "" for any, is for a host; versions are QEMU's, by major and minor."""
    return not host_version or release(host_version) == release(host.versions.qemu)


def operating_system(item: Item, *, seen_type: str = "", seen_disk: str = "") -> tuple[Finding, ...]:
    """Kind of operating system and system disk (A14): as the hypervisor shows them, else as drill's own properties."""
    found = []
    for known, what, key in (
        (seen_type or item.os_type, "its kind of operating system", "os_type"),
        (seen_disk or item.os_disk, "its system disk", "os_disk"),
    ):
        if not known:
            cure = f"set {key} of the item"
            found.append(
                Finding(rule="A14", kind="machine", name=item.name, problem=f"{what} is not known", remedy=cure)
            )
    return tuple(found)
