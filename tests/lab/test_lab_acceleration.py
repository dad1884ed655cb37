"""The accelerator is the one under which a kernel really boots, asked once per boot of the machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from drill.lab import acceleration, images
from drill.lab.acceleration import Accelerator

pytestmark = pytest.mark.lab
SECONDS = 20


def banner_under(accelerator: str, kernel: Path) -> bool:
    """Whether a kernel shows its banner under this accelerator, seen with another command line than the probe's."""
    argv = ["qemu-system-x86_64", "-machine", f"pc,accel={accelerator}", "-m", "128", "-nodefaults", "-nographic"]
    argv += ["-no-reboot", "-serial", "mon:stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        said = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False, cwd="/tmp"
        ).stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
    return b"Linux version" in said


@pytest.fixture
def kernel() -> Path:
    return images.ensure("micro") / "vmlinuz"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the answer is remembered in, in a cache of this test's own."""
    monkeypatch.setenv("DRILL_CACHE_DIR", str(tmp_path))
    return tmp_path / "acceleration.json"


def test_a_kernel_boots_under_the_accelerator_that_was_chosen(kernel: Path) -> None:
    assert banner_under(acceleration.choose(kernel).name, kernel)


def test_what_cannot_boot_under_kvm_means_tcg_with_a_reason(tmp_path: Path) -> None:
    nothing = tmp_path / "vmlinuz"
    nothing.write_bytes(bytes(4096))
    answer = acceleration.probe(nothing, timeout_seconds=1)
    assert answer.name == "tcg"
    assert answer.reason


def test_the_answer_is_remembered_until_the_next_boot(kernel: Path, memory: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory.write_text(json.dumps({"boot": boot, "name": "kvm", "reason": "remembered"}))
    assert acceleration.choose(kernel) == Accelerator("kvm", "remembered")


@pytest.mark.parametrize(
    "stale", ['{"boot": "another", "name": "kvm", "reason": "remembered"}', "{", "[]", '{"boot": 1}'],
    ids=["other-boot", "torn", "list", "short"],
)  # fmt: skip
def test_what_is_remembered_of_another_boot_or_torn_is_asked_again(kernel: Path, memory: Path, stale: str) -> None:
    memory.write_text(stale)
    answer = acceleration.choose(kernel)
    assert answer.reason != "remembered"
    assert json.loads(memory.read_text())["name"] == answer.name
