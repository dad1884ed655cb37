"""What a piece of work took: wall time, processor time of everybody who took part, memory at its peak.

Processes that were there before are counted by their differences in /proc; those that the work starts, by what the
kernel says when they are waited for.  What the kernel itself does later (writing dirty pages to the disk) is in the
wall time, because every timing ends with the data synced, and in nobody's processor time.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drill.bench.command import Runner, peak_mib

_TICK = os.sysconf("SC_CLK_TCK")
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Seconds and MiB; `peak_mib` is of the largest process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measure(
    work: Callable[[], object], runner: Runner, *, serving: Sequence[int] = (), memory: Sequence[int] = ()
) -> Taken:
    """Do the work.  `serving`: processes that are there already and whose time counts; `memory`: whose peak counts."""
    os.sync()
    for pid in memory:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, "ascii")
    runner.peak_mib = 0.0
    before = _cpu(serving) + _children_cpu()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    cpu = _cpu(serving) + _children_cpu() - before
    peaks = [runner.peak_mib, *(peak_mib(pid) for pid in memory)]
    return Taken(seconds=seconds, cpu_seconds=cpu, peak_mib=max(peaks))


def _cpu(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _children_cpu() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
