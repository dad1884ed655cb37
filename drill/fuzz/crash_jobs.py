"""Crash scripts shared among processes: each takes some of the scripts, and what they saw is counted together.

States are told apart by Python's own hash, which is the same in processes that are forked from one.
"""

from __future__ import annotations

import gc
import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Final, TypeAlias

from drill.errors import Failed
from drill.fuzz import crash
from drill.fuzz.trace import Trace
from drill.fuzz.walk import PROGRESS_SECONDS

BATCH: Final = 50
COLLECT_EVERY: Final = 50_000
"""Objects more: copies of walks are many, and few of them refer back to themselves."""

_Said: TypeAlias = "tuple[int, int, set[str], list[int], list[tuple[str, Trace]]] | None"
"""Crashes, those checked from the beginning, scripts, states and what was bad, since it was last said."""


@dataclass(slots=True)
class Result:
    """What was tried, all told; `bad` has the script and the trace of each state that was bad.

    `checked` of the crashes were walked to from the beginning as well.
    """

    crashes: int = 0
    checked: int = 0
    scripts: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    bad: list[tuple[str, Trace]] = field(default_factory=list)

    @property
    def states(self) -> int:
        """Distinct states that were recovered from."""
        return len(self.seen)


def run(states: int, seconds: float, jobs: int, progress: Callable[[str], None]) -> Result:
    """Crash until so many states were seen, the time is over, or nothing new is found."""
    until = time.monotonic() + seconds
    if jobs == 1:
        return _alone(states, until, progress)
    result = Result()
    context = multiprocessing.get_context("fork")
    said: Queue[_Said] = context.Queue()
    workers = [context.Process(target=_work, args=(slice(job, None, jobs), said), daemon=True) for job in range(jobs)]
    for worker in workers:
        worker.start()
    try:
        _gather(result, said, workers, states, until, progress)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    return result


def _alone(states: int, until: float, progress: Callable[[str], None]) -> Result:
    count, result = crash.Count(), Result()
    for name, trace in crash.every(count, states, progress):
        if trace is not None:
            result.bad.append((name, trace))
        if time.monotonic() > until:
            break
    result.crashes, result.checked, result.scripts = count.crashes, count.checked, count.scripts
    result.seen = set(count.order[: count.crashes])
    return result


def _gather(
    result: Result,
    said: Queue[_Said],
    crew: Sequence[BaseProcess],
    states: int,
    until: float,
    progress: Callable[[str], None],
) -> None:
    spoken, workers = time.monotonic(), len(crew)
    while workers and result.states < states and time.monotonic() < until:
        try:
            found = said.get(timeout=1.0)
        except queue.Empty:
            found = (0, 0, set(), [], [])
        if any(one.exitcode for one in crew):
            raise Failed("drill fuzz crash", "a process that shared the work ended before its time; its error is above")
        if found is None:
            workers -= 1
            continue
        crashes, checked, scripts, seen, bad = found
        result.checked += checked
        result.scripts |= scripts
        result.crashes += crashes
        result.seen.update(seen)
        result.bad += bad
        if time.monotonic() - spoken > PROGRESS_SECONDS:
            spoken = time.monotonic()
            progress(f"{result.crashes} crashes, {result.states} states so far")


def _work(share: slice, said: Queue[_Said]) -> None:
    """One process's part; it says what it saw every now and then, and None at its end."""
    gc.set_threshold(COLLECT_EVERY)
    count, bad, told, checked = crash.Count(), list[tuple[str, Trace]](), 0, 0
    for name, trace in crash.every(count, crash.ENDLESS_STATES, lambda _: None, share=share):
        bad += [(name, trace)] if trace is not None else []
        if count.crashes - told >= BATCH:
            said.put(
                (count.crashes - told, count.checked - checked, count.scripts, count.order[told : count.crashes], bad)
            )
            told, checked, bad = count.crashes, count.checked, []
    said.put((count.crashes - told, count.checked - checked, count.scripts, count.order[told : count.crashes], bad))
    said.put(None)
