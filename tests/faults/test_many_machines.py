"""Thirty-second cycles of several machines at once; the figure itself is `drill bench cycles --machines 16`."""

from __future__ import annotations

import pytest

from drill.bench import cycles

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.mark.spec("E4.c")
def test_three_machines_that_change_all_the_time_miss_no_cycle() -> None:
    found = cycles.run(cycles.Order(machines=3, seconds=65), lambda _: None)
    assert (found["missed"], found["late"], found["errors"], found["full_cycles"]) == (0, 0, [], 0)
    dirty = found["dirty_mib_per_cycle"]
    assert isinstance(dirty, dict)
    assert dirty["median"] > 24
