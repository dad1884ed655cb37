"""How long a running guest waits for its durable writes beside replication (I32): the figure `guest_write_latency_ms`.

A micro guest of its own runs under the lab's accelerator and measures itself (drill/bench/latency.py), three times, one
after another on the same disk:

    without            before drill knows of it
    with_cycles        replicated at an interval, for a little longer than that
    during_full_copy   first copies from nothing, one after another for as long as it measures

All of it on one machine: the guest, both agents and their disks share processors and storage, so that a guest waits
longer here than where the receiver is far away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from drill.bench import cycles, latency
from drill.bench.latency import WriteLatency
from drill.bench.online import Drill
from drill.bench.premises import Premises, Progress
from drill.errors import DrillError
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import workload
from drill.lab.workload import Primary, PrimaryDisk, Workload, machine_of
from drill.ports import Guest

NAME = "bench-guest"
MEMORY_MIB = 96
SPARE_BYTES = 64 << 20
"""Room beside what is copied, for the guest's own files and the one that it writes."""
BEYOND_SECONDS = 3.0
"""Longer than the interval, so that a whole cycle lies in the measurement wherever it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How long to measure, at which interval to replicate, and how much there is to copy."""

    seconds: float = 15.0
    interval_seconds: int = 30
    copied_bytes: int = 256 << 20


@dataclass(slots=True)
class Copies:
    """How many first copies ended, and how long they took together, in seconds."""

    count: int = 0
    seconds: float = 0.0
    error: DrillError | None = None


def measured(place: Premises, order: Order, progress: Progress) -> Mapping[str, object]:
    """The figures, in milliseconds; about a minute and a half of them with the usual order."""
    disk = PrimaryDisk(target="vda", size_bytes=order.copied_bytes + SPARE_BYTES, payload_bytes=order.copied_bytes)
    primary = Primary(name=NAME, memory_mib=MEMORY_MIB, disks=(disk,))
    page = Workload(name=NAME, machines=(primary,))
    progress("a guest that measures its own writes")
    workload.create(page, place.host, place.lab.accelerator.name)
    hypervisor = LibvirtHypervisor(place.connection.uri, accelerator=place.lab.accelerator.name)
    cycles.booted(hypervisor, NAME)
    tool = Drill(place, machine_of(page, primary), secure=True, interval_seconds=order.interval_seconds)
    try:
        return _three(hypervisor.guest(NAME), tool, order, progress)
    finally:
        place.end(NAME)


def _three(guest: Guest, tool: Drill, order: Order, progress: Progress) -> Mapping[str, object]:
    progress("its writes without replication")
    without = latency.measure(guest, seconds=order.seconds)
    progress(f"its writes with cycles every {order.interval_seconds} s")
    tool.full()
    begun = tool.sequence()
    seconds = max(order.seconds, order.interval_seconds + BEYOND_SECONDS)
    replicated = latency.measure(guest, seconds=seconds)
    sealed = tool.sequence() - begun
    tool.clear()
    progress("its writes during full copies")
    with _copying(tool) as copies:
        copied = latency.measure(guest, seconds=order.seconds)
    if copies.error is not None:
        raise copies.error
    return {
        "without": _told(without),
        "with_cycles": {**_told(replicated), "interval_seconds": order.interval_seconds, "cycles": sealed},
        "during_full_copy": {**_told(copied), "copies": copies.count, "copying_seconds": round(copies.seconds, 1)},
    }


@contextmanager
def _copying(tool: Drill) -> Iterator[Copies]:
    """Copy from nothing again and again, until the block is left; an error of drill's ends it and is kept."""
    found, over = Copies(), threading.Event()

    def copy() -> None:
        while found.error is None and not over.is_set():
            begun = time.monotonic()
            try:
                tool.full()
                found.seconds += time.monotonic() - begun
                found.count += 1
                tool.clear()
            except DrillError as error:
                found.error = error

    thread = threading.Thread(target=copy, name="copies")
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _told(found: WriteLatency) -> Mapping[str, object]:
    figures = {"median": found.median, "p99": found.p99, "worst": found.worst}
    return {"writes": found.writes, **{name: round(1000 * value, 2) for name, value in figures.items()}}
