"""Clocks that jump (the Clock port): a wall clock that anybody may set, and a monotonic one that only goes forward."""

from __future__ import annotations

NOON_US = 1_795_176_000_000_000


class SimClock:
    """Every look at the clock takes a microsecond.

    `frozen` stops the wall clock alone; `rate` is how many of its seconds pass in one of the monotonic clock's.
    """

    def __init__(self) -> None:
        self._passed_us = 0
        self._wall_us = NOON_US
        self.frozen = False
        self.rate = 1

    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch; it may stand still or jump."""
        if not self.frozen:
            self._wall_us += 1
        return self._wall_us

    def monotonic(self) -> float:
        """Seconds since the simulation began."""
        self._passed_us += 1
        return self._passed_us / 1e6

    def sleep(self, seconds: float) -> None:
        """Both clocks go on."""
        self._passed_us += int(seconds * 1e6)
        if not self.frozen:
            self._wall_us += int(seconds * 1e6) * self.rate

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back."""
        self._wall_us += int(seconds * 1e6)
