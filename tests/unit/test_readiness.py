"""Every rule that can be asked of an estate by itself, in one list (spec A, S6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill import data
from drill.core import readiness
from drill.estate.load import load
from drill.model.target import ItemDisk, Target
from tests.new_york import GOLD, estate, host, mended, told, with_region

HOUR_US = 3600 * 1_000_000


@pytest.mark.spec("S6.a")
@pytest.mark.parametrize(
    ("last_us", "now_us", "due"),
    [
        (None, 0, True),
        (0, 12 * HOUR_US - 1, False),
        (0, 12 * HOUR_US, True),
        (0, 365 * 24 * HOUR_US, True),
        (5, 4, True),
    ],
)
def test_an_item_is_validated_every_twelve_hours_whatever_the_clock_does(
    last_us: int | None, now_us: int, due: bool
) -> None:
    assert readiness.is_due(last_us, now_us) is due


@pytest.mark.parametrize("name", ["new-york-chicago.yaml", "estates/shop.yaml", "estates/postgres.yaml"])
def test_the_estates_that_ship_are_ready_as_far_as_they_say(name: str) -> None:
    amiss = [one for one in readiness.declared(load(data.path("fixtures", *name.split("/")))) if one.refuses]
    assert [one for one in amiss if one.rule != "A14"] == []


@pytest.mark.spec("S6.a")
def test_what_is_amiss_is_told_with_object_and_remedy_rule_by_rule() -> None:
    known = estate()
    assert readiness.declared(known) == ()
    known.hosts["stray"] = host("stray", "NewYork", "")
    changed = {
        "VM1": replace(known.items["VM1"], os_type=""),
        "VM2": replace(known.items["VM2"], source_host="stray"),
        "VM3": replace(known.items["VM3"], additional_points=1),
        "VM4": replace(known.items["VM4"], nics=()),
    }
    known = replace(known, items={**known.items, **changed}, policies={"gold": replace(GOLD, copy_frequency_seconds=7)})
    found = readiness.declared(known)
    assert told(found) == ["E4 policy gold", "A14 machine VM1", "A6 machine VM2", "E5 machine VM3"]
    assert mended(found)


def test_a_machine_for_a_region_keeps_its_limits() -> None:
    known = with_region(estate())
    known = replace(known, plans={})
    disks = tuple(ItemDisk(target=f"vd{letter}", size_bytes=1) for letter in "abcdefghijklmnopqr")
    known.items["VM1"] = replace(known.items["VM1"], disks=disks, target=Target(name="no_good"))
    assert told(readiness.declared(known)) == ["J7 machine no_good"] * 2


def test_a_pair_without_its_cloud_is_told_of_once() -> None:
    known = estate()
    pair = replace(known.pairs["Gold"], source="unheard of", target="")
    items = {name: replace(one, pair=pair) for name, one in known.items.items()}
    assert readiness.declared(replace(known, items=items, plans={})) == ()
