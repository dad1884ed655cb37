"""What the rules say of a whole estate, and of the step from one to another, before anything is written or moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drill.core import mapping, pairing, plans, policies, prerequisites, regions, storing
from drill.model.estate import Estate
from drill.model.finding import Finding


def findings(estate: Estate) -> tuple[Finding, ...]:
    """All that is amiss as far as the estate alone tells: topology, pairs, policies, mappings, regions, plans."""
    return (
        *prerequisites.topology(estate),
        *pairing.pairs(estate),
        *(found for policy in estate.policies.values() for found in policies.policy(policy)),
        *mapping.mappings(estate),
        *storing.mappings(estate),
        *prerequisites.one_version(estate),
        *(found for item in estate.items.values() for found in prerequisites.operating_system(item)),
        *regions.stores_and_networks(estate),
        *regions.encryption(estate),
        *(found for plan in estate.plans.values() for found in plans.check(estate, plan)),
    )


def step(before: Estate, after: Estate) -> tuple[Finding, ...]:
    """What may not change from one estate to the next: a pair's ends (D4), a store or network in use (A13)."""
    pairs = (before.pairs[name] for name in before.pairs if name in after.pairs)
    changed = (found for pair in pairs for found in pairing.change(pair, after.pairs[pair.name]))
    return (*changed, *_moved(before, after))


def _moved(before: Estate, after: Estate) -> Iterator[Finding]:
    for kind, old, new in (
        ("store", _stores(before), _stores(after)),
        ("network", _networks(before), _networks(after)),
    ):
        for name, place in old.items():
            if name in new and new[name] != place:
                yield from regions.moving(before, kind, name)


def _stores(estate: Estate) -> dict[str, str]:
    stores: Iterable[tuple[str, str]] = (
        (store.name, store.region) for region in estate.regions.values() for store in region.stores
    )
    return dict(stores)


def _networks(estate: Estate) -> dict[str, str]:
    return {network.name: network.site for network in estate.networks if network.site in estate.regions}
