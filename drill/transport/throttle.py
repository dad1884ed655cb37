"""A limit on what is sent: a token bucket over the Clock port, shared by all that go the same way.

A limit that is lower than what guests change makes every cycle longer than the one before, and as long as a cycle
reads, its backup job keeps old content in a scratch file on the source: the watchdog ends the job before that file is
full, and the cycle fails.  Choose limits above the rate of change; docs/guide/certificates.md is about the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from drill.model.bandwidth import Bandwidth
from drill.ports import Clock

BURST_SECONDS = 0.5
"""An idle bucket holds this much: a small cycle goes out at once."""
SLICE_SECONDS = 1.0
"""Nobody sleeps longer without looking at the schedule again."""

Local = Callable[[int], datetime]


def local_time(now_us: int) -> datetime:
    """The wall clock in this host's time zone."""
    return datetime.fromtimestamp(now_us / 1e6).astimezone()


class Throttle:
    """The bucket.  Several threads may take from it; none overtakes another by much."""

    def __init__(self, bandwidth: Bandwidth, clock: Clock, local: Local = local_time) -> None:
        self._bandwidth = bandwidth
        self._clock = clock
        self._local = local
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._filled = clock.monotonic()
        self._fresh = True

    def take(self, size_bytes: int) -> None:
        """Return when so many bytes may be sent; a frame larger than the bucket waits for its own time only."""
        with self._lock:
            self._fill()
            self._tokens -= size_bytes
        while (pause := self._pause()) > 0:
            self._clock.sleep(min(pause, SLICE_SECONDS))

    def _pause(self) -> float:
        """Seconds until the debt is paid at the limit that holds now; 0 where there is none."""
        with self._lock:
            limit = self._fill()
            return -self._tokens / limit if limit and self._tokens < 0 else 0.0

    def _fill(self) -> int:
        now = self._clock.monotonic()
        limit = self._limit()
        passed, self._filled = now - self._filled, now
        most = limit * BURST_SECONDS
        if not limit or self._fresh:
            self._tokens, self._fresh = most, False
        else:
            self._tokens = min(most, self._tokens + passed * limit)
        return limit

    def _limit(self) -> int:
        local = self._local(self._clock.now_us())
        return self._bandwidth.at(local.weekday(), local.hour * 60 + local.minute)


class Throttles:
    """One bucket per receiver and limit, for all items that are sent there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Bandwidth], Throttle] = {}

    def towards(self, receiver: str, bandwidth: Bandwidth | None) -> Throttle | None:
        """The bucket of a way; None where nothing limits it."""
        if bandwidth is None:
            return None
        with self._lock:
            return self._known.setdefault((receiver, bandwidth), Throttle(bandwidth, self._clock))
