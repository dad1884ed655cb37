"""How many cards a target machine has, and which of the source's they are (spec J1, J3)."""

from __future__ import annotations

from drill.model.server import Size
from drill.model.target import Target


def count(source_cards: int, size: Size | None) -> int:
    """The lesser of the source's cards and what the size allows (J1); without a size, all of the source's."""
    return source_cards if size is None else min(source_cards, size.max_nics)


def built(source_cards: int, size: Size | None, target: Target) -> frozenset[int]:
    """Indices of the source's cards that the target gets: those that the operator chose, then in their order."""
    chosen = [one.source for one in target.nics if one.chosen and one.source < source_cards]
    order = [*chosen, *(index for index in range(source_cards) if index not in chosen)]
    return frozenset(order[: count(source_cards, size)])
