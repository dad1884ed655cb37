"""How much link and how much storage a protection takes (spec Q1, E5).

Both follow from what was observed: a machine's disks, what they hold, and how much changes between one cycle and the
next.  The forecast is for the busiest of what was observed, so that it holds when it matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drill.core.retention import GAP_MAX_US
from drill.model.finding import Finding

_SECONDS_PER_HOUR = 3600
SPARE = 1.25
"""A quarter more than was ever observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A machine's replication as it was: `held_bytes` on its disks of `size_bytes`, and the bytes sent per cycle.

    Cycles are `interval_seconds` apart; `sent_bytes` and `took_seconds` (from a cycle's begin to its seal) may be empty
    for a machine that was not replicated yet.
    """

    machine: str
    size_bytes: int
    held_bytes: int
    interval_seconds: int
    sent_bytes: tuple[int, ...] = ()
    took_seconds: tuple[float, ...] = ()

    def busiest(self) -> int:
        """Bytes of the busiest cycle, with a quarter to spare; 0 while none was observed."""
        return int(max(self.sent_bytes, default=0) * SPARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What it takes: a link in bytes per second, storage in bytes, and what stands in the way."""

    bytes_per_second: int
    storage_bytes: int
    findings: tuple[Finding, ...] = ()


def bandwidth(machines: Iterable[Observed], rpo_seconds: float) -> Forecast:
    """The link that keeps every machine within an RPO while all are at their busiest.

    A point is as old as an interval and the time its cycle travels; so the cycle must have travelled in what the RPO
    leaves beside the interval.  An RPO no longer than the interval cannot be had with any link.
    """
    needed, found = 0.0, []
    for one in machines:
        left = rpo_seconds - one.interval_seconds
        if left <= 0:
            problem = f"an RPO of {rpo_seconds:g} s cannot be had with cycles every {one.interval_seconds} s"
            cure = "choose a shorter copy frequency or a longer RPO"
            found.append(Finding(rule="Q1", kind="machine", name=one.machine, problem=problem, remedy=cure))
        else:
            needed += one.busiest() / min(left, one.interval_seconds)
    return Forecast(bytes_per_second=int(needed), storage_bytes=0, findings=tuple(found))


def storage(machines: Iterable[Observed], *, window_seconds: int, additional: int) -> int:
    """Bytes that replicas with so long a retention take at most: what disks hold, and what every kept point adds.

    A point of the window adds what its cycle sent; an hourly one what an hour sent; neither more than the disk has.
    """
    return sum(_stored(one, window_seconds, additional) for one in machines)


def _stored(one: Observed, window_seconds: int, additional: int) -> int:
    busiest = one.busiest()
    points = window_seconds // one.interval_seconds
    per_hour = busiest * max(_SECONDS_PER_HOUR // one.interval_seconds, 1)
    hourly = additional * min(per_hour, one.size_bytes)
    return one.held_bytes + points * min(busiest, one.size_bytes) + hourly


def rpo_seconds(one: Observed, bytes_per_second: float) -> float:
    """The age of the newest point when the next one is about to arrive: an interval, and how long a cycle takes.

    That is what the longest took, or what the busiest takes over a link of so many bytes per second (0: no limit).
    Never more than an outage is counted for (retention's gap).
    """
    travels = one.busiest() / bytes_per_second if bytes_per_second > 0 else 0.0
    return one.interval_seconds + min(max(travels, *one.took_seconds, 0.0), GAP_MAX_US / 1e6)


def shortage(locations: Sequence[tuple[str, int, int]]) -> tuple[Finding, ...]:
    """Storage locations, (name, bytes needed, bytes free), that what is forecast does not fit into."""
    return tuple(
        Finding(
            rule="Q1", kind="storage location", name=name,
            problem=f"{needed} bytes are needed and {free} are free",
            remedy=f"add {needed - free} bytes, keep fewer points, or map to another location",
        )
        for name, needed, free in locations
        if needed > free
    )  # fmt: skip
