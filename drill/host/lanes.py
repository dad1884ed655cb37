"""Ordered lanes: threads that work ahead of the one who takes their results.

Python's threads share one interpreter, but reading, compressing, long digests and sending let go of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


class ThreadLanes:
    """The Lanes port: `count` threads, and at most `ahead` pieces taken before their result is wanted."""

    def __init__(self, count: int, ahead: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")
        self._ahead = ahead

    def ordered(self, work: Callable[[P], R], pieces: Iterable[P]) -> Iterator[R]:
        """Results in the order of the pieces; the first error ends it, after what was begun has ended."""
        waiting: deque[Future[R]] = deque()
        try:
            for piece in pieces:
                waiting.append(self._pool.submit(work, piece))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled():
                    future.exception()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
