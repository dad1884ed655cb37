"""Shrinking a walk that failed: fewer steps, fewer faults, smaller numbers, the same invariant (delta debugging)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from drill.fuzz.steps import Step, Value
from drill.fuzz.walk import Fall, Route, walk

Test = Callable[[Route], Fall | None]


def shrink(found: Route, fall: Fall, seconds: float = 20.0) -> tuple[Route, Fall]:
    """A smaller route that violates the same invariant, and how; stops after `seconds`."""
    until = time.monotonic() + seconds

    def test(candidate: Route) -> Fall | None:
        if time.monotonic() > until:
            return None
        again, _ = walk(candidate, Counter(), Counter())
        return again if again is not None and again.invariant == fall.invariant else None

    best, last = replace(found, steps=found.steps[: fall.step + 1]), fall
    if (again := test(best)) is None:
        best = found
    else:
        last = again
    while True:
        before = best
        best, last = _fewer_steps(best, last, test)
        best, last = _first_that_fails(best, last, test, _simpler)
        if best == before:
            return best, last


def _fewer_steps(best: Route, last: Fall, test: Test) -> tuple[Route, Fall]:
    """Leave out halves, quarters, … single steps."""
    size = len(best.steps) // 2 or 1
    while size:
        at = 0
        while at < len(best.steps):
            candidate = replace(best, steps=best.steps[:at] + best.steps[at + size :])
            fall = test(candidate)
            if fall is None:
                at += size
            else:
                best, last = candidate, fall
        size //= 2
    return best, last


def _first_that_fails(
    best: Route, last: Fall, test: Test, simpler: Callable[[Route], Iterator[Route]]
) -> tuple[Route, Fall]:
    """Take simpler routes while they fail."""
    again = True
    while again:
        again = False
        for candidate in simpler(best):
            fall = test(candidate)
            if fall is not None:
                best, last, again = candidate, fall, True
                break
    return best, last


def _simpler(found: Route) -> Iterator[Route]:
    """The same route with one disk less, one fault less, or one number smaller."""
    if len(found.disks) > 1:
        for index in range(len(found.disks)):
            yield replace(found, disks=found.disks[:index] + found.disks[index + 1 :])
    for index, disk in enumerate(found.disks):
        for simple in (replace(disk, size=65536), replace(disk, granule=65536), replace(disk, cluster=65536)):
            if simple != disk:
                yield replace(found, disks=(*found.disks[:index], simple, *found.disks[index + 1 :]))
    for index, step in enumerate(found.steps):
        for args in _simpler_args(dict(step.args)):
            yield replace(found, steps=(*found.steps[:index], Step(step.kind, args), *found.steps[index + 1 :]))


def _simpler_args(args: dict[str, Value]) -> Iterator[dict[str, Value]]:
    faults = args.get("faults")
    if isinstance(faults, list) and faults:
        for index in range(len(faults)):
            fewer = faults[:index] + faults[index + 1 :]
            yield {**args, "faults": fewer} if fewer else {k: v for k, v in args.items() if k not in ("faults", "salt")}
    for name, value in args.items():
        if name not in ("salt", "faults") and not isinstance(value, (str, list)):
            yield from ({**args, name: small} for small in _smaller(value))


def _smaller(value: float) -> Iterator[Value]:
    """Simpler values than this one, the simplest first; every chain of them ends."""
    if isinstance(value, bool) or value in (0, 1, 0.0, 1.0):
        return
    if isinstance(value, int):
        yield 1
        if value > 3:
            yield value // 2
    else:
        yield 0.0
