"""Adopting a replica that exists, and completing tests (spec I3, L6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core import adoption, completion
from tests.new_york import GOLD, estate, mended, told

DAY_US = 86400 * 1_000_000


@pytest.mark.spec("I3.a")
@pytest.mark.parametrize(
    ("primary", "replica", "expected"),
    [
        ("host-GoldCloud1", "host-GoldCloud2", []),
        ("host-SilverCloud1", "host-GoldCloud2", ["I3 machine VM1"]),
        ("host-GoldCloud1", "host-SilverCloud2", ["I3 machine VM1"]),
        ("unheard of", "host-GoldCloud1", ["I3 machine VM1"] * 2),
    ],
)
def test_a_replica_is_adopted_where_both_hosts_are_in_the_pairs_clouds(
    primary: str, replica: str, expected: list[str]
) -> None:
    known = estate()
    found = adoption.adopt(known, known.pairs["Gold"], machine="VM1", primary_host=primary, replica_host=replica)
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("I3.a")
def test_the_policy_of_an_adopted_replica_is_on_its_pair() -> None:
    known = estate()
    both = {"machine": "VM1", "primary_host": "host-GoldCloud1", "replica_host": "host-GoldCloud2"}
    stray = replace(known.pairs["Gold"], policy=replace(GOLD, name="other"))
    assert told(adoption.adopt(known, stray, **both)) == ["I3 pair Gold"]
    assert adoption.adopt(known, replace(stray, policies=()), **both) == ()


@pytest.mark.spec("I3.c")
def test_settings_in_which_the_sides_disagree_are_named() -> None:
    found = adoption.disagreeing("VM1", {"interval": 30, "port": 8084, "own": 1}, {"interval": 300, "port": 8084})
    assert told(found) == ["advice: I3 machine VM1"]
    assert found[0].problem == "interval is 30 at the source and 300 at the replica"


@pytest.mark.spec("L6.c")
def test_a_test_is_completed_by_force_after_fourteen_days() -> None:
    assert not completion.is_forced(5, 5 + 14 * DAY_US)
    assert completion.is_forced(5, 6 + 14 * DAY_US)
    assert not completion.is_forced(5, 4), "a clock that went back completes nothing"


@pytest.mark.spec("L6.d")
def test_a_test_has_succeeded_only_with_its_cleanup_and_nothing_left() -> None:
    good = [
        (test, cleanup, left)
        for test in (True, False)
        for cleanup in (True, False)
        for left in (0, 1)
        if completion.has_succeeded(test=test, cleanup=cleanup, leftovers=left)
    ]
    assert good == [(True, True, 0)]


@pytest.mark.spec("L6.e")
def test_a_machine_is_in_one_test_at_a_time() -> None:
    found = completion.begin(["VM1", "VM2"], {"VM2": "run-7", "VM3": "run-8"})
    assert told(found) == ["L6 machine VM2"]
    assert "run-7" in found[0].remedy
