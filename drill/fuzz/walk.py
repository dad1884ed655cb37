"""Walks: seeded, weighted, many per second.

One seed gives an endless row of walks; each is made from (seed, number) alone, so that any of them can be made again
without those before it.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from drill.fuzz import steps as step_kinds
from drill.fuzz.faults import FAULTS
from drill.fuzz.oracle import INVARIANTS, Violated
from drill.fuzz.perform import Walk
from drill.fuzz.steps import Step
from drill.fuzz.world import DiskPlan, Ground

TWICE_EVERY = 100
PROGRESS_SECONDS = 5.0
COLLECT_EVERY = 512


@dataclass(frozen=True, slots=True)
class Route:
    """A walk before it is walked: its disks and its steps."""

    disks: tuple[DiskPlan, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Fall:
    """How a walk failed: the violated invariant (or the name of what nobody foresaw), at which step, in words."""

    invariant: str
    detail: str
    step: int


@dataclass(slots=True)
class Tally:
    """What a run of walks saw."""

    sequences: int = 0
    steps: int = 0
    cpu_seconds: float = 0.0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAULTS, 0)))
    invariants: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(INVARIANTS, 0)))

    @property
    def rate(self) -> float:
        """Sequences per second of processor time."""
        return self.sequences / self.cpu_seconds if self.cpu_seconds else 0.0


def route(seed: int, number: int) -> Route:
    """The `number`-th walk of a seed."""
    rng = Random((seed << 32) + number)  # noqa: S311 - walks must be repeatable
    disks = step_kinds.disks(rng)
    return Route(disks, tuple(step_kinds.steps(rng, rng.randrange(31, 53))))


def walk(
    found: Route, faults: Counter[str], invariants: Counter[str], ground: Ground | None = None
) -> tuple[Fall | None, tuple[str, ...]]:
    """Walk a route to its end or fall; also what a second walk of it must give again, the steps' outcomes first."""
    return ended(Walk(found.disks, faults, invariants, ground), found.steps)


def ended(walker: Walk, steps: Sequence[Step], done: int = 0) -> tuple[Fall | None, tuple[str, ...]]:
    """The same for the rest of a walk of which `done` steps were walked; the walk is over then."""
    try:
        for step in steps:
            walker.step(step)
            done += 1
        walker.finish()
    except Violated as violated:
        return Fall(violated.invariant, violated.detail, done), walker.traces()
    except Exception as error:  # noqa: BLE001 - the edge of the walk: what nobody foresaw is a failure too
        return Fall("unforeseen", f"{type(error).__name__}: {error}", done), walker.traces()
    finally:
        walker.close()
    return None, walker.traces()


def canary() -> Fall | None:
    """A walk that must fall: a bit of a point's data is flipped under everybody's nose."""
    disks = (DiskPlan("vda", 65536, granule=65536, cluster=65536),)
    write = Step("write", {"disk": 0, "at": 0.0, "sectors": 8, "fill": 1})
    return walk(Route(disks, (write, Step("cycle", {}), Step("spoil", {}))), Counter(), Counter())[0]


def run(
    seed: int,
    seconds: float,
    tally: Tally,
    *,
    most: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, Route, Fall]]:
    """Walk for a while; yields every walk that failed."""
    until, said = time.monotonic() + seconds, time.monotonic()
    begun = time.process_time()
    gc.freeze()
    gc.disable()
    try:
        for number in range(most if most is not None else 1 << 40):
            found = route(seed, number)
            fall, traces = walk(found, tally.faults, tally.invariants)
            tally.sequences += 1
            tally.steps += len(found.steps)
            if fall is None and number % TWICE_EVERY == 0:
                fall = _again(found, traces, tally)
            tally.cpu_seconds = time.process_time() - begun
            if fall is not None:
                yield number, found, fall
            if number % COLLECT_EVERY == COLLECT_EVERY - 1:
                gc.collect()
            now = time.monotonic()
            if progress is not None and now - said > PROGRESS_SECONDS:
                said = now
                progress(f"{tally.sequences} walks, {tally.rate:.0f} per second of processor time")
            if now > until:
                break
    finally:
        gc.enable()
        gc.unfreeze()


def _again(found: Route, traces: Sequence[str], tally: Tally) -> Fall | None:
    """The same walk a second time must go the same way."""
    fall, second = walk(found, Counter(), Counter())
    tally.repeated += 1
    if fall is not None or tuple(second) != tuple(traces):
        return Fall("unforeseen", "a second walk of the same steps went another way", len(found.steps))
    return None
