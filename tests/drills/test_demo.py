"""`drill demo`: from nothing to its report, and nothing left, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill.lab import members, site
from fixtures.command_line import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
LAB = "two-site"
PASSED = 0


def demo(reports: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "drill", "demo", *arguments]
    env = os.environ | {"DRILL_REPORTS_DIR": str(reports)}
    return subprocess.Popen(
        argv, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def machine() -> dict[str, Any]:
    """What a demo could leave in the machine's own namespaces."""
    return {
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "namespaces": sorted(os.listdir("/run/netns")) if Path("/run/netns").is_dir() else [],
        "mounts": sorted(line.split(" ", 1)[1] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "processes": members.of_lab(LAB),
        "labs": LAB in site.names(),
    }


@pytest.fixture
def machine_as_before() -> Iterator[None]:
    """The default lab does not stand, and afterwards the machine is as it was."""
    site.down(LAB)
    before = machine()
    yield
    assert machine() == before


@pytest.mark.usefixtures("machine_as_before")
def test_the_demo_passes_says_one_document_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as process:
        output, said = process.communicate(timeout=280)
    found = json.loads(output)
    assert process.returncode == PASSED, said
    assert found.keys() >= {
        "verdict",
        "rpo_seconds",
        "rpo_records",
        "rto_seconds",
        "checks",
        "leftovers",
        "report",
        "accelerator",
        "timings",
    }
    assert found["verdict"] == "pass"
    assert found["leftovers"] == []
    assert found["checks"]["failed"] == found["checks"]["unknown"] == 0
    assert found["checks"]["passed"] >= 35
    assert found["accelerator"] in {"kvm", "tcg"}
    assert {"lab_up", "guests", "protect", "cycle", "test_failover", "lab_down", "total"} <= found["timings"].keys()
    assert found["timings"]["total"] <= 120
    assert Path(found["report"]).is_file()
    again = subprocess.run(
        [sys.executable, "-m", "drill", "report", found["run"], "--json"],
        env=os.environ | {"DRILL_REPORTS_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert json.loads(again.stdout)["verdict"] == "pass"  # no lab stands any more


@pytest.mark.usefixtures("machine_as_before")
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("namespaces", id="while the lab is built"),
        pytest.param("web: power on", id="while guests boot"),
        pytest.param("db: replication ordered", id="during the first copy", marks=pytest.mark.long),
        pytest.param("start machine", id="during the test failover"),
        pytest.param("remove machine", id="during the cleanup", marks=pytest.mark.long),
    ],
)
def test_a_demo_killed_at_any_moment_leaves_nothing_after_lab_down(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                break
        process.send_signal(signal.SIGKILL)
        down = [sys.executable, "-m", "drill", "lab", "down"]
        subprocess.run(down, cwd=ROOT, check=True, capture_output=True, timeout=60)
        process.communicate(timeout=30)


@pytest.mark.usefixtures("machine_as_before")
def test_an_interrupted_demo_cleans_up_by_itself(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "first recovery point sealed" in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        process.communicate(timeout=90)
    assert process.returncode == 130
