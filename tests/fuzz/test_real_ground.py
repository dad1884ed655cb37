"""The walk with its receiver on real files and real qcow2, read back by qemu-img."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from drill.fuzz import real_ground
from drill.fuzz.oracle import Violated
from drill.fuzz.perform import Walk
from drill.fuzz.steps import Step
from drill.fuzz.walk import Tally
from drill.fuzz.world import DiskPlan

DISKS = (DiskPlan("vda", 65536, granule=65536, cluster=65536),)


def test_no_walk_on_real_files_falls() -> None:
    tally = Tally()
    assert not [(number, fall) for number, _, fall in real_ground.run(1, 60, tally, most=4)]
    assert tally.invariants["I1"]
    assert tally.steps > 80


def test_a_byte_that_changed_in_a_real_base_is_seen(tmp_path: Path) -> None:
    walk = Walk(DISKS, Counter(), Counter(), real_ground.ground(tmp_path))
    walk.step(Step("write", {"disk": 0, "at": 0.0, "sectors": 8, "fill": 1}))
    assert walk.step(Step("cycle", {})) == "done"
    base = next((tmp_path / "store").rglob("*.raw"))
    data = bytearray(base.read_bytes())
    data[0] ^= 1
    base.write_bytes(data)
    with pytest.raises(Violated):
        walk.step(Step("cycle", {}))
    walk.close()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_walk_on_real_files_falls_for_five_minutes() -> None:
    assert not [(number, fall) for number, _, fall in real_ground.run(2, 300, Tally())]
