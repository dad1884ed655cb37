"""Whether compressing pays: only where the network is slower than the compressor.

zstd at its fastest takes 2.7 s of processor for a GiB of text and makes a third of it.  Over a slow line that is three
times the speed; over a fast one it is the slowest part of all.  So the time that is spent in writing to the stream is
measured: a stream that swallows LOOK_BYTES at FAST_BYTES_PER_SECOND or more is fast until it is seen to be slow.  Until
something was seen, frames are compressed.
"""

from __future__ import annotations

from collections.abc import Callable

from drill.ports import Clock

LOOK_BYTES = 8 << 20
FAST_BYTES_PER_SECOND = 120_000_000
"""A line of 1 Gbit/s; two lanes compress seven times as much."""


class Pace:
    """What one stream after another to the same receiver took."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bytes = 0
        self._seconds = 0.0
        self.compresses = True

    def timed(self, write: Callable[[bytes | memoryview], None]) -> Callable[[bytes | memoryview], None]:
        """The same `write`, watched."""

        def watched(data: bytes | memoryview) -> None:
            begun = self._clock.monotonic()
            write(data)
            self._bytes += len(data)
            self._seconds += self._clock.monotonic() - begun
            if self._bytes >= LOOK_BYTES:
                self.compresses = self._bytes < FAST_BYTES_PER_SECOND * self._seconds
                self._bytes, self._seconds = 0, 0.0

        return watched
