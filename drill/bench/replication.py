"""The replication bench: the same disk and the same writes for every tool, in turns, on one machine, in one run.

    round     every tool copies the disk whole · the same writes reach every disk · every tool copies again · restores
    turns     the order of the tools turns round from round to round, and the figures are medians
    equal     each tool that works on a running machine has a machine of its own, paused, with an equal image
    synced    every timing ends when what was made is durable; before it begins, the machine's disks are synced
    exact     what is restored is compared, byte for byte, with a raw file that got the same writes by other means

Beside the rows: drill's empty cycle, what a resync sends for what differs, the memory for a disk of 64 GiB, and how
long a guest waits for its writes.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drill.bench import guest_writes, peers, premises, workload
from drill.bench.command import Runner, stored_bytes
from drill.bench.online import Drill, LibvirtPush
from drill.bench.premises import Premises
from drill.bench.stopwatch import Taken, measure
from drill.bench.tool import Record, Tool
from drill.bench.workload import PAGE_BYTES, Shape
from drill.errors import Damaged, DrillError
from drill.hypervisor.host import LibvirtHypervisor
from drill.model.machine import Machine

DISTURBANCE = 2
"""Writes of a seed far from those of the rounds."""
LARGE_DISK_BYTES = 64 << 30
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: `with_peers` the tools beside drill and libvirt, but those missing; no `guest_writes` where None."""

    shape: Shape = field(default_factory=Shape)
    disk_seed: int = 1
    write_seed: int = 1
    rounds: int = 3
    with_peers: bool = True
    large_disk_bytes: int = LARGE_DISK_BYTES
    guest_writes: guest_writes.Order | None = field(default_factory=guest_writes.Order)


class Bench:
    """One run in a standing lab."""

    def __init__(self, plan: Plan, place: Premises, progress: Progress) -> None:
        self._plan = plan
        self._place = place
        self._progress = progress
        self._runner = Runner()
        self._truth = place.images / "truth.raw"
        self._idle = place.images / "idle.qcow2"
        self._machines: list[str] = []
        self._records: dict[str, Record] = {}
        self._empty: list[Taken] = []
        self._left_out: dict[str, str] = {}

    def run(self) -> Mapping[str, object]:
        """All rounds; the document of `--json`."""
        plan = self._plan
        self._progress(f"a disk of {plan.shape.disk_bytes >> 20} MiB, {plan.shape.allocated_bytes >> 20} allocated")
        workload.fill(self._truth, plan.shape, plan.disk_seed)
        self._image(self._idle)
        ours = Drill(self._place, self._machine("bench-drill"), secure=True)
        tools = [*self._tools(ours)]
        for number in range(plan.rounds):
            self._round(number, _turned(tools, number), ours)
        rows = [record.row(name) for name, record in self._records.items()]
        return {
            "rows": rows,
            "ratios": _ratios(rows),
            "empty_cycle_ms": round(1000 * statistics.median(taken.seconds for taken in self._empty), 1),
            "resync_ratio": self._beside("resync", lambda: self._resync(ours)),
            "large_disk": self._beside("large disk", self._large),
            "guest_write_latency_ms": self._beside("guest writes", self._guest_writes),
            "left_out": self._left_out,
            "conditions": self._conditions(),
        }

    def _tools(self, ours: Drill) -> Iterable[Tool]:
        yield ours
        yield Drill(self._place, self._machine("bench-plain"), secure=False)
        yield LibvirtPush(self._place, self._machine("bench-push"))
        folder = self._place.images
        yield peers.Convert(self._idle, folder / "convert")
        yield peers.NbdCopy(self._idle, folder / "nbdcopy")
        if not self._plan.with_peers:
            return
        absent = peers.missing()
        for program, package in absent.items():
            self._left_out[program] = f"not installed (package {package}, or ./run --peers)"
        if "virtnbdbackup" not in absent:
            yield peers.VirtNbdBackup(self._place, self._machine("bench-virtnbd"))
        if "borg" not in absent:
            yield peers.Borg(self._idle, folder / "borg")
        if "restic" not in absent:
            yield peers.Restic(self._idle, folder / "restic")

    def _round(self, number: int, tools: Sequence[Tool], ours: Drill) -> None:
        seed = self._plan.write_seed + number
        alive = [tool for tool in tools if self._attempt(number, tool, "full", tool.full)]
        self._write(seed)
        for tool in alive:
            before = stored_bytes(tool.stores())
            if self._attempt(number, tool, "incremental", tool.incremental):
                added = stored_bytes(tool.stores()) - before
                self._record(tool).stored_mib.append(added / (1 << 20))
        for tool in alive:
            if tool.name not in self._left_out:
                self._restore(number, tool)
        self._empty.append(measure(ours.empty, ours.runner, serving=ours.serving(), memory=ours.memory()))
        for tool in tools:
            tool.clear()

    def _attempt(self, number: int, tool: Tool, what: str, work: Callable[[], object]) -> bool:
        """One timing; a peer that fails is left out from then on, with what it said.  drill's failure ends the run."""
        if tool.name in self._left_out:
            return False
        self._progress(f"round {number + 1} of {self._plan.rounds}: {tool.name}, {what}")
        try:
            taken = measure(work, tool.runner, serving=tool.serving(), memory=tool.memory())
        except DrillError as error:
            if isinstance(tool, Drill):
                raise
            self._left_out[tool.name] = str(error)
            self._records.pop(tool.name, None)
            return False
        getattr(self._record(tool), what).append(taken)
        self._progress(f"{tool.name}, {what}: {taken.seconds:.2f} s, {taken.cpu_seconds:.2f} s of processor")
        return True

    def _restore(self, number: int, tool: Tool) -> None:
        target, formats = self._place.images / "restored", list[str]()
        if not self._attempt(number, tool, "restore", lambda: formats.append(tool.restore(target))):
            return
        try:
            self._runner.run(["qemu-img", "compare", "-f", "raw", "-F", formats[0], str(self._truth), str(target)])
        except DrillError as error:
            if isinstance(tool, Drill):
                raise Damaged("bench", f"what {tool.name} restored is not what was written: {error}") from error
            self._record(tool).exact = False
        target.unlink()

    def _write(self, seed: int) -> None:
        """The same writes to every running machine, to the idle image and to the raw file."""
        self._progress("the same writes to every disk")
        shape, first = self._plan.shape, self._plan.disk_seed
        for machine in self._machines:
            self._place.write(machine, workload.writes(shape, first, seed))
        self._place.write_idle(self._idle, workload.writes(shape, first, seed))
        workload.apply(self._truth, workload.writes(shape, first, seed))

    def _beside(self, name: str, work: Callable[[], object]) -> object:
        """A figure beside the rows, None where it could not be had: the rows have cost minutes."""
        try:
            return work()
        except DrillError as error:
            self._left_out[name] = str(error)
            return None

    def _resync(self, ours: Drill) -> float:
        """Bytes that a resync after lost tracking sends, to the bytes of the pages that differ."""
        self._progress("a resync after tracking was lost")
        seed = self._plan.write_seed + DISTURBANCE * self._plan.rounds
        ours.full()
        found = list(workload.writes(self._plan.shape, self._plan.disk_seed, seed))
        self._place.write("bench-drill", found)
        pages = {
            page for offset, data in found for page in range(offset // PAGE_BYTES, (offset + len(data)) // PAGE_BYTES)
        }
        sent = ours.resync()
        ours.clear()
        return round(sent / (len(pages) * PAGE_BYTES), 4)

    def _large(self) -> Mapping[str, object]:
        """Memory and time for a large disk that holds next to nothing.

        As large as the room for the scratch file allows, which libvirt's job may need in the worst case.
        """
        room = shutil.disk_usage(self._place.images).free // 2
        size = min(self._plan.large_disk_bytes, room >> 30 << 30)
        self._progress(f"a sparse disk of {size >> 30} GiB")
        name = "bench-large"
        self._runner.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", str(self._place.images / f"{name}.qcow2"), str(size)]
        )
        tool = Drill(self._place, self._place.start(name, size), secure=True)
        self._place.write(name, [(size - (1 << 20), os.urandom(1 << 16)), (0, os.urandom(1 << 16))])
        taken = measure(tool.full, tool.runner, serving=tool.serving(), memory=tool.memory())
        tool.clear()
        return {"gib": size >> 30, "full_seconds": round(taken.seconds, 3), "peak_rss_mib": round(taken.peak_mib, 1)}

    def _guest_writes(self) -> Mapping[str, object] | None:
        """How long a guest waits for its writes; last, for its processor is emulated and takes what there is."""
        order = self._plan.guest_writes
        if order is None:
            self._left_out["guest writes"] = "not asked for"
            return None
        return guest_writes.measured(self._place, order, self._progress)

    def _machine(self, name: str) -> Machine:
        self._image(self._place.images / f"{name}.qcow2")
        self._machines.append(name)
        return self._place.start(name, self._plan.shape.disk_bytes)

    def _image(self, file: Path) -> None:
        self._runner.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(self._truth), str(file)])

    def _record(self, tool: Tool) -> Record:
        return self._records.setdefault(tool.name, Record())

    def _conditions(self) -> Mapping[str, object]:
        facts = LibvirtHypervisor(self._place.connection.uri, accelerator=self._place.lab.accelerator.name).facts()
        found = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE,FSTYPE", "-T", str(self._place.images)],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
        return {
            "processors": os.cpu_count(),
            "processor": _processor(),
            "kernel": platform.release(),
            "libvirt": facts.libvirt,
            "qemu": facts.qemu,
            "accelerator": facts.accelerator,
            "file_system": " ".join(found.stdout.split()),
            "load_average": [round(one, 2) for one in os.getloadavg()],
            "rounds": self._plan.rounds,
            "disk_seed": self._plan.disk_seed,
            "write_seed": self._plan.write_seed,
            "disk_mib": self._plan.shape.disk_bytes >> 20,
            "allocated_mib": self._plan.shape.allocated_bytes >> 20,
            "changed_mib": self._plan.shape.changed_bytes >> 20,
        }


def run(plan: Plan, progress: Progress) -> Mapping[str, object]:
    """Build the lab, run the rounds, take the lab away."""
    with premises.opened(progress) as place:
        return Bench(plan, place, progress).run()


def _turned(tools: Sequence[Tool], number: int) -> Sequence[Tool]:
    return [*tools[number % len(tools) :], *tools[: number % len(tools)]]


def _ratios(rows: Sequence[Mapping[str, object]]) -> Mapping[str, float]:
    """Drill's medians as multiples of others', of the same run."""
    by_name = {str(row["tool"]): row for row in rows}
    wanted = [("full_seconds", "libvirt-push"), ("incremental_seconds", "libvirt-push")]
    wanted.append(("incremental_seconds", "virtnbdbackup"))
    found = {}
    for mine in ("drill", "drill-no-tls"):
        for what, other in wanted:
            if mine in by_name and other in by_name:
                key = f"{mine} {what.removesuffix('_seconds')} / {other}"
                found[key] = round(float(str(by_name[mine][what])) / float(str(by_name[other][what])), 3)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
