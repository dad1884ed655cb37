"""When the next cycle is due: intervals, retries after what went wrong (spec S2), the window for resyncs (spec S1).

Pure: times are seconds of one clock that never goes back, and are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drill.errors import BadInput, Damaged, DrillError, Failed, Refused, ResyncNeeded, Unsupported, Usage

MINUTES = (1, 2, 4, 8, 10)
"""Between the first retries; then half an hour each (spec S2)."""
LATER_MINUTES = 30
HEAL_AT_ONCE = 2
"""A disk that must be compared, and then sent whole, is so without waiting; more than that runs in circles (L2)."""
OFF = "is off"
"""How the cause of a failure ends whose only cure is that the machine is started: that is looked at every interval."""
WINDOW = "18:30-06:00"
"""The window of spec S1."""

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_WAITS = frozenset({"S1", "H2"})
"""Rules by which a cycle waits for a window or a medium: no failure, and looked at every interval."""
_FINAL = (Usage, Unsupported, BadInput, Damaged)
_FINAL_RULES = frozenset({"I11", "I29"})


def is_recoverable(error: DrillError) -> bool:
    """Whether trying again may help: not for a machine that is gone, bad state, a wrong identity, a lower term."""
    if isinstance(error, Refused):
        return error.rule not in _FINAL_RULES
    return not isinstance(error, _FINAL)


def retry_after(failures: int) -> float:
    """Seconds until the next try, after so many failures in a row (at least one)."""
    return 60.0 * (MINUTES[failures - 1] if failures <= len(MINUTES) else LATER_MINUTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an item's next cycle is due: at the beats, `interval_seconds` apart from `beat` on, and where a cycle
    failed in between.  `failures` in a row; `due` is infinite where only an operator can help."""

    interval_seconds: float
    beat: float
    due: float
    failures: int = 0

    def done(self, now: float) -> Schedule:
        """A cycle was shipped: the next one at the next beat, those that passed meanwhile are left out."""
        passed = math.floor((now - self.beat) / self.interval_seconds)
        return replace(self, due=self.beat + (passed + 1) * self.interval_seconds, failures=0)

    def failed(self, error: DrillError, now: float) -> Schedule:
        """A cycle failed: again later, or never where trying cannot help."""
        if not is_recoverable(error):
            return replace(self, due=math.inf, failures=self.failures + 1)
        if isinstance(error, Refused) and error.rule in _WAITS:
            return replace(self.done(now), failures=self.failures)
        failures = self.failures + 1
        if isinstance(error, ResyncNeeded) and failures <= HEAL_AT_ONCE:
            return replace(self, due=now, failures=failures)
        wait = retry_after(failures)
        if isinstance(error, Failed) and error.cause.endswith(OFF):
            wait = self.interval_seconds
        return replace(self, due=now + wait, failures=failures)

    def at_once(self, now: float) -> Schedule:
        """An operator has done something: the next cycle now, and what failed before is forgotten."""
        return replace(self, due=now, failures=0)


def missed(shipped: Sequence[float], *, since: float, now: float, interval_seconds: float) -> tuple[int, int]:
    """(cycles missed, cycles due) among the intervals that have ended between `since` and `now`.

    A cycle is missed if none was shipped within its interval (spec S3).
    """
    due = max(0, math.floor((now - since) / interval_seconds))
    kept = {math.floor((at - since) / interval_seconds) for at in shipped if at >= since}
    return due - len({number for number in kept if number < due}), due


def in_window(window: str, minute_of_day: int) -> bool:
    """Whether a resync may begin now; `window` is `HH:MM-HH:MM`, empty for at any time."""
    if not window:
        return True
    begin, end = minutes(window)
    if begin <= end:
        return begin <= minute_of_day < end
    return minute_of_day >= begin or minute_of_day < end


def minutes(window: str) -> tuple[int, int]:
    """Minutes of the day at which a window begins and ends, or Usage."""
    found = _WINDOW.fullmatch(window)
    if found is None:
        raise Usage(f"resync window {window!r}", f"give HH:MM-HH:MM, {WINDOW} is usual, or nothing for at once")
    hours = [int(part) for part in found.groups()]
    return hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
