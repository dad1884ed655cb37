"""R22: a controller killed by SIGKILL between or within steps of a test failover goes on to the same end.

Real processes, the real DBOS on SQLite, real kills; the hosts are a world on paper in a file.  The same on the lab:
tests/lab/test_drill.py.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drill.core.verdicts import judge
from drill.errors import Refused
from drill.model.fact import StepEnded
from drill.model.verdict import Outcome
from drill.orchestration.durable import DurableRuns
from drill.reporting.record import read

STEPS = 72
SAMPLED = (0, 24, 52)


def controller(folder: Path, *kill: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.faults.controller_process", str(folder), *kill]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def killed_and_resumed(folder: Path, step: int, when: str) -> None:
    folder.mkdir()
    first = controller(folder, "--kill-at", str(step), when)
    assert first.returncode == -signal.SIGKILL, first.stderr
    second = controller(folder)
    assert (second.returncode, second.stdout.strip()) == (0, "done []"), second.stderr
    facts = read(folder / "record" / "run.jsonl")
    assert judge(facts).outcome is Outcome.PASS
    assert len([one for one in facts if isinstance(one, StepEnded)]) == STEPS


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", SAMPLED)
def test_a_killed_controller_goes_on(tmp_path: Path, step: int, when: str) -> None:
    killed_and_resumed(tmp_path / "run", step, when)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_controller_killed_at_every_step_goes_on(tmp_path: Path, when: str) -> None:
    for step in range(STEPS):
        killed_and_resumed(tmp_path / str(step), step, when)


def test_killed_again_and_again_it_still_arrives(tmp_path: Path) -> None:
    for _ in range(6):
        assert controller(tmp_path, "--kill-at", "7", "after").returncode == -signal.SIGKILL
    assert controller(tmp_path).stdout.strip() == "done []"


def test_a_second_controller_over_the_same_folder_is_refused(tmp_path: Path) -> None:
    with DurableRuns(tmp_path, lambda *_: ""), pytest.raises(Refused, match="another controller"):
        DurableRuns(tmp_path, lambda *_: "")
