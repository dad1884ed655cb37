"""Which cloud replicates where, and what may be changed of it afterwards (spec D)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drill.model.estate import Estate, Pair, Policy
from drill.model.finding import Finding


def pairs(estate: Estate) -> tuple[Finding, ...]:
    """Ends of every pair (D1, B8), and clouds in more than one (D2)."""
    found: list[Finding] = []
    used: dict[str, str] = {}
    for pair in estate.pairs.values():
        found += _ends(estate, pair)
        for cloud in filter(None, (pair.source, pair.target)):
            if cloud in used:
                problem = f"it belongs to pair {used[cloud]} already, and pair {pair.name} names it too"
                cure = f"remove pair {used[cloud]}, or choose another cloud"
                found.append(Finding(rule="D2", kind="cloud", name=cloud, problem=problem, remedy=cure))
            used.setdefault(cloud, pair.name)
    return tuple(found)


def _ends(estate: Estate, pair: Pair) -> Iterator[Finding]:
    for cloud in filter(None, (pair.source, pair.target)):
        if cloud not in estate.clouds:
            cure = f"one of {', '.join(estate.clouds)} can be named"
            problem = f"there is no cloud {cloud}"
            yield Finding(rule="D1", kind="pair", name=pair.name, problem=problem, remedy=cure)
        elif not estate.clouds[cloud].synchronised:
            cure = "synchronise it first"
            yield Finding(rule="B8", kind="cloud", name=cloud, problem="it was never synchronised", remedy=cure)
    if bool(pair.target) == bool(pair.region):
        cure = "name a cloud, or a region and a store of it"
        problem = "it must lead to a cloud or to a region, and to one of them alone"
        yield Finding(rule="D1", kind="pair", name=pair.name, problem=problem, remedy=cure)
    if pair.region and pair.region not in estate.regions:
        problem = f"there is no region {pair.region}"
        yield Finding(rule="D1", kind="pair", name=pair.name, problem=problem, remedy="declare the region")
    if pair.region and not pair.store:
        cure = f"name a store of region {pair.region}"
        yield Finding(rule="D1", kind="pair", name=pair.name, problem="no store is named", remedy=cure)


def change(before: Pair, after: Pair) -> tuple[Finding, ...]:
    """What changing a pair means (D4): another end is refused, another store counts for machines to come."""
    found = []
    if (before.source, before.target, before.region) != (after.source, after.target, after.region):
        problem = f"it leads from {before.source} to {before.target or before.region}, which cannot be changed"
        cure = "remove the pair and make it anew; its machines are then protected afresh"
        found.append(Finding(rule="D4", kind="pair", name=before.name, problem=problem, remedy=cure))
    if before.store != after.store:
        problem = f"store {after.store} is for machines protected from now on; the others stay in {before.store}"
        cure = "protect a machine afresh to move it"
        found.append(Finding(rule="D4", kind="pair", name=before.name, problem=problem, remedy=cure, refuses=False))
    return tuple(found)


def store_of(protected_into: str, pair: Pair) -> str:
    """The store of a machine: the one it was protected into, the pair's while it is not protected (D4)."""
    return protected_into or pair.store


def associate(pair: Pair, policy: Policy) -> Pair:
    """The pair with one more policy; that of a pair without any becomes its own (D5)."""
    known = pair.policies or (pair.policy,)
    if any(one.name == policy.name for one in known):
        return replace(pair, policies=known)
    return replace(pair, policies=(*known, policy))
