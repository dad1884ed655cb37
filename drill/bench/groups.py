"""How long the guests of a consistency group stand still for their instant: micro guests whose ledgers are written.

One host of the default lab has all guests; groups of growing size are cycled by the public verb, round after round.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill.bench.cycles import FAR, MEMORY_MIB, NEAR, Progress, booted, quantiles, shop_page, verb
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import site, topology, workload
from drill.lab.standing import Lab
from drill.lab.workload import Primary, PrimaryDisk, Workload

LAB = "bench-groups"
DISK_BYTES = 32 << 20
INTERVAL_SECONDS = 900
"""None of its own cycles comes while rounds are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Groups of these sizes, so many rounds of each."""

    sizes: Sequence[int] = (2, 8, 16)
    rounds: int = 10


def run(order: Order, progress: Progress) -> dict[str, Any]:
    """Build the lab, measure, take the lab away."""
    site.down(LAB)
    try:
        lab = site.up(topology.load(topology.DEFAULT, name=LAB), progress)
        names = [f"vm{number:02}" for number in range(max(order.sizes))]
        disk = PrimaryDisk(target="vda", size_bytes=DISK_BYTES)
        machines = tuple(Primary(name=name, memory_mib=MEMORY_MIB, disks=(disk,)) for name in names)
        workload.create(Workload(name=LAB, machines=machines), lab.host(NEAR), lab.accelerator.name, progress)
        hypervisor = LibvirtHypervisor(workload.uri_outside(lab.host(NEAR)), accelerator=lab.accelerator.name)
        for name in names:
            booted(hypervisor, name)
        rows = [_measured(lab, names[:size], order.rounds, progress) for size in sorted(order.sizes)]
    finally:
        site.down(LAB)
    return {"rows": rows, "accelerator": lab.accelerator.name, "cpus": os.cpu_count(), "target": FAR}


def _measured(lab: Lab, names: Sequence[str], rounds: int, progress: Progress) -> dict[str, Any]:
    """Rounds of one group."""
    with _estate(names) as estate:
        progress(f"a group of {len(names)}")
        verb(lab, estate, "protect", *names)
        verb(lab, estate, "cycle", "--group", "bench")
        load = os.getloadavg()[0]
        paused = [verb(lab, estate, "cycle", "--group", "bench")["paused_seconds"] for _ in range(rounds)]
        instants = verb(lab, estate, "points", "--group", "bench")["points"]
    return {
        "items": len(names),
        "rounds": rounds,
        "paused_seconds": quantiles(paused),
        "instants": len(instants),
        "load": round(load, 1),
    }


@contextmanager
def _estate(names: Sequence[str]) -> Iterator[Path]:
    """The shop's estate with these machines as its items, all in one group."""
    page = shop_page()
    pair, size = page["pairs"][0], page["servers"][1]["clouds"][0]["sizes"][0]["name"]
    page["policies"] = [{"name": pair["policy"], "copy_frequency_seconds": INTERVAL_SECONDS}]
    page["protected_items"] = [
        {"name": name, "pair": pair["name"], "source_host": NEAR, "target": {"size": size}} for name in names
    ]
    page["groups"] = [{"name": "bench", "items": list(names)}]
    page["plans"] = []
    with tempfile.TemporaryDirectory(prefix="drill-bench-") as folder:
        file = Path(folder) / "estate.yaml"
        file.write_text(json.dumps(page), encoding="utf-8")
        yield file
