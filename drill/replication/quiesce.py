"""Application-consistent points: the guest's file systems are frozen while the checkpoint is taken (I13, L3, I32).

    arm      inside the guest a timer that thaws, outside it a process that does; without both nothing is frozen
    freeze   the agent runs the guest's own freeze hooks and freezes its file systems
    begin    checkpoint and backup job
    thaw     always, whatever became of the step before
    verify   as many file systems thawed as were frozen, the guest says it is thawed, the timer cannot have fired
    disarm   only then

The point counts as application-consistent where every one of these was confirmed within the window; else it is
crash-consistent and carries the reason.  The armed timers are taken back on a confirmed thaw alone: an agent that
freezes late, after it was given up, is thawed by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drill.errors import DrillError
from drill.model.point import GroupMark
from drill.ports import BackupJob, Clock, Freezer

WINDOW_SECONDS = 8
"""When the armed timers thaw: two seconds below the limit of ten (L3), for a guest that is slow to run them."""

HOURS_MIN, HOURS_MAX = 1, 12
"""How far application-consistent points may be apart (spec E6)."""

RETRY_SECONDS = (60, 120, 240, 480, 600, 1800)
"""A guest that could not be frozen is frozen again after so long (spec S2), at its interval if that is sooner."""

ALARM_FAILURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """How still the guest was at an instant.

    `reason` says why it does not count as application-consistent although a freeze was tried, empty where it does.
    `frozen_seconds` is how long the guest may have been frozen, and `paused_seconds` how long its processors may have
    stood still, as seen from here.  `group` is there where all of a consistency group stood still together.
    """

    application_consistent: bool
    reason: str = ""
    frozen_seconds: float = 0.0
    paused_seconds: float = 0.0
    group: GroupMark | None = None

    @property
    def was_tried(self) -> bool:
        """Whether a freeze was tried at all."""
        return self.application_consistent or bool(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A guest that was frozen, or was to be: `armed` is None where nothing was done to it, and `problem` says why it
    cannot count.  Whoever has one thaws it, whatever becomes of the checkpoint."""

    freezer: Freezer
    clock: Clock
    domain: str
    armed: float | None
    problem: str
    frozen_at: float = 0.0
    count: int = 0

    def thaw(self) -> str:
        """Thaw and verify; returns what is not confirmed.  Timers stay armed unless it is thawed for certain."""
        return "" if self.armed is None else _thaw(self.freezer, self.domain, self.count)

    def quiet(self, taken: float, unconfirmed: str) -> Quiet:
        """How still the guest was for a checkpoint that was taken at `taken`, after the thaw."""
        if self.armed is None:
            return Quiet(application_consistent=False, reason=self.problem)
        problem = self.problem or unconfirmed
        if self.count == 0:
            problem = problem or "the guest has no file system that it could freeze"
        if taken - self.armed >= WINDOW_SECONDS:
            problem = problem or f"the checkpoint was not taken within {WINDOW_SECONDS} s"
        seconds = self.clock.monotonic() - self.frozen_at
        return Quiet(application_consistent=not problem, reason=problem, frozen_seconds=seconds)


def freeze(freezer: Freezer, clock: Clock, domain: str) -> Freeze:
    """Arm the timers and freeze a guest, if it can be; raises nothing of ours."""
    armed = clock.monotonic()
    try:
        freezer.arm(domain, WINDOW_SECONDS)
    except DrillError as error:
        problem = f"the guest was not frozen: {error}"
        return Freeze(freezer=freezer, clock=clock, domain=domain, armed=None, problem=problem)
    frozen_at, count, problem = clock.monotonic(), 0, ""
    try:
        count = freezer.freeze(domain)
    except DrillError as error:
        problem = f"the freeze is not confirmed: {error}"
    return Freeze(
        freezer=freezer, clock=clock, domain=domain, armed=armed, problem=problem, frozen_at=frozen_at, count=count
    )


def begin_frozen(
    freezer: Freezer, clock: Clock, domain: str, begin: Callable[[], BackupJob]
) -> tuple[BackupJob, Quiet]:
    """Begin a job with the guest frozen, if it can be; raises only what `begin` raises, and thaws before that."""
    frozen = freeze(freezer, clock, domain)
    try:
        job = begin()
        taken = clock.monotonic()
    finally:
        unconfirmed = frozen.thaw()
    return job, frozen.quiet(taken, unconfirmed)


def _thaw(freezer: Freezer, domain: str, count: int) -> str:
    """Thaw and verify, as `Freeze.thaw` says."""
    try:
        thawed = freezer.thaw(domain)
        if freezer.is_frozen(domain):
            return "the guest says that it is still frozen"
        freezer.disarm(domain)
    except DrillError as error:
        return f"the thaw is not confirmed: {error}"
    return "" if thawed == count else f"{count} file systems were frozen, {thawed} were still so at the thaw"


class Interval:
    """When the next application-consistent point is due, on a monotonic clock; the first one is due at once."""

    def __init__(self) -> None:
        self._due = 0.0
        self.failures = 0
        self.reason = ""

    def is_due(self, now: float, every_seconds: int) -> bool:
        """Whether the cycle that begins now is to freeze; never for an interval of 0."""
        return every_seconds > 0 and now >= self._due

    def done(self, now: float, every_seconds: int, quiet: Quiet) -> None:
        """An attempt ended."""
        if quiet.application_consistent:
            self.failures, self.reason, pause = 0, "", float(every_seconds)
        else:
            pause = float(RETRY_SECONDS[min(self.failures, len(RETRY_SECONDS) - 1)])
            self.failures, self.reason = self.failures + 1, quiet.reason
        self._due = now + (min(pause, every_seconds) if every_seconds else pause)

    @property
    def alarm(self) -> str:
        """What the operator must be told: nothing after a single failure (L4)."""
        return self.reason if self.failures >= ALARM_FAILURES else ""
