"""Which host a replica goes to (spec F3, G3, A12): one that carries its networks, reaches its storage, has room.

`Room` is what is left of memory and processors on each host; placing takes off.  What is not declared is not limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drill.core import storing
from drill.core.prerequisites import covers, hosts_of
from drill.model.estate import Estate, Item
from drill.model.finding import Finding
from drill.model.server import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a replica needs of its host: networks of its cards, storage classes of its disks, memory, processors."""

    item: Item
    networks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    memory_mib: int = 0
    vcpus: int = 0


@dataclass(slots=True)
class Room:
    """MiB of memory and processors left per host; a host or a number that is absent is not limited."""

    memory_mib: dict[str, int] = field(default_factory=dict)
    vcpus: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, estate: Estate) -> Room:
        """What hosts declare, less nothing: what runs there now is taken off by whoever knows it."""
        hosts = estate.hosts.values()
        return cls(
            memory_mib={one.name: one.memory_mib for one in hosts if one.memory_mib},
            vcpus={one.name: one.vcpus for one in hosts if one.vcpus},
        )

    def take(self, host: str, needs: Needs) -> None:
        """A machine goes there."""
        for left, much in ((self.memory_mib, needs.memory_mib), (self.vcpus, needs.vcpus)):
            if host in left:
                left[host] -= much


def lacks(estate: Estate, host: Host, needs: Needs, room: Room) -> tuple[Finding, ...]:
    """Why a host cannot take a replica; nothing where it can."""
    found = []
    for network in dict.fromkeys(needs.networks):
        if not host.carries(network):
            cure = f"bring {network} to {host.name}, or choose a host that carries it"
            found.append(_finding("F3", host, f"it does not carry VM network {network}", cure))
    for name in dict.fromkeys(needs.classes):
        if not storing.reached(estate, host, name):
            cure = f"offer a location of {name} to host group {host.host_group_key}, or choose another host"
            found.append(_finding("G3", host, f"it reaches no storage of class {name}", cure))
    policy = needs.item.pair.policy
    if not covers(policy.host_version, host):
        problem = f"its version {host.versions.qemu or 'unknown'} is not {policy.host_version} of policy {policy.name}"
        found.append(_finding("A12", host, problem, "choose a host of that version, or another policy"))
    return (*found, *_full(host, needs, room))


def _full(host: Host, needs: Needs, room: Room) -> list[Finding]:
    found = []
    for left, much, unit in (
        (room.memory_mib.get(host.name), needs.memory_mib, "MiB of memory"),
        (room.vcpus.get(host.name), needs.vcpus, "processors"),
    ):
        if left is not None and left < much:
            problem = f"{max(left, 0)} {unit} are left for {needs.item.name}, which needs {much}"
            found.append(_finding("S6", host, problem, f"free {much - max(left, 0)} {unit}, or choose another host"))
    return found


def _finding(rule: str, host: Host, problem: str, remedy: str) -> Finding:
    return Finding(rule=rule, kind="host", name=host.name, problem=problem, remedy=remedy)


def candidates(estate: Estate, item: Item) -> tuple[Host, ...]:
    """Hosts that may be asked: the operator's choice alone, else those of the target cloud in definition order."""
    if item.target.host:
        return tuple(one for one in estate.hosts.values() if one.name == item.target.host)
    return hosts_of(estate, item.pair.target)


def choose(estate: Estate, needs: Needs, room: Room) -> tuple[Host | None, tuple[Finding, ...]]:
    """The host of a new replica: of those that lack nothing the one with most memory left, of equals the first defined.

    Its room is taken off.  None, with what every candidate lacks, where there is none.
    """
    hosts = candidates(estate, needs.item)
    missing = {host.name: lacks(estate, host, needs, room) for host in hosts}
    fitting = [host for host in hosts if not missing[host.name]]
    if fitting:
        best = max(fitting, key=lambda one: room.memory_mib.get(one.name, 0))
        room.take(best.name, needs)
        return best, ()
    return None, (_nowhere(needs.item, hosts), *(finding for each in missing.values() for finding in each))


def _nowhere(item: Item, hosts: Sequence[Host]) -> Finding:
    where = item.target.host or f"cloud {item.pair.target}"
    problem = f"no host of {where} can take it" if hosts else f"there is no host of {where}"
    cure = "mend one of the hosts as said of each, or add a host" if hosts else "add a host"
    return Finding(rule="S6", kind="machine", name=item.name, problem=problem, remedy=cure)
