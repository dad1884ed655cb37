"""Consistency groups: sections of a file → values (spec S5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drill.estate.findings import Findings
from drill.estate.item_schema import ConsistencyGroupSection
from drill.estate.yaml import Path_
from drill.model.estate import ConsistencyGroup, Item


def consistency_groups(
    sections: Sequence[ConsistencyGroupSection], items: Mapping[str, Item], found: Findings
) -> dict[str, ConsistencyGroup]:
    """One agent pauses all guests of a group: they share a source host, and a policy says when (S5)."""
    found.unique(("groups",), (one.name for one in sections), "group")
    used: dict[str, str] = {}
    for index, one in enumerate(sections):
        for position, name in enumerate(one.items):
            path: Path_ = ("groups", index, "items", position)
            if not found.known(path, name, items, "there is no protected item"):
                continue
            if name in used:
                found.wrong(path, f"{name!r} is in group {used[name]!r} already (S5)")
            used[name] = one.name
            if one.items[0] in items:
                _check_alike(items[name], items[one.items[0]], path, found)
    return {one.name: ConsistencyGroup(name=one.name, items=tuple(one.items)) for one in sections}


def _check_alike(item: Item, first: Item, path: Path_, found: Findings) -> None:
    if item.source_host != first.source_host:
        hosts = f"{item.name!r} is on {item.source_host!r}, {first.name!r} on {first.source_host!r}"
        found.wrong(path, f"a group has one source host, whose agent pauses all of it: {hosts} (S5)")
    if item.pair.policy != first.pair.policy:
        found.wrong(path, f"{item.name!r} is under another policy than {first.name!r} (S5)")
