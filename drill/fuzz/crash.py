"""A crash at every operation of fixed scripts, and what a power failure may leave there.

Each script ends with a step under test.  It is repeated with a crash at its first, second, … operation on either side:
a killed process, and power failures that leave different parts of what was pending.  After each the side starts again,
and is crashed once more at every operation of its start (I17), after every loss that left a new state.  A state is what
is durable right after the last crash.  States that were seen already are not gone on from; from every new one both
sides recover, all invariants are checked, and the replica must become exact (L1).

What a power failure may leave is looked at on copies of the files, which cost a hundredth of a walk; only results that
are new are gone on from.  A start touches its own side alone, so one walk looks at every operation of it: what a crash
before an operation leaves is what lies there.  Only a write is walked to by itself, for a crash leaves a part of it.

Nothing is walked twice: a script is walked to its last step once, and to a crash once, and gone on from in copies
(drill/fuzz/snapshot.py).  Whatever is bad, and one state in CHECKED_EVERY, is walked to from the beginning as well and
must end the same way there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import Final, TypeAlias

from drill.fuzz.faults import SIDES
from drill.fuzz.perform import Walk
from drill.fuzz.positions import LOOKS, Dark, Origin, Position
from drill.fuzz.scene import nobody_asks
from drill.fuzz.scripts import DISKS, SCRIPTS
from drill.fuzz.snapshot import Snapshot
from drill.fuzz.trace import Trace
from drill.fuzz.walk import PROGRESS_SECONDS, Fall, Route, ended, walk
from drill.fuzz.world import World
from drill.sim.files import SimFiles

LOOKS_MAX: Final = 384
"""Twice as many results are looked at the next time while half of them were new, up to these;"""

FIRST_LOOKS: Final = {True: 1, False: 3}
"""at the first turn of all fewer, so that every script has its turn: by whether a start is crashed."""

TURN: Final = 16
"""Of the operations one in so many has its turn before they are sorted again, those first that gave most."""

DULL: Final = 3
"""An operation that gave nothing new so many times in a row is left alone."""

GOES_ON: Final = frozenset({"end"})
"""Steps that go on after their crash: what another loss leaves there cannot be put under the walk afterwards."""

CHECKED_EVERY: Final = 100

ENDLESS: Final = 10_000
ENDLESS_STATES: Final = 1 << 40

_Tried: TypeAlias = "tuple[str, Trace | None]"


@dataclass(slots=True)
class Count:
    """What was tried: `crashes` gone on from, and the states they left, distinct by what is durable.

    `seen` has those that are yet to be gone on from as well; the first `crashes` of `order` were.  `restarted` has
    states of which the start was crashed at every operation, `checked` counts those walked to from the beginning too.
    """

    crashes: int = 0
    checked: int = 0
    scripts: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    order: list[int] = field(default_factory=list)
    restarted: set[tuple[int, str]] = field(default_factory=set)

    @property
    def states(self) -> int:
        """Distinct states that were recovered from."""
        return min(self.crashes, len(self.seen))


@dataclass(slots=True)
class Struck:
    """A crash that came: the walk just after it, the state that every loss leaves, and the files before the power
    failed (None for a killed process)."""

    walker: Walk
    states: list[tuple[int, int]]
    before: SimFiles | None


def every(count: Count, most: int, progress: Callable[[str], None], *, share: slice = slice(None)) -> Iterator[_Tried]:
    """Crash everywhere until `most` states were seen; yields the script of each state, and its trace when it is bad.

    First once at every operation of every script of the `share`, then round after round with other results of the
    power failure, for as long as an operation gives states that are new.
    """
    said = time.monotonic()
    for name, trace in _everything(count, tuple(SCRIPTS)[share]):
        yield name, trace
        if count.states >= most:
            return
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            progress(f"{name}: {count.crashes} crashes, {count.states} states so far")


def succeeds(name: str) -> bool:
    """Whether a script, with no crash in it, ends well."""
    fall, _ = walk(Route(DISKS, SCRIPTS[name]), Counter(), Counter())
    return fall is None


def _everything(count: Count, names: tuple[str, ...]) -> Iterator[_Tried]:
    positions: list[Position] = []
    begun: dict[str, Snapshot] = {}
    for name in names:
        count.scripts.add(name)
        route = Route(DISKS, SCRIPTS[name])
        fall, _ = walk(route, Counter(), Counter())
        if fall is not None:  # no crash of it would be walked to
            yield name, Trace(0, 0, route, fall)
            continue
        begun[name] = walked_to_last(name)
        for side, kind in product(SIDES, ("crash", "power")):
            yield from _explored(begun[name], name, f"{side} {kind}", count, positions)
    while positions:
        positions.sort(key=lambda position: -position.gain)
        for position in positions[: 1 + len(positions) // TURN]:
            origin = begun[position.script]
            struck, losses = _look(position, count, position.looks, origin)
            yield from _recovered(position, losses, count, struck)
            yield from deeper(position, count, origin, positions)
            position.dull = 0 if losses else position.dull + 1
            position.looks = min(2 * position.looks, LOOKS_MAX) if position.gain >= 0.5 else LOOKS
        positions = [position for position in positions if position.dull < DULL]


def walked_to_last(name: str) -> Snapshot:
    """A script just before its last step."""
    walker = Walk(DISKS, Counter(), Counter())
    for step in SCRIPTS[name][:-1]:
        walker.step(step)
    return Snapshot(walker)


def _explored(begun: Snapshot, name: str, fault: str, count: Count, positions: list[Position]) -> Iterator[_Tried]:
    """A crash at every operation of the last step, and at every one of the start after it.

    Those where a power failure may leave one thing or another go into `positions`.
    """
    for at in range(ENDLESS):
        position = Position(name, fault, at, None)
        struck, losses = _look(position, count, FIRST_LOOKS[False], begun)
        if struck is None:
            return
        positions += [position] if fault.endswith("power") else []
        known = (struck.states[0][0], fault) in count.restarted  # its start was crashed at every operation already
        crashed = None if known else Snapshot(struck.walker)
        yield from _recovered(position, losses, count, struck)
        if crashed is None:
            continue
        count.restarted.add((struck.states[0][0], fault))
        again = yield from _crashed_again(crashed, Position(name, fault, at, ENDLESS), count)
        positions += again if fault.endswith("power") else []


def deeper(position: Position, count: Count, origin: Snapshot, positions: list[Position]) -> Iterator[_Tried]:
    """Crash the start after every loss that left a new state here, for another loss is another start."""
    owed, position.owed = position.owed, []
    kept = lit(position, origin) if owed else None
    if kept is None:
        return
    for loss in owed:
        start = Position(position.script, position.fault, position.at, ENDLESS, before=loss)
        again = yield from _crashed_again(Dark(kept, position.side, loss), start, count)
        positions += [one for one in again if one.gain]


def lit(position: Position, origin: Origin) -> Snapshot | None:
    """The walk after this crash, but with all that was pending when the power failed: see `Dark`."""
    struck = strike(position, range(1), origin)
    if struck is None or struck.before is None:
        return None
    struck.walker.scene.world.files[position.side].become(struck.before)
    return Snapshot(struck.walker)


def _crashed_again(crashed: Origin, start: Position, count: Count) -> Generator[_Tried, None, list[Position]]:
    """Crash a start once at each of its operations; returns these."""
    found, writes = started(crashed, start, count)
    for again, losses in found:
        if losses:
            yield from _recovered(again, losses, count, strike(again, range(losses[0], losses[0] + 1), crashed, -1))
    for again in writes:
        struck, losses = _look(again, count, FIRST_LOOKS[True], crashed, -1)
        yield from _recovered(again, losses, count, struck)
    return [*(again for again, _ in found), *writes]


def started(crashed: Origin, start: Position, count: Count) -> tuple[list[tuple[Position, list[int]]], list[Position]]:
    """One walk through the start that follows a crash.

    Gives the operations before which something had changed, each with the losses that leave a new state; and the
    writes, which are yet to be looked at.
    """
    found: list[tuple[Position, list[int]]] = []
    writes: list[Position] = []
    walker = crashed.walk()
    scene, side, power = walker.scene, start.side, start.fault.endswith("power")
    world, files, marks = scene.world, scene.world.files[start.side], [0, -1]

    def look(operation: str) -> None:
        position = replace(start, start=marks[0], looked=FIRST_LOOKS[True])
        marks[0] += 1
        if operation == "write":
            writes.append(replace(position, looked=0))
        elif marks[1] != files.version:
            marks[1] = files.version
            losses = _fresh(count, _leavings(world, side, range(position.looked), power=power))
            position.gain = len(losses) / position.looked
            found.append((position, losses))

    try:
        scene.begin(start.steps(0)[-1].args)
        world.start(side)
        world.processes[side].watch(look)
        scene.first_look(side)
    except Exception:  # noqa: BLE001 - the walks that go there tell what it is
        return found, writes
    finally:
        walker.close()
    return found, writes


def _fresh(count: Count, leavings: Iterable[tuple[int, int]]) -> list[int]:
    """The losses that leave a state that was not seen; now it is."""
    found: list[int] = []
    for state, loss in leavings:
        if state not in count.seen:
            count.seen.add(state)
            count.order.append(state)
            found.append(loss)
    return found


def _leavings(world: World, side: str, losses: range, *, power: bool) -> Iterator[tuple[int, int]]:
    """The states that a crash of a side leaves now, each with its loss: one for a killed process."""
    if not power:
        yield world.fingerprint(), losses[0]
        return
    for loss in losses:
        files = world.files[side].twin(Random(loss))  # noqa: S311 - as the walk's own
        files.lose_power()
        yield world.fingerprint(side, files), loss


def _look(
    position: Position, count: Count, looks: int, origin: Origin, first: int = 0
) -> tuple[Struck | None, list[int]]:
    """The crash at this operation, None where it never came; the losses that leave a new state."""
    goes_on = position.start is None and SCRIPTS[position.script][-1].kind in GOES_ON
    looks = 1 if goes_on else looks
    losses = range(position.looked, position.looked + looks)
    position.looked += looks
    struck = strike(position, losses, origin, first)
    found = _fresh(count, struck.states) if struck else []
    position.gain = len(found) / looks
    if position.start is None and position.fault.endswith("power") and not goes_on:
        position.owed += [loss for loss in found if loss]  # after loss 0 it was crashed when it was first looked at
    return struck, found


def strike(position: Position, losses: range, origin: Origin, first: int = 0) -> Struck | None:
    """Walk from `origin` to the crash, by the position's steps from the `first` on; None when it never came."""
    walker = origin.walk()
    world, noted = walker.scene.world, walker.scene.world.noted
    states, before = list[tuple[int, int]](), list[SimFiles]()

    def at_cut(side: str) -> None:
        before.append(world.files[side].twin(world.rng))
        states.extend(_leavings(world, side, losses, power=True))

    *steps, last = position.steps(losses[0])[first:]
    try:
        for step in steps:
            walker.step(step)
        noted.clear()
        walker.scene.on_cut = at_cut
        walker.step(last)
    except Exception:  # noqa: BLE001 - the walk from the beginning tells what it is
        states = states or [(world.fingerprint(), losses[0])]
    walker.scene.on_cut = nobody_asks
    if not sum(noted[f"{side} {kind}"] for side in SIDES for kind in ("killed", "power lost")):
        walker.close()
        return None
    return Struck(walker, states or [(world.fingerprint(), losses[0])], before[0] if before else None)


def _recovered(position: Position, losses: list[int], count: Count, struck: Struck | None) -> Iterator[_Tried]:
    """Go on from the states that these losses leave."""
    if struck is None or not losses:
        return
    side, kept, route = position.side, None, position.route(0)
    if losses != [struck.states[0][1]] and struck.before is not None:
        struck.walker.scene.world.files[side].become(struck.before)
        kept = Snapshot(struck.walker)
    for loss in losses:
        count.crashes += 1
        walker = kept.walk() if kept else struck.walker
        if kept:
            walker.scene.cut_power(side, loss)
        ending = ended(walker, (), len(route.steps))
        yield position.script, _judged(position, loss, count, ending)


def _judged(position: Position, loss: int, count: Count, ending: tuple[Fall | None, tuple[str, ...]]) -> Trace | None:
    """The trace of a bad state: whatever a copy says, what counts is the walk from the beginning."""
    if ending[0] is None and count.crashes % CHECKED_EVERY:
        return None
    count.checked += 1
    route = position.route(loss)
    fall, said = walk(route, Counter(), Counter())
    if fall is None and ending != (None, said):
        fall = Fall(
            "unforeseen", f"a copy of the walk ended another way: {ending[0] or 'other points'}", len(route.steps)
        )
    return Trace(loss, position.at, route, fall) if fall else None
