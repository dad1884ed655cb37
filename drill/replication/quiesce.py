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

    `reason` says why it does not count as application-consistent, empty where it does.  `frozen_seconds` is how long
    the guest may have been frozen, as seen from here.
    """

    application_consistent: bool
    reason: str = ""
    frozen_seconds: float = 0.0


def begin_frozen(
    freezer: Freezer, clock: Clock, domain: str, begin: Callable[[], BackupJob]
) -> tuple[BackupJob, Quiet]:
    """Begin a job with the guest frozen, if it can be; raises only what `begin` raises, and thaws before that."""
    armed = clock.monotonic()
    try:
        freezer.arm(domain, WINDOW_SECONDS)
    except DrillError as error:
        return begin(), Quiet(application_consistent=False, reason=f"the guest was not frozen: {error}")
    frozen_at, count, problem = clock.monotonic(), 0, ""
    try:
        count = freezer.freeze(domain)
    except DrillError as error:
        problem = f"the freeze is not confirmed: {error}"
    try:
        job = begin()
        in_window = clock.monotonic() - armed < WINDOW_SECONDS
    finally:
        unconfirmed = _thaw(freezer, domain, count)
    problem = problem or unconfirmed
    if count == 0:
        problem = problem or "the guest has no file system that it could freeze"
    if not in_window:
        problem = problem or f"the checkpoint was not taken within {WINDOW_SECONDS} s"
    return job, Quiet(application_consistent=not problem, reason=problem, frozen_seconds=clock.monotonic() - frozen_at)


def _thaw(freezer: Freezer, domain: str, count: int) -> str:
    """Thaw and verify; returns what is not confirmed.  The timers stay armed unless the guest is thawed for certain."""
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
