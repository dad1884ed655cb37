"""Network mapping: what may be mapped, which subnet follows, who can use a target, what follows at home (spec F)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drill.model.estate import Estate
from drill.model.finding import Finding
from drill.model.network import NetworkMapping, Subnet, VmNetwork

DEFINITION, ALPHABETICAL = "definition", "alphabetical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a pair can use a target network (F6); `finding` has the remedy where it cannot."""

    pair: str
    cloud: str
    available: bool
    finding: Finding | None


def mappings(estate: Estate) -> tuple[Finding, ...]:
    """Mappings whose ends do not exist, or that lead one source to two targets of a site (F1).

    Networks of one site may be mapped too, where one server has both of a pair's clouds there.
    """
    found = []
    seen: dict[tuple[str, str, str], str] = {}
    for one in estate.network_mappings:
        for site, name in ((one.source_site, one.source), (one.target_site, one.target)):
            if estate.network(site, name) is None:
                problem = f"there is no VM network {name} at {site}"
                cure = "make the network, or remove the mapping"
                found.append(Finding(rule="F1", kind="network mapping", name=one.source, problem=problem, remedy=cure))
        key = (one.source_site, one.source, one.target_site)
        if seen.setdefault(key, one.target) != one.target:
            problem = f"it is mapped to {seen[key]} and to {one.target}"
            found.append(
                Finding(rule="F1", kind="network", name=one.source, problem=problem, remedy="keep one of the two")
            )
    return tuple(found)


def choose_subnet(
    subnets: Sequence[Subnet], source_name: str | None, first: str = DEFINITION
) -> tuple[Subnet | None, str]:
    """The target's subnet of the source subnet's name, else its first (F5), with the rule's sentence.

    `first` says by which order; the subnets stand in definition order.  None where there is none.
    """
    if not subnets:
        return None, "F5: the target has no such subnet"
    for subnet in subnets:
        if subnet.name == source_name:
            return subnet, f"F5: subnet {subnet.name} has the source's name"
    chosen = subnets[0] if first == DEFINITION else min(subnets, key=lambda one: one.name)
    return chosen, f"F5: no subnet named {source_name or '(unknown)'}, so the first, {chosen.name}"


def availability(estate: Estate, source: VmNetwork, target: VmNetwork) -> tuple[Availability, ...]:
    """For every pair that uses the source network, whether its target cloud has the target's logical network (F6)."""
    found = []
    for pair in estate.pairs.values():
        home, cloud = estate.clouds[pair.source], estate.clouds.get(pair.target)
        if cloud is None or (home.site, cloud.site) != (source.site, target.site):
            continue
        if source.logical_network not in home.logical_networks:
            continue
        available = target.logical_network in cloud.logical_networks
        finding = Finding(
            rule="F6", kind="cloud", name=cloud.name,
            problem=f"it lacks logical network {target.logical_network}, on which {target.name} stands",
            remedy=f"add logical network {target.logical_network} to cloud {cloud.name}",
        )  # fmt: skip
        found.append(
            Availability(pair=pair.name, cloud=cloud.name, available=available, finding=None if available else finding)
        )
    return tuple(found)


def failback_network(home: str | None, replica: str | None, now: Iterable[NetworkMapping]) -> str | None:
    """Where a card of the machine at home lands when its replica fails back (F9); None: connected to nothing.

    `home` is the network that the card had, `replica` the one that the replica's card is on now, `now` the mappings
    between the two sites as they are now.  Several sources may lead to the replica's network: the card's own is kept if
    it is among them, else the first counts.
    """
    sources = [one.source for one in now if one.target == replica]
    if home in sources:
        return home
    return sources[0] if sources else None
