"""Many machines at a short interval: whether all cycles are on time, and what the agents take for it.

Micro guests on the first host of the default lab each overwrite a fixed amount of their disk every second, with bytes
that were not there before; drill replicates all of them to the second host at the policy's interval.  Only public verbs
are used, in the lab's controller.  Measured from the moment when every machine has its first point and writes.

A cycle is missed when the one before it was still running as it came due (the agent counts these), or when an item's
points lie further apart than one and a half intervals.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from drill import data
from drill.errors import DrillError, Failed, Unknown
from drill.estate import yaml
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import site, topology, workload
from drill.lab.place import environment
from drill.lab.standing import Lab, LabHost
from drill.lab.workload import Primary, PrimaryDisk, Workload

LAB = "bench-cycles"
ESTATE = ("fixtures", "estates", "shop.yaml")
NEAR, FAR = "ny1", "chi1"
AGENTS = ((NEAR, "agent-source"), (FAR, "agent-receiver"))
MEMORY_MIB = 96
DISK_BYTES = 128 << 20
NOISE_BYTES = 8 << 20
WRITTEN_MIB = 64
"""The part of its disk that a guest overwrites, over and over; no cycle of 30 s at 1 MiB/s meets a block twice."""
BOOT_SECONDS = 600.0
VERB_SECONDS = 1800.0
_TICKS = os.sysconf("SC_CLK_TCK")
Progress = Callable[[str], None]

# One MiB at a time of the noise, each round from another place in it, so that no page gets what it had; whoever falls
# behind catches up.
_LOAD = """begun=$(date +%s); done=0
while :; do
    due=$(( ($(date +%s) - begun) * $1 / 1024 ))
    while [ $done -lt $due ]; do
        dd if=/data/payload of=/data/load bs=4096 count=256 conv=notrunc \\
            skip=$(( done * 7 % 1700 )) seek=$(( done % $2 * 256 )) 2> /dev/null
        done=$((done + 1))
    done
    sync
    sleep 1
done"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run: `kib_per_second` is each machine's rate of change."""

    machines: int = 16
    seconds: int = 600
    interval_seconds: int = 30
    kib_per_second: int = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds that an agent has used, and its memory: now, and at its highest (MiB)."""

    cpu_seconds: float
    resident_mib: float
    peak_mib: float


def run(order: Order, progress: Progress) -> dict[str, object]:
    """Build the lab, measure, take the lab away."""
    site.down(LAB)
    try:
        lab = site.up(topology.load(topology.DEFAULT, name=LAB), progress)
        machines = _workload(order)
        workload.create(machines, lab.host(NEAR), lab.accelerator.name, progress)
        with _estate(order) as estate:
            return _measured(order, lab, machines, estate, progress)
    finally:
        site.down(LAB)


def _measured(order: Order, lab: Lab, machines: Workload, estate: Path, progress: Progress) -> dict[str, object]:
    """From booted guests to the figures."""
    hypervisor = LibvirtHypervisor(workload.uri_outside(lab.host(NEAR)), accelerator=lab.accelerator.name)
    for primary in machines.machines:
        booted(hypervisor, primary.name)
    progress(f"{order.machines} guests are up; first copies")
    verb(lab, estate, "protect", "--all")
    for primary in machines.machines:
        load = ["setsid", "sh", "-c", f"({_LOAD}) > /dev/null 2>&1 &", "load"]
        hypervisor.guest(primary.name).run([*load, str(order.kib_per_second), str(WRITTEN_MIB)], 60)
    _wait(order.interval_seconds, "the load to have changed a whole interval", progress)
    before, status = _usages(lab), _status(lab, estate)
    begun, idle = time.monotonic(), _idle_seconds()
    _wait(order.seconds, "cycles", progress)
    lasted = time.monotonic() - begun
    busy = 1 - (_idle_seconds() - idle) / lasted / (os.cpu_count() or 1)
    after, now = _usages(lab), _status(lab, estate)
    points = {name: verb(lab, estate, "points", name)["points"] for name in (one.name for one in machines.machines)}
    return {
        "machines": order.machines,
        "seconds": round(lasted, 1),
        "interval_seconds": order.interval_seconds,
        "kib_per_second": order.kib_per_second,
        "accelerator": lab.accelerator.name,
        "cpus": os.cpu_count(),
        "machine_busy": round(busy, 3),
        **_cycles(order, status, now, points, lasted),
        "agents": {
            role: {
                "cpu_seconds": round(after[role].cpu_seconds - before[role].cpu_seconds, 2),
                "cpu_share": round((after[role].cpu_seconds - before[role].cpu_seconds) / lasted, 4),
                "resident_mib": round(after[role].resident_mib, 1),
                "peak_mib": round(after[role].peak_mib, 1),
            }
            for _, role in AGENTS
        },
    }


def _cycles(
    order: Order, before: dict[str, Any], after: dict[str, Any], points: dict[str, Any], lasted: float
) -> dict[str, object]:
    """What the agents' records and the receivers' points say of the time between."""
    missed = sum(after[name]["missed_cycles"] - before[name]["missed_cycles"] for name in after)
    errors = sorted({one["last_error"] for one in after.values() if one["last_error"]})
    count = max(1, int(lasted // order.interval_seconds))
    records = [record for one in after.values() for record in one["cycles"][-count:]]
    late = 0
    for name, found in points.items():
        since = before[name]["last_point"]["taken_us"]
        instants = [point["taken_us"] for point in found if point["taken_us"] >= since]
        apart = [later - earlier for earlier, later in pairwise(instants)]
        late += sum(gap > order.interval_seconds * 1.5e6 for gap in apart)
        late += len(instants) - 1 < count - 1
    return {
        "missed": missed,
        "late": late,
        "errors": errors,
        "cycles": sum(after[name]["acknowledged_sequence"] - before[name]["acknowledged_sequence"] for name in after),
        "cycle_seconds": quantiles([record["total_seconds"] for record in records]),
        "transfer_seconds": quantiles([record["transfer_seconds"] for record in records]),
        "dirty_mib_per_cycle": quantiles([record["dirty_bytes"] / (1 << 20) for record in records]),
        "sent_mib_per_cycle": quantiles([record["sent_bytes"] / (1 << 20) for record in records]),
        "full_cycles": sum(bool(record["full"]) for record in records),
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 95 of 100, and the highest."""
    if not values:
        return {}
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    found = {"median": statistics.median(ordered), "p95": high, "max": ordered[-1]}
    return {name: round(value, 3) for name, value in found.items()}


def _workload(order: Order) -> Workload:
    disk = PrimaryDisk(target="vda", size_bytes=DISK_BYTES, payload_bytes=NOISE_BYTES)
    return Workload(
        name=LAB,
        machines=tuple(
            Primary(name=f"vm{number:02}", memory_mib=MEMORY_MIB, disks=(disk,)) for number in range(order.machines)
        ),
    )


@contextmanager
def _estate(order: Order) -> Iterator[Path]:
    """The shop's estate with these machines as its items."""
    page = shop_page()
    pair, size = page["pairs"][0], page["servers"][1]["clouds"][0]["sizes"][0]["name"]
    page["policies"] = [{"name": pair["policy"], "copy_frequency_seconds": order.interval_seconds}]
    page["protected_items"] = [
        {"name": f"vm{number:02}", "pair": pair["name"], "source_host": NEAR, "target": {"size": size}}
        for number in range(order.machines)
    ]
    page["plans"] = []
    with tempfile.TemporaryDirectory(prefix="drill-bench-") as folder:
        file = Path(folder) / "estate.yaml"
        file.write_text(json.dumps(page), encoding="utf-8")
        yield file


def shop_page() -> dict[str, Any]:
    """The shop's estate as plain values."""
    found = yaml.read(data.path(*ESTATE)).value
    if not isinstance(found, dict):
        raise Failed("reading the shop's estate", "it is no mapping")
    return dict(found)


def verb(lab: Lab, estate: Path, *arguments: str) -> dict[str, Any]:
    """Run a verb in the lab's controller; its document."""
    argv = [sys.executable, "-m", "drill", *arguments, "--json"]
    env = environment(lab.name, "controller") | {"DRILL_ESTATE": str(estate)}
    done = subprocess.run(
        lab.controller.argv_inside(argv), env=env, capture_output=True, text=True, timeout=VERB_SECONDS, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise Failed(f"drill {arguments[0]}", f"exit code {done.returncode}: {done.stderr[-400:]}") from error
    if "error" in found:
        raise Failed(f"drill {arguments[0]}", str(found["error"]["message"]))
    return found


def _status(lab: Lab, estate: Path) -> dict[str, Any]:
    return {one["domain"]: one for one in verb(lab, estate, "status")["items"]}


def booted(hypervisor: LibvirtHypervisor, name: str) -> None:
    """Return when a guest's agent answers."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            hypervisor.guest(name).ping(2)
        except DrillError as error:
            if time.monotonic() > deadline:
                raise Unknown(f"booting {name}", f"its agent says nothing after {BOOT_SECONDS:.0f} s") from error
            time.sleep(0.2)
        else:
            return


def _wait(seconds: float, what: str, progress: Progress) -> None:
    """Let time pass: nothing to poll for, the load is what it is about."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress(f"{what}: {left:.0f} s to go")
        time.sleep(min(left, 60))


def _usages(lab: Lab) -> dict[str, Usage]:
    return {role: _usage(lab.host(host), role) for host, role in AGENTS}


def _usage(host: LabHost, role: str) -> Usage:
    """Of an agent with the tools that it ran (/proc/PID/stat: utime, stime, cutime, cstime)."""
    (pid,) = host.pids(role)
    cells = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    ticks = sum(int(cell) for cell in cells[11:15])
    status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Usage(ticks / _TICKS, int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024)


def _idle_seconds() -> float:
    """What all processors of this machine have idled since it started."""
    cells = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()
    return (int(cells[4]) + int(cells[5])) / _TICKS
