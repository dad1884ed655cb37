"""The host's clocks."""

from __future__ import annotations

import time


class HostClock:
    """The Clock port on this host."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
