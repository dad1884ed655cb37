"""One agent per domain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drill.errors import Refused
from drill.hypervisor import domain_lock
from drill.hypervisor.domain_lock import DomainLocks

HOLDS = """
import sys, time
from pathlib import Path
from drill.hypervisor.domain_lock import DomainLocks
DomainLocks(Path(sys.argv[1])).claim("u1", "web")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_lock, "PATIENCE_SECONDS", 0.1)


def test_a_domain_that_another_holds_is_refused_with_its_process(tmp_path: Path) -> None:
    DomainLocks(tmp_path).claim("u2", "db")
    first, second = DomainLocks(tmp_path), DomainLocks(tmp_path)
    first.claim("u1", "web")
    first.claim("u1", "web")
    with pytest.raises(Refused, match=f"web is replicated by another agent, process {os.getpid()}"):
        second.claim("u1", "web")
    first.release("u1")
    first.release("u1")
    second.claim("u1", "web")


def test_a_lock_that_was_released_leaves_no_file(tmp_path: Path) -> None:
    locks = DomainLocks(tmp_path)
    locks.claim("u1", "web")
    locks.release("u1")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    locks = DomainLocks(tmp_path)
    argv = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Refused, match=f"process {process.pid}"):
            locks.claim("u1", "web")
        process.kill()
    locks.claim("u1", "web")
