"""What every tool of the bench can do, and what is written down of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from drill.bench.command import Runner
from drill.bench.stopwatch import Taken


class Tool(Protocol):
    """A tool that copies a disk whole, then again after it changed.  All of it ends with the data synced."""

    name: str
    runner: Runner

    def serving(self) -> Sequence[int]:
        """Processes that are there before, and whose processor time counts."""
        ...

    def memory(self) -> Sequence[int]:
        """Those of them whose memory counts."""
        ...

    def full(self) -> None:
        """Copy all of the disk."""
        ...

    def incremental(self) -> None:
        """Copy again, as little as the tool can."""
        ...

    def stores(self) -> Path:
        """The file or folder that grows."""
        ...

    def restore(self, target: Path) -> str:
        """Make an image that stands alone of the newest copy; returns its format."""
        ...

    def clear(self) -> None:
        """Forget everything, for the next round."""
        ...


@dataclass
class Record:
    """What one tool took in every round."""

    full: list[Taken] = field(default_factory=list)
    incremental: list[Taken] = field(default_factory=list)
    restore: list[Taken] = field(default_factory=list)
    stored_mib: list[float] = field(default_factory=list)
    exact: bool = True

    def row(self, tool: str) -> Mapping[str, object]:
        """The medians.  `cpu_seconds` is of the full copy and the incremental one together."""
        cpu = [one.cpu_seconds + two.cpu_seconds for one, two in zip(self.full, self.incremental, strict=True)]
        return {
            "tool": tool,
            "full_seconds": _median([one.seconds for one in self.full]),
            "incremental_seconds": _median([one.seconds for one in self.incremental]),
            "incremental_stored_mib": round(statistics.median(self.stored_mib), 1),
            "cpu_seconds": _median(cpu),
            "full_cpu_seconds": _median([one.cpu_seconds for one in self.full]),
            "peak_rss_mib": round(max(one.peak_mib for one in (*self.full, *self.incremental)), 1),
            "restore_seconds": _median([one.seconds for one in self.restore]),
            "exact": self.exact,
        }


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)
