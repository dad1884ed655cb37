"""What may not change from one estate to the next while something depends on it (spec D4, A13)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drill.core import pairing, regions
from drill.model.estate import Estate
from drill.model.finding import Finding


def step(before: Estate, after: Estate) -> tuple[Finding, ...]:
    """What is amiss with the step: another end for a pair (D4), a store or a network in use that moves (A13)."""
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
