"""Pairs of clouds and the policies of a pair (spec D)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core import pairing
from tests.new_york import GOLD, estate, mended, told, with_region


@pytest.mark.spec("D1.a", "D1.b")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"source": "unheard"}, ["D1 pair Gold"]),
        ({"target": "unheard"}, ["D1 pair Gold"]),
        ({"target": ""}, ["D1 pair Gold"]),
        ({"region": "north", "store": "s"}, ["D1 pair Gold", "D1 pair Gold"]),
        ({"target": "", "region": "north", "store": "s"}, ["D1 pair Gold"]),
    ],
)
def test_a_pair_leads_to_a_cloud_or_to_a_region_with_a_store(change: dict[str, str], expected: list[str]) -> None:
    known = estate()
    known.pairs["Gold"] = replace(known.pairs["Gold"], **change)  # type: ignore[arg-type]
    found = pairing.pairs(known)
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("D1.b")
def test_a_pair_with_a_region_names_a_store_of_it() -> None:
    known = with_region(estate())
    assert pairing.pairs(known) == ()
    known.pairs["Gold"] = replace(known.pairs["Gold"], store="")
    (found,) = pairing.pairs(known)
    assert "no store" in found.problem


@pytest.mark.spec("D2.a")
@pytest.mark.parametrize("change", [{"source": "GoldCloud1"}, {"target": "GoldCloud1"}, {"target": "GoldCloud2"}])
def test_a_cloud_belongs_to_one_pair_as_source_or_as_target(change: dict[str, str]) -> None:
    known = estate()
    known.pairs["Silver"] = replace(known.pairs["Silver"], **change)  # type: ignore[arg-type]
    (found,) = pairing.pairs(known)
    assert told((found,)) == [f"D2 cloud {next(iter(change.values()))}"]
    assert "Gold" in found.remedy


def test_a_cloud_cannot_replicate_to_itself() -> None:
    known = estate()
    known.pairs["Gold"] = replace(known.pairs["Gold"], target="GoldCloud1")
    assert told(pairing.pairs(known)) == ["D2 cloud GoldCloud1"]


@pytest.mark.spec("B8.b")
def test_a_cloud_that_was_never_synchronised_is_not_paired() -> None:
    known = estate()
    known.clouds["GoldCloud2"] = replace(known.clouds["GoldCloud2"], synchronised=False)
    assert told(pairing.pairs(known)) == ["B8 cloud GoldCloud2"]


@pytest.mark.spec("D4.a", "D4.b")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"policy": replace(GOLD, name="other")}, []),
        ({"target": "GoldCloud3"}, ["D4 pair Gold"]),
        ({"source": "GoldCloud3"}, ["D4 pair Gold"]),
        ({"target": "", "region": "north"}, ["D4 pair Gold"]),
        ({"store": "store2"}, ["advice: D4 pair Gold"]),
    ],
)
def test_another_end_needs_a_new_pair_and_another_store_is_for_machines_to_come(
    change: dict[str, str], expected: list[str]
) -> None:
    before = replace(estate().pairs["Gold"], store="store1")
    found = pairing.change(before, replace(before, **change))  # type: ignore[arg-type]
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("D4.b")
def test_a_machine_stays_in_the_store_it_was_protected_into() -> None:
    pair = replace(with_region(estate()).pairs["Gold"], store="store2")
    assert pairing.store_of("store1", pair) == "store1"
    assert pairing.store_of("", pair) == "store2"
    known = with_region(estate())
    known.pairs["Gold"] = replace(known.pairs["Gold"], target="GoldCloud2")
    assert "one of them alone" in pairing.pairs(known)[0].problem


@pytest.mark.spec("D5.a", "D5.b")
def test_a_policy_belongs_to_the_pair_it_was_made_for_and_others_join() -> None:
    pair = replace(estate().pairs["Gold"], policies=())
    alone = pairing.associate(pair, GOLD)
    assert alone.policies == (GOLD,)
    second = replace(GOLD, name="second")
    both = pairing.associate(alone, second)
    assert (both.policies, both.policy) == ((GOLD, second), GOLD)
    assert pairing.associate(both, second) == both
    assert pairing.associate(pair, second).policies == (pair.policy, second)
