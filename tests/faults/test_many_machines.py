"""Several machines at once, at thirty seconds or at one instant; the figures are `drill bench cycles` and `groups`."""

from __future__ import annotations

import pytest

from drill.bench import cycles, groups
from drill.replication.groups import PAUSE_SECONDS

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.mark.spec("E4.c")
def test_three_machines_that_change_all_the_time_miss_no_cycle() -> None:
    found = cycles.run(cycles.Order(machines=3, seconds=65), lambda _: None)
    assert (found["missed"], found["late"], found["errors"], found["full_cycles"]) == (0, 0, [], 0)
    dirty = found["dirty_mib_per_cycle"]
    assert isinstance(dirty, dict)
    assert dirty["median"] > 24


@pytest.mark.spec("S5.a")
def test_sixteen_machines_share_every_instant_and_none_stands_still_for_long() -> None:
    found = groups.run(groups.Order(sizes=(16,), rounds=3), lambda _: None)
    (row,) = found["rows"]
    assert (row["items"], row["instants"]) == (16, 4)
    assert 0 < row["paused_seconds"]["max"] < PAUSE_SECONDS
