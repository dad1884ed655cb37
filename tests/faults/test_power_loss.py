"""R5: power loss replayed under the shipped engine on real file systems; see tests/faults/power_loss.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = ("qemu-storage-daemon", "mkfs.ext4", "mkfs.xfs", "unshare", "mount")
DEVICES = ("/dev/fuse", "/dev/loop-control")
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def _needed() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    missing += [device for device in DEVICES if not Path(device).exists()]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


def power_loss(filesystem: str, *options: str, seconds: float = 200) -> dict[str, Any]:
    argv = ["unshare", "--mount", "--propagation", "unchanged", sys.executable, "-m", "tests.faults.power_loss"]
    done = subprocess.run(
        [*argv, filesystem, *options], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_what_was_acknowledged_survives_a_loss_of_power(filesystem: str) -> None:
    found = power_loss(filesystem, "--states", "30", "--seed", "1")
    assert (found["bad"], found["first_bad"]) == (0, {})
    assert found["states"] + len(found["unmountable"]) == 30
    assert found["promises"] > 25
    assert found["flushes"] > 100


@pytest.mark.parametrize(
    ("plant", "problem"),
    [("no-folder-sync", "point lost after it was sealed"), ("no-file-sync", "Damaged")],
)
def test_a_writer_that_does_not_sync_is_found(plant: str, problem: str) -> None:
    found = power_loss("ext4", "--states", "20", "--seed", "1", "--plant", plant)
    assert found["bad"] >= 5
    assert problem in found["first_bad"]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("filesystem", "states", "seed"), [("ext4", 700, 2), ("ext4", 700, 3), ("xfs", 300, 4)])
def test_what_was_acknowledged_survives_many_losses_of_power(filesystem: str, states: int, seed: int) -> None:
    found = power_loss(filesystem, "--states", str(states), "--seed", str(seed), seconds=1700)
    assert (found["bad"], found["first_bad"]) == (0, {})
    assert found["states"] >= states * 0.99


def test_nothing_of_it_is_left() -> None:
    power_loss("ext4", "--states", "1")
    assert "drill-power-loss-" not in Path("/proc/self/mountinfo").read_text()
    loops = subprocess.run(
        ["losetup", "--list", "--noheadings"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "drill-power-loss-" not in loops.stdout
