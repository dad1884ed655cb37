"""What status and points say of a replica that rotted."""

from __future__ import annotations

from dataclasses import replace

from drill.cli import _damage
from drill.model.point import Point
from drill.model.retention import KeptPoint, RetentionPolicy, StoreReport
from tests.paper import point

WHOLE = KeptPoint(point=point("db"), lock=None, damaged=())
BAD = replace(WHOLE, damaged=("vda", "vdb"))


def report(*points: KeptPoint, owed: tuple[str, ...] = (), rotten: tuple[tuple[str, int], ...] = ()) -> StoreReport:
    return StoreReport(item="db", policy=RetentionPolicy(), points=points, owed=owed, chain=1, proven=(), rotten=rotten)


def test_a_replica_that_is_whole_gets_no_line() -> None:
    assert isinstance(WHOLE.point, Point)
    assert _damage.lines(report(WHOLE, WHOLE), "db") == []


def test_what_rotted_and_what_comes_again_is_said() -> None:
    found = _damage.lines(report(WHOLE, BAD, owed=("vda", "vdb"), rotten=(("vda", 3),)), "db")
    assert found[0] == "DAMAGED: vda, vdb rotted in 1 of 2 points, which are not served"
    assert found[1].startswith("what to do: 3 pages of vda and all of vdb come with the next cycle, or now: drill")


def test_older_damage_needs_nothing_but_a_look_at_the_disks() -> None:
    said, cure = _damage.lines(report(BAD, WHOLE), "db")
    assert said == "DAMAGED: vda, vdb rotted in 1 of 2 points, which are not served"
    assert cure.startswith("what to do: later points are whole")


def test_digests_that_rotted_are_damage_of_no_point() -> None:
    said, cure = _damage.lines(report(WHOLE, owed=("vda",)), "db")
    assert said == "DAMAGED: vda rotted in 0 of 1 points, which are not served"
    assert "all of vda come with the next cycle" in cure
