"""The replication bench runs, and what it says can be trusted in kind; its figures are for whoever asks for them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drill.bench import peers, workload
from drill.bench.command import Runner
from drill.bench.stopwatch import measure
from drill.bench.workload import PAGE_BYTES, Shape
from drill.errors import Failed

SMALL = Shape(disk_bytes=32 << 20, allocated_bytes=16 << 20, changed_bytes=1 << 20)


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_every_tool_gets_a_row_and_restores_what_was_written() -> None:
    verb = ["bench", "replication", "--size", "tiny", "--rounds", "1", "--no-peers", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "drill", *verb], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    rows = {row["tool"]: row for row in found["rows"]}
    assert set(rows) == {"drill", "drill-no-tls", "libvirt-push", "qemu-img-convert", "nbdcopy"}
    assert all(row["exact"] for row in rows.values())
    assert all(row[key] > 0 for row in rows.values() for key in row if key.endswith("_seconds"))
    assert rows["drill"]["incremental_stored_mib"] < 1.2 < rows["libvirt-push"]["incremental_stored_mib"]
    assert found["resync_ratio"] < 1.05
    waits = found["guest_write_latency_ms"]
    assert list(waits) == ["without", "with_cycles", "during_full_copy"]
    assert all(0 < one["median"] <= one["p99"] <= one["worst"] and one["writes"] >= 1 for one in waits.values())
    assert waits["with_cycles"]["cycles"] >= 1
    assert waits["during_full_copy"]["copies"] >= 1
    assert found["conditions"]["processors"] >= 1


@pytest.mark.parametrize(
    "tool", [peers.Convert, peers.NbdCopy, peers.Borg, peers.Restic], ids=lambda one: str(one.name)
)
def test_a_tool_that_reads_an_image_can_do_so_round_after_round(tool: type[Any], tmp_path: Path) -> None:
    """It once moved the image away when it restored it beside it; only the first round had that tool then."""
    program = {"qemu-img-convert": "qemu-img"}.get(tool.name, tool.name)
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (./run --peers)")
    image, target = tmp_path / "idle.qcow2", tmp_path / "restored"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "4M"], check=True, timeout=30)
    found = tool(image, tmp_path / "kept")
    for pattern in ("0x11", "0x22"):
        found.full()
        write = ["qemu-io", "-f", "qcow2", "-c", f"write -q -P {pattern} 1M 64k", str(image)]
        subprocess.run(write, check=True, timeout=30)
        found.incremental()
        kind = found.restore(target)
        argv = ["qemu-img", "compare", "-f", "qcow2", "-F", kind, str(image), str(target)]
        assert subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0
        target.unlink()
        found.clear()
    assert [file.name for file in tmp_path.iterdir()] == [image.name]


def test_the_same_seeds_give_the_same_disk_and_writes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        workload.fill(tmp_path / name, SMALL, 7)
        workload.apply(tmp_path / name, workload.writes(SMALL, 7, 8))
    one, two = (tmp_path / name for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_blocks * 512 == SMALL.allocated_bytes
    workload.fill(two, SMALL, 9)
    assert one.read_bytes() != two.read_bytes()


def test_the_writes_are_of_the_sizes_that_were_promised() -> None:
    found = [len(data) for _, data in workload.writes(Shape(), 1, 1)]
    assert sum(found) == 64 << 20
    assert min(found) == PAGE_BYTES
    assert max(found) == 16 * PAGE_BYTES


def test_time_and_memory_of_a_tool_are_its_own() -> None:
    """Not those of the process that measures, which holds 256 MiB meanwhile."""
    held, runner = bytearray(b"x" * (256 << 20)), Runner()
    work = "import time; held = b'x' * (64 << 20); time.sleep(0.3); sum(range(10**6))"
    taken = measure(lambda: runner.run([sys.executable, "-S", "-c", work]), runner)
    assert 64 < taken.peak_mib < 128 < len(held) >> 20
    assert taken.cpu_seconds < taken.seconds


def test_a_tool_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(Failed, match="no such"):
        Runner().run(["sh", "-c", "echo no such thing; exit 3"])


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")
def test_an_image_that_differs_in_one_byte_is_not_called_exact(tmp_path: Path) -> None:
    workload.fill(tmp_path / "one", SMALL, 1)
    (tmp_path / "two").write_bytes((tmp_path / "one").read_bytes()[:-1] + b"\1")
    with pytest.raises(Failed, match="mismatch"):
        Runner().run(["qemu-img", "compare", "-f", "raw", "-F", "raw", str(tmp_path / "one"), str(tmp_path / "two")])
