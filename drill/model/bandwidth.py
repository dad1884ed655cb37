"""How much replication may send: a limit, and other limits in windows of the day (spec Q1)."""

from __future__ import annotations

from dataclasses import dataclass

MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthWindow:
    """From `begin_minute` of the day to before `end_minute` (local time of the sending host; over midnight where the
    end is not after the beginning), on `weekdays` (Monday is 0; by the day on which it begins; empty: every day).

    `bytes_per_second` 0 means no limit.
    """

    begin_minute: int
    end_minute: int
    bytes_per_second: int
    weekdays: tuple[int, ...] = ()

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a weekday lies in it."""
        if self.begin_minute < self.end_minute:
            return self._on(weekday) and self.begin_minute <= minute < self.end_minute
        late = self._on(weekday) and minute >= self.begin_minute
        return late or (self._on((weekday - 1) % 7) and minute < self.end_minute)

    def _on(self, weekday: int) -> bool:
        return not self.weekdays or weekday in self.weekdays


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Bytes per second outside of all windows (0: no limit); the first window that covers a minute rules it."""

    bytes_per_second: int = 0
    windows: tuple[BandwidthWindow, ...] = ()

    def at(self, weekday: int, minute: int) -> int:
        """The limit in a minute of a weekday; 0 where there is none."""
        found = (one.bytes_per_second for one in self.windows if one.covers(weekday, minute))
        return next(found, self.bytes_per_second)
