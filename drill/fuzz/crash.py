"""A crash at every operation of fixed scripts, and what a power failure may leave there.

Each script ends with a step under test.  It is repeated with a crash at its first, second, … operation on either side:
a killed process, and power failures that leave different parts of what was pending.  After each the side starts again,
and is crashed once more at every operation of its start (I17).  A state is what is durable right after the last crash.
States that were seen already are not gone on from; from every new one both sides recover, all invariants are checked,
and the replica must become exact (L1).

What a power failure may leave is looked at on copies of the files, which cost a hundredth of a walk; only results that
are new are walked to.  A start touches its own side alone, so one walk looks at every operation of it: what a crash
before an operation leaves is what lies there.  Only a write is walked to by itself, for a crash leaves a part of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import Final, TypeAlias

from drill.fuzz.faults import SIDES
from drill.fuzz.perform import Walk
from drill.fuzz.steps import Step, Value
from drill.fuzz.trace import Trace
from drill.fuzz.walk import PROGRESS_SECONDS, Route, walk
from drill.fuzz.world import DiskPlan, World

LOOKS: Final = 12
"""So many results of a power failure are looked at at one operation before the next one's turn; """

LOOKS_MAX: Final = 384
"""twice as many the next time while half of them were new, up to these;"""

FIRST_LOOKS: Final = {True: 1, False: 3}
"""at the first turn of all fewer, so that every script has its turn: by whether a start is crashed."""

TURN: Final = 16
"""Of the operations one in so many has its turn before they are sorted again, those first that gave most."""

DULL: Final = 3
"""An operation that gave nothing new so many times in a row is left alone."""

ENDLESS: Final = 10_000
ENDLESS_STATES: Final = 1 << 40

_DISKS: Final = (
    DiskPlan("vda", 48 * 4096, granule=4096, cluster=4096),
    DiskPlan("vdb", 16 * 4096 + 512, granule=65536, cluster=65536),
)
_WRITE: Final = Step("write", {"disk": 0, "at": 0.0, "sectors": 65, "fill": 7})
_OTHER: Final = Step("pages", {"disk": 1, "at": 1.0, "sectors": 64, "fill": 100})
_ZERO: Final = Step("zero", {"disk": 0, "at": 0.0, "sectors": 16})
_CYCLE: Final = Step("cycle", {})


def _with(*fault: str | int) -> Step:
    return Step("cycle", {"faults": [list(fault)], "salt": 1})


SCRIPTS: Final[Mapping[str, tuple[Step, ...]]] = {
    "first copy": (_WRITE, _OTHER, _CYCLE),
    "increment": (_OTHER, _CYCLE, _WRITE, _CYCLE),
    "nothing changed": (_WRITE, _CYCLE, _CYCLE, _CYCLE),
    "zeros": (_WRITE, _CYCLE, _ZERO, _OTHER, _CYCLE),
    "acknowledgement lost before": (_WRITE, _CYCLE, _OTHER, _with("lose answer", 1), _WRITE, _CYCLE),
    "no room before": (
        *(_WRITE, _CYCLE, _OTHER, _with("receiver space", 4), _WRITE, _with("receiver space", 5)),
        *(_OTHER, _with("receiver space", 6), _WRITE, _with("receiver space", 7), _OTHER, _CYCLE),
    ),
    "no room for the data before": (_WRITE, _CYCLE, _OTHER, _with("receiver space", 18), _WRITE, _CYCLE),
    "reading failed before": (_CYCLE, _WRITE, _with("nbd", 0), _OTHER, _CYCLE),
    "bitmap lost on one disk": (_WRITE, _CYCLE, Step("bitmap", {"disk": 1, "in use": False}), _OTHER, _CYCLE),
    "QEMU killed": (_WRITE, _CYCLE, Step("qemu", {"how": "kill", "back": True}), _OTHER, _CYCLE),
    "disk grown": (_WRITE, _CYCLE, Step("grow", {"disk": 0, "sectors": 8}), _CYCLE),
    "disk added": (_WRITE, _CYCLE, Step("plug", {"disk": 0, "sectors": 65}), _OTHER, _CYCLE),
    "receiver put back": (
        _WRITE,
        _CYCLE,
        Step("keep", {"side": "receiver"}),
        _OTHER,
        _CYCLE,
        Step("put back", {"side": "receiver"}),
        _CYCLE,
    ),
    "edited while off": (
        *(_WRITE, _CYCLE, Step("offline", {"disk": 0, "at": 0.3, "revert": False, "which": 0})),
        *(_OTHER, _CYCLE),
    ),
    "receiver put back, digests committed": (
        *(_WRITE, _CYCLE, Step("keep", {"side": "receiver"}), _OTHER, _CYCLE, _WRITE, _CYCLE),
        *(Step("put back", {"side": "receiver"}), _ZERO, _CYCLE),
    ),
    "resync of everything": (_WRITE, _CYCLE, _OTHER, Step("resync", {}), _CYCLE),
    "third point": (_WRITE, _CYCLE, _OTHER, _CYCLE, _ZERO, _WRITE, _CYCLE),
    "end of replication": (_WRITE, _CYCLE, _OTHER, _CYCLE, Step("end", {"again": True})),
    "cycle of a group": (_WRITE, _CYCLE, _OTHER, Step("group", {"neighbours": 1})),
    "protected again": (_WRITE, _CYCLE, Step("end", {"again": True}), _OTHER, _CYCLE),
}
"""What happens before the step under test, which is the last one."""


_Tried: TypeAlias = "tuple[str, Trace | None]"


@dataclass(slots=True)
class Count:
    """What was tried: `crashes` walked to, and the states they left, distinct by what is durable.

    `seen` has those that are yet to be walked to as well; the first `crashes` of `order` were.
    """

    crashes: int = 0
    scripts: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    order: list[int] = field(default_factory=list)
    restarted: set[tuple[int, str]] = field(default_factory=set)

    @property
    def states(self) -> int:
        """Distinct states that were recovered from."""
        return min(self.crashes, len(self.seen))


@dataclass(slots=True)
class Position:
    """One operation to crash at: `start` is that of the start which follows a crash there, None for none.

    `looked` counts the results of a power failure that were looked at, `looks` says how many will be at its next turn,
    `gain` what part of the last ones was new, `dull` how often in a row none was.
    """

    script: str
    fault: str
    at: int
    start: int | None
    before: int = 0
    looked: int = 0
    looks: int = LOOKS
    gain: float = 0.0
    dull: int = 0

    @property
    def side(self) -> str:
        """Who crashes."""
        return self.fault.partition(" ")[0]

    def route(self, loss: int) -> Route:
        """The script with the crash, of which the last one loses what `loss` says."""
        *steps, last = SCRIPTS[self.script]
        faults: Value = [[self.fault, self.at]]
        first = loss if self.start is None else self.before
        steps.append(Step(last.kind, {**last.args, "faults": faults, "salt": self.at, "loss": first}))
        if self.start is not None:
            again: Value = [[self.fault, self.start]]
            args = {"side": self.side, "faults": again, "salt": self.start, "loss": loss}
            steps.append(Step("restart", args))
        return Route(_DISKS, tuple(steps))


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
    fall, _ = walk(Route(_DISKS, SCRIPTS[name]), Counter(), Counter())
    return fall is None


def _everything(count: Count, names: tuple[str, ...]) -> Iterator[_Tried]:
    positions: list[Position] = []
    for name in names:
        count.scripts.add(name)
        route = Route(_DISKS, SCRIPTS[name])
        fall, _ = walk(route, Counter(), Counter())
        if fall is not None:  # no crash of it would be walked to
            yield name, Trace(0, 0, route, fall)
        for side, kind in product(SIDES, ("crash", "power")):
            yield from _explored(name, f"{side} {kind}", count, positions)
    while positions:
        positions.sort(key=lambda position: -position.gain)
        for position in positions[: 1 + len(positions) // TURN]:
            _, losses = _look(position, count, position.looks)
            yield from _walked(position, losses, count)
            position.dull = 0 if losses else position.dull + 1
            position.looks = min(2 * position.looks, LOOKS_MAX) if position.gain >= 0.5 else LOOKS
        positions = [position for position in positions if position.dull < DULL]


def _explored(name: str, fault: str, count: Count, positions: list[Position]) -> Iterator[_Tried]:
    """A crash at every operation of the last step, and at every one of the start after it.

    Those where a power failure may leave one thing or another go into `positions`.
    """
    for at in range(ENDLESS):
        position = Position(name, fault, at, None)
        state, losses = _look(position, count, FIRST_LOOKS[False])
        if state is None:
            return
        positions += [position] if fault.endswith("power") else []
        yield from _walked(position, losses, count)
        if (state, fault) in count.restarted:
            continue  # its start was crashed at every operation already
        count.restarted.add((state, fault))
        found, writes = started(Position(name, fault, at, ENDLESS), count)
        for again, losses in found:
            yield from _walked(again, losses, count)
        for again in writes:
            _, losses = _look(again, count, FIRST_LOOKS[True])
            yield from _walked(again, losses, count)
        positions += [*(again for again, _ in found), *writes] if fault.endswith("power") else []


def started(start: Position, count: Count) -> tuple[list[tuple[Position, list[int]]], list[Position]]:
    """One walk through the start that follows a crash.

    Gives the operations before which something had changed, each with the losses that leave a new state; and the
    writes, which are yet to be looked at.
    """
    found: list[tuple[Position, list[int]]] = []
    writes: list[Position] = []
    route = start.route(0)
    walker = Walk(route.disks, Counter(), Counter())
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
        *before, last = route.steps
        for step in before:
            walker.step(step)
        scene.begin(last.args)
        world.start(side)
        world.processes[side].watch(look)
        scene.first_look(side)
    except Exception:  # noqa: BLE001 - the walks that go there tell what it is
        return found, writes
    finally:
        walker.close()
    return found, writes


def _fresh(count: Count, leavings: Iterator[tuple[int, int]]) -> list[int]:
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


def _walked(position: Position, losses: list[int], count: Count) -> Iterator[_Tried]:
    """Walk to the states that these losses leave, and on from them."""
    for loss in losses:
        count.crashes += 1
        route = position.route(loss)
        fall, _ = walk(route, Counter(), Counter())
        yield position.script, Trace(loss, position.at, route, fall) if fall else None


def _look(position: Position, count: Count, looks: int) -> tuple[int | None, list[int]]:
    """The state that a crash at this operation left, None where it never came; the losses that leave a new one."""
    losses = range(position.looked, position.looked + looks)
    position.looked += looks
    states = struck(position, losses)
    found = _fresh(count, iter(states))
    position.gain = len(found) / looks
    return states[0][0] if states else None, found


def struck(position: Position, losses: range) -> list[tuple[int, int]]:
    """Walk to the crash; the state that every loss leaves, none when the crash never came."""
    noted: Counter[str] = Counter()
    route = position.route(losses[0])
    walker = Walk(route.disks, noted, Counter())
    world, states = walker.scene.world, list[tuple[int, int]]()

    def at_cut(side: str) -> None:
        states.extend(_leavings(world, side, losses, power=True))

    try:
        *before, last = route.steps
        for step in before:
            walker.step(step)
        noted.clear()
        walker.scene.on_cut = at_cut
        walker.step(last)
    except Exception:  # noqa: BLE001 - the walk that goes there tells what it is
        return states
    finally:
        walker.close()
    if not sum(noted[f"{side} {kind}"] for side in SIDES for kind in ("killed", "power lost")):
        return []
    return states or [(world.fingerprint(), losses[0])]
