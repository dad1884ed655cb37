"""What an oracle knows of retention: which points somebody needs, and how old the others can be at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from drill.model.point import Point

GAP_SECONDS: Final = 20 * 60
"""No two seals count as farther apart than this, whatever the clocks say."""


@dataclass(slots=True)
class Keeping:
    """`retiring`: upkeep may have run since the last look.  `window_seconds` is the shortest window that may be in
    force, `most` how many points there may be.  `gone`: log digests of points that went."""

    most: int = 10
    window_seconds: int = 600
    retiring: bool = False
    locked: set[Point] = field(default_factory=set)
    used: set[Point] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    _born: dict[str, int] = field(default_factory=dict)

    def forget(self, points: Sequence[Point]) -> None:
        """The receiver was put back, or forgot: what is locked and used there is not known any more."""
        self.locked.clear()
        self.used.clear()
        self.gone.clear()
        self._number(points)

    def retired(
        self, must: Callable[[str, bool, str], None], before: tuple[Point, ...], points: Sequence[Point]
    ) -> tuple[Point, ...]:
        """Judge points that are gone, and count upkeep's promises; the points of `before` that must still be there."""
        self._number(before)
        if self.retiring:
            self.retiring = False
            here = {point.log_digest for point in points}
            gone = [point for point in before if point.log_digest not in here]
            self._judge(must, before, gone)
            self.gone.update(point.log_digest for point in gone)
            before = tuple(point for point in before if point.log_digest in here)
        self._number(points)
        return before

    def _judge(self, must: Callable[[str, bool, str], None], before: Sequence[Point], gone: Sequence[Point]) -> None:
        is_lost = bool(before) and before[-1] in gone
        must("I21", not is_lost, f"the newest point went: {_names(gone)}" if is_lost else "")
        held = [point for point in gone if point in self.locked or point in self.used]
        must("I21", not held, f"points that are locked or in use went: {_names(held)}" if held else "")
        must("I22", True, "the others are compared as ever")
        newest = len(self._born)
        crowd = len(before) - self.most
        young = [
            point for point in gone if (newest - 1 - self._born[point.log_digest]) * GAP_SECONDS < self.window_seconds
        ]
        must("I12", len(young) <= max(crowd, 0), f"points too young to go are gone: {_names(young)}")

    def _number(self, points: Iterable[Point]) -> None:
        for point in points:
            self._born.setdefault(point.log_digest, len(self._born))


def _names(points: Iterable[Point]) -> str:
    return " ".join(f"{point.epoch}/{point.sequence}" for point in points) or "none"
