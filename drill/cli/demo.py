"""`drill demo`: a whole drill on this machine, from nothing to its report.

It is made of public verbs: the lab is built and the shop's machines are started from outside, and then `protect`,
`cycle` and `test-failover` run in the lab's controller, in network and mount namespaces of its own that see no host's
files.  What the demo prints last is what `test-failover` found.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from drill import data
from drill.cli._drills import deliver
from drill.cli.output import Output, spoken
from drill.errors import Failed
from drill.lab import site, topology, workload
from drill.lab.place import environment
from drill.lab.standing import Lab
from drill.reporting.record import runs_folder

SHOP = ("fixtures", "workloads", "shop.yaml")
ESTATE = ("fixtures", "estates", "shop.yaml")
SOURCE_HOST = "ny1"
LIFE_SECONDS = 5.0
"""How long the shop goes on working between its last cycle and the incident, so that there is something to lose."""
VERB_SECONDS = 900.0


@dataclass(slots=True)
class Stopwatch:
    """Seconds per phase, in the order in which they ran."""

    phases: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = round(time.monotonic() - begun, 2)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the lab and the shop standing afterwards.")
@spoken
def command(out: Output, keep: bool) -> None:
    """Build a two-site lab, run a three-tier shop in it, and rehearse the loss of its site.

    The exit code is 0 only when the drill's verdict is *pass*.
    """
    watch = Stopwatch()
    chosen = topology.load(topology.DEFAULT)
    site.down(chosen.name, out.progress)
    try:
        run = _drill(out, watch, chosen)
    finally:
        if not keep:
            with watch.phase("lab_down"):
                site.down(chosen.name, out.progress)
    deliver(run, out, watch.phases | {"total": round(sum(watch.phases.values()), 2)})


def _drill(out: Output, watch: Stopwatch, chosen: topology.Topology) -> str:
    """Everything between an empty machine and the evidence; the id of the drill's run."""
    with watch.phase("lab_up"):
        lab = site.up(chosen, out.progress)
    with watch.phase("guests"):
        out.progress("shop: making disks and starting db, app and web")
        workload.create(workload.load(data.path(*SHOP)), lab.host(SOURCE_HOST), lab.accelerator.name, out.progress)
        # libvirt 9.0 loses the event of an agent that connects while a backup job runs: let the guests come up first.
        _verb(lab, "predict", "shop")
    with watch.phase("protect"):
        _verb(lab, "protect", "--all")
    with watch.phase("cycle"):
        _verb(lab, "cycle", "--all")
    time.sleep(LIFE_SECONDS)
    with watch.phase("test_failover"):
        return str(_verb(lab, "test-failover", "shop")["run"])


def _verb(lab: Lab, *arguments: str) -> dict[str, object]:
    """Run a verb in the lab's controller; its document.  Its progress goes to our standard error as it comes."""
    argv = [sys.executable, "-m", "drill", *arguments, "--json"]
    env = environment(lab.name, "controller") | {
        "DRILL_ESTATE": str(data.path(*ESTATE)),
        "DRILL_REPORTS_DIR": str(runs_folder()),
        "TERM": os.environ.get("TERM", "dumb"),
    }
    done = _run(lab.controller.argv_inside(argv), env)
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise Failed(action=f"drill {arguments[0]}", cause=f"exit code {done.returncode} and no document") from error
    if "error" in document:
        raise Failed(action=f"drill {arguments[0]}", cause=str(document["error"]["message"]))
    found: dict[str, object] = document
    return found


def _run(argv: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run with our standard error; on Ctrl-C the child, which got it too, is given the time to clean up."""
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as child:
        try:
            output, _ = child.communicate(timeout=VERB_SECONDS)
        except KeyboardInterrupt:
            child.communicate(timeout=VERB_SECONDS)
            raise
    return subprocess.CompletedProcess(argv, child.returncode, output, "")
