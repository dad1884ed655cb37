"""Where crash scripts crash: an operation of the last step, or one of the start that follows a crash there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from drill.fuzz.perform import Walk
from drill.fuzz.scripts import DISKS, SCRIPTS
from drill.fuzz.snapshot import Snapshot
from drill.fuzz.steps import Step, Value
from drill.fuzz.walk import Route

LOOKS: Final = 12
"""So many results of a power failure are looked at at one operation before the next one's turn."""


@dataclass(slots=True)
class Position:
    """One operation to crash at: `start` is that of the start which follows a crash there, None for none.

    `before` is the loss of the crash that the start follows.  `owed` are losses that left a state of which the start is
    yet to be crashed.  `looked` counts the results of a power failure that were looked at, `looks` says how many will
    be at its next turn, `gain` what part of the last ones was new, `dull` how often in a row none was.
    """

    script: str
    fault: str
    at: int
    start: int | None
    before: int = 0
    owed: list[int] = field(default_factory=list)
    looked: int = 0
    looks: int = LOOKS
    gain: float = 0.0
    dull: int = 0

    @property
    def side(self) -> str:
        """Who crashes."""
        return self.fault.partition(" ")[0]

    def steps(self, loss: int) -> tuple[Step, ...]:
        """The step under test with the crash, and the start with its crash; the last one loses what `loss` says."""
        last, first = SCRIPTS[self.script][-1], loss if self.start is None else self.before
        faults: Value = [[self.fault, self.at]]
        crash = Step(last.kind, {**last.args, "faults": faults, "salt": self.at, "loss": first})
        if self.start is None:
            return (crash,)
        again: Value = [[self.fault, self.start]]
        return crash, Step("restart", {"side": self.side, "faults": again, "salt": self.start, "loss": loss})

    def route(self, loss: int) -> Route:
        """All of it, from the beginning."""
        return Route(DISKS, (*SCRIPTS[self.script][:-1], *self.steps(loss)))


class Origin(Protocol):
    """From where a walk goes on, more than once."""

    def walk(self) -> Walk:
        """A walk of its own."""


@dataclass(frozen=True, slots=True)
class Dark:
    """A walk just after a side lost its power, and what `loss` says with it; `kept` still has all that was pending."""

    kept: Snapshot
    side: str
    loss: int

    def walk(self) -> Walk:
        """A walk of its own."""
        found = self.kept.walk()
        found.scene.cut_power(self.side, self.loss)
        return found
