"""A crash at every operation of fixed scripts, and what a power failure may leave there.

Each script ends with a step under test.  It is repeated with a crash at its first, second, … operation on either side:
a killed process, and power failures that leave different parts of what was pending.  After each the side starts again,
and is crashed once more at every operation of its start (I17).  States that were seen already are not gone on from;
from every new one both sides recover, all invariants are checked, and the replica must become exact (L1).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Final, TypeAlias

from drill.fuzz.faults import SIDES
from drill.fuzz.oracle import Violated
from drill.fuzz.perform import Walk
from drill.fuzz.steps import Step, Value
from drill.fuzz.trace import Trace
from drill.fuzz.walk import PROGRESS_SECONDS, Fall, Route, walk
from drill.fuzz.world import DiskPlan

DULL: Final = 30
"""An operation at which so many results of a power failure in a row gave nothing new is left alone."""

_ENDLESS: Final = 10_000

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
    "third point": (_WRITE, _CYCLE, _OTHER, _CYCLE, _ZERO, _WRITE, _CYCLE),
    "end of replication": (_WRITE, _CYCLE, _OTHER, _CYCLE, Step("end", {"again": True})),
    "protected again": (_WRITE, _CYCLE, Step("end", {"again": True}), _OTHER, _CYCLE),
}
"""What happens before the step under test, which is the last one."""


_Tried: TypeAlias = "tuple[str, Trace | None]"


@dataclass(slots=True)
class Count:
    """What was tried: `crashes`, and `states` distinct by what they left durable."""

    crashes: int = 0
    scripts: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)

    @property
    def states(self) -> int:
        """Distinct states that were recovered from."""
        return len(self.seen)


@dataclass(slots=True)
class _Position:
    """One operation to crash at: `start` is that of the start which follows a crash there, None for none."""

    script: str
    fault: str
    at: int
    start: int | None
    salt: int = 0
    dull: int = 0

    def route(self) -> Route:
        """The script with the crash, as the salt has it."""
        *before, last = SCRIPTS[self.script]
        faults: Value = [[self.fault, self.at]]
        steps = [*before, Step(last.kind, {**last.args, "faults": faults, "salt": self.salt * 7919 + self.at})]
        if self.start is not None:
            side, _, _ = self.fault.partition(" ")
            again: Value = [[self.fault, self.start]]
            steps.append(Step("restart", {"side": side, "faults": again, "salt": self.salt * 1009 + self.start}))
        return Route(_DISKS, tuple(steps))


def every(count: Count, most: int, progress: Callable[[str], None]) -> Iterator[tuple[str, Trace]]:
    """Crash everywhere until `most` states were seen; yields the script and trace of each that is bad.

    First once at every operation of every script, then round after round with other results of the power failure, for
    as long as a position gives states that are new.
    """
    positions: list[_Position] = []
    tried = chain(_everywhere(count, progress, positions), _rounds(count, progress, positions))
    for name, trace in tried:
        if trace is not None:
            yield name, trace
        if count.states >= most:
            return


def _everywhere(count: Count, progress: Callable[[str], None], positions: list[_Position]) -> Iterator[_Tried]:
    """Once at every operation; those where a power failure may leave one thing or another go into `positions`."""
    for name in SCRIPTS:
        count.scripts.add(name)
        for side, kind in product(SIDES, ("crash", "power")):
            for position, trace in _explored(name, f"{side} {kind}", count):
                positions += [position] if kind == "power" else []
                yield name, trace
        progress(f"{name}: {count.crashes} crashes, {count.states} states so far")


def _rounds(count: Count, progress: Callable[[str], None], positions: list[_Position]) -> Iterator[_Tried]:
    """Other results of a power failure at each position, for as long as they are new."""
    said = time.monotonic()
    while positions:
        now = time.monotonic()
        if now - said > PROGRESS_SECONDS:
            said = now
            progress(f"{len(positions)} operations: {count.crashes} crashes, {count.states} states so far")
        for position in positions:
            position.salt += 1
            known = count.states
            _, fall = _try(position.route(), count)
            position.dull = 0 if count.states > known else position.dull + 1
            found = position.route()
            yield position.script, Trace(position.salt, position.at, found, fall) if fall else None
        positions = [position for position in positions if position.dull < DULL]


def succeeds(name: str) -> bool:
    """Whether a script, with no crash in it, ends well."""
    fall, _ = walk(Route(_DISKS, SCRIPTS[name]), Counter(), Counter())
    return fall is None


def _explored(name: str, fault: str, count: Count) -> Iterator[tuple[_Position, Trace | None]]:
    """A crash at every operation of the last step, and at every one of the start after it."""
    for at in range(_ENDLESS):
        position = _Position(name, fault, at, None)
        struck, fall = _try(position.route(), count)
        if not struck:
            return
        yield position, Trace(0, at, position.route(), fall) if fall else None
        for start in range(_ENDLESS):
            again = _Position(name, fault, at, start)
            struck, fall = _try(again.route(), count, strikes=2)
            if not struck:
                break
            yield again, Trace(0, at, again.route(), fall) if fall else None


def _try(found: Route, count: Count, strikes: int = 1) -> tuple[bool, Fall | None]:
    """Whether the crash happened at all, and how the walk fell when its state was a new one."""
    noted: Counter[str] = Counter()
    walker, done = Walk(found.disks, noted, Counter()), 0
    try:
        for step in found.steps:
            walker.step(step)
            done += 1
        if sum(noted[f"{side} {kind}"] for side in SIDES for kind in ("killed", "power lost")) < strikes:
            return False, None
        count.crashes += 1
        state = walker.scene.world.fingerprint()
        if state not in count.seen:
            count.seen.add(state)
            walker.finish()
    except Violated as violated:
        return True, Fall(violated.invariant, violated.detail, done)
    except Exception as error:  # noqa: BLE001 - as in a walk: what nobody foresaw is a failure too
        return True, Fall("unforeseen", f"{type(error).__name__}: {error}", done)
    finally:
        walker.close()
    return True, None
