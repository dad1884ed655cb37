"""The second engine: Hypothesis draws the same steps over the same world, and shrinks what falls.

It makes some tens of walks a second where the walker makes hundreds, but it knows how to make a walk small: every
choice of a step, its faults included, is one of its draws.  The walker is for volume, this for what people read.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, count
from random import Random
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from drill.fuzz import shrink
from drill.fuzz import steps as step_kinds
from drill.fuzz.steps import Step
from drill.fuzz.walk import Fall, Route, walk
from drill.fuzz.world import DiskPlan

T = TypeVar("T")
LISTS, LIST_MAX = 7, 16
EXAMPLES = 2000
"""Walks in a row before Hypothesis begins anew with another seed: what it has learnt keeps it in one corner."""

SHRINK_SECONDS = 10.0
_HUNDRED = st.integers(0, 99)


class Drawn(Random):
    """A source of chance whose every answer is drawn by Hypothesis; smaller answers are simpler ones."""

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__(0)
        self._draw = draw

    def random(self) -> float:
        """A part of 1, in two draws: of a large range Hypothesis gives small numbers four times out of five."""
        return self._draw(_HUNDRED) / 100 + self._draw(_HUNDRED) / 10_000

    def getrandbits(self, k: int, /) -> int:
        """Bits."""
        return self._draw(st.integers(0, (1 << k) - 1))

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """A number of a range."""
        first, end = (0, start) if stop is None else (start, stop)
        return first + step * self._draw(st.integers(0, (end - first - 1) // step))

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        """One of several, the first is the simplest."""
        return seq[self._draw(st.integers(0, len(seq) - 1))]

    def choices(  # type: ignore[override]
        self,
        population: Sequence[T],
        weights: None = None,  # noqa: ARG002 - steps give sums
        *,
        cum_weights: Sequence[float],
        k: int = 1,
    ) -> list[T]:
        """Some of several, as often as the sums of their weights say."""
        return [self._one(population, cum_weights) for _ in range(k)]

    def _one(self, population: Sequence[T], sums: Sequence[float]) -> T:
        at = self.random() * sums[-1]
        return next(one for one, end in zip(population, sums, strict=True) if at < end)


@st.composite
def disks(draw: st.DrawFn) -> tuple[DiskPlan, ...]:
    """The disks that a walk begins with."""
    return step_kinds.disks(Drawn(draw))


@st.composite
def steps(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(step_kinds.WEIGHTS)) -> Step:
    """One step of these kinds, each as often as its weight says."""
    chance, total, sums = Drawn(draw), 0.0, []
    for kind in kinds:
        total += step_kinds.WEIGHTS[kind]
        sums.append(total)
    return step_kinds.step(chance, chance.choices(kinds, cum_weights=sums)[0])


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """A whole walk: disks, and steps of which a cycle is an early one.

    The steps come in several lists: one of Hypothesis's has five entries on the average, whatever it may have at most.
    """
    begun = draw(disks())
    before, *after = (draw(st.lists(steps(), max_size=LIST_MAX)) for _ in range(LISTS))
    return Route(begun, (*before[:3], Step("cycle", {}), *chain(*after)))


class _Enough(BaseException):
    """The time is over; nothing catches it but `hunt`."""


class _Fallen(Exception):
    """A walk fell."""


class Hunt:
    """Walks until one falls or the time is over.  `best` is the shortest that fell."""

    def __init__(self, seconds: float) -> None:
        self.walks = 0
        self.best: tuple[Route, Fall] | None = None
        self._until = time.monotonic() + seconds

    def run(self, seed: int, examples: Iterable[Route] = ()) -> tuple[Route, Fall] | None:
        """The shortest walk that fell and how, None for none; `examples` are walked first."""
        try:
            for example in examples:
                if self._try(example):
                    raise _Fallen
            for number in count():
                self._round((seed << 16) + number)
        except (_Enough, _Fallen, Flaky):
            pass
        if self.best is None:
            return None
        return shrink.shrink(*self.best, SHRINK_SECONDS)

    def _round(self, seed: int) -> None:
        every = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

        @seeded(seed)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=every,
        )
        @given(routes())
        def falls(route: Route) -> None:
            if self._try(route):
                raise _Fallen

        falls()

    def _try(self, route: Route) -> bool:
        if time.monotonic() > self._until:
            raise _Enough
        self.walks += 1
        fall, _ = walk(route, Counter(), Counter())
        if fall is None:
            return False
        if self.best is None:  # from here on it is being made smaller
            self._until = min(self._until, time.monotonic() + SHRINK_SECONDS)
        if self.best is None or len(route.steps) <= len(self.best[0].steps):
            self.best = (route, fall)
        return True
