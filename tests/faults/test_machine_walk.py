"""The top tier of the fuzzer on a real machine; see tests/faults/machine_walk.py."""

from __future__ import annotations

import pytest

from tests.faults.machine_walk import walk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_a_short_walk_over_a_real_machine_finds_no_wrong_point() -> None:
    found = walk(cycles=5, seed=1, fault_every=2)
    assert found["guest_errors"] == []
    assert found["points_compared"] in range(5, 40)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_hundred_cycles_of_a_real_machine_under_faults_are_exact() -> None:
    found = walk(cycles=200, seed=1)
    assert found["guest_errors"] == []
    assert found["points_compared"] in range(200, 1000)
