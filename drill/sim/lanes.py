"""Lanes without threads (the Lanes port): one piece after the other, and a step is one order of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


class OneLane:
    """Results in order."""

    def ordered(self, work: Callable[[P], R], pieces: Iterable[P]) -> Iterator[R]:
        """Each piece is worked on when its result is wanted."""
        return map(work, pieces)
