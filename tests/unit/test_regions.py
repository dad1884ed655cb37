"""Decisions for a region: stores, networks, encryption, limits (spec A13, B10, F2, J2, J7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core import estate_step, regions
from drill.model.network import NetworkMapping
from tests.new_york import estate, mended, told, with_region


@pytest.mark.spec("A13.a", "A13.b", "A13.c", "A13.d")
@pytest.mark.parametrize(
    ("store", "says"),
    [
        ({}, None),
        ({"redundancy": "local"}, "local redundant"),
        ({"tier": "premium"}, "premium grade"),
        ({"region": "south"}, "lies in south"),
        ({"subscription": "s2"}, "subscription s2"),
        ({"subscription": ""}, "subscription (none)"),
    ],
)
def test_a_store_is_geo_redundant_standard_and_of_the_vaults_region_and_subscription(
    store: dict[str, str], says: str | None
) -> None:
    found = regions.stores_and_networks(with_region(estate(), **store))
    assert told(found) == ([] if says is None else ["A13 store store1"])
    assert says is None or says in found[0].problem
    assert mended(found)


def test_a_store_that_is_not_there_is_named_and_a_site_has_none() -> None:
    known = with_region(estate())
    known.pairs["Gold"] = replace(known.pairs["Gold"], store="other")
    assert told(regions.stores_and_networks(known)) == ["A13 pair Gold"]
    assert regions.stores_and_networks(estate()) == ()


@pytest.mark.spec("A13.c", "A13.d")
def test_networks_lie_in_the_vaults_region_and_subscription() -> None:
    known = replace(with_region(estate(), region="south", subscription="s2"), region="south", subscription="s2")
    found = regions.stores_and_networks(known)
    assert told(found) == ["A13 network lan", "A13 network lan"]
    assert "north" in found[0].problem
    assert "s1" in found[1].problem
    known = replace(known, regions={"north": replace(known.regions["north"], subscription="")}, subscription="s2")
    assert "(none)" in regions.stores_and_networks(known)[1].problem
    assert mended(found)


@pytest.mark.spec("A13.e")
def test_what_is_in_use_is_not_moved() -> None:
    known = with_region(estate())
    lan = NetworkMapping(source_site="NewYork", source="VMNetwork1-NewYork", target_site="north", target="lan")
    assert told(regions.moving(known, "store", "store1")) == ["A13 store store1"]
    assert regions.moving(known, "store", "store2") == ()
    assert regions.moving(known, "network", "lan") == ()
    (found,) = regions.moving(replace(known, network_mappings=(lan,)), "network", "lan")
    assert "VMNetwork1-NewYork" in found.problem


@pytest.mark.spec("A13.e")
def test_a_step_that_moves_what_is_in_use_is_refused_and_any_other_is_not() -> None:
    """From one estate to the next: a store to another region, a network to another, with and without a user."""
    before = with_region(estate())
    north, lan = before.regions["north"], before.networks[-1]
    south = replace(north, name="south", stores=(replace(north.stores[0], region="south"),))
    stores_moved = replace(before, regions={"north": replace(north, stores=()), "south": south})
    assert told(estate_step.step(before, stores_moved)) == ["A13 store store1"]
    assert estate_step.step(replace(before, pairs={}), stores_moved) == (), "nobody uses it"
    networks_moved = replace(
        before, regions={"north": north, "south": replace(south, stores=())},
        networks=(*before.networks[:-1], replace(lan, site="south")),
    )  # fmt: skip
    mapped = NetworkMapping(source_site="NewYork", source="VMNetwork1-NewYork", target_site="north", target="lan")
    used = replace(before, network_mappings=(mapped,))
    assert told(estate_step.step(used, networks_moved)) == ["A13 network lan"]
    assert estate_step.step(before, networks_moved) == ()
    gone = replace(before, regions={"north": replace(north, stores=())}, networks=before.networks[:-1])
    assert estate_step.step(used, gone) == (), "what is gone has not moved; a broken reference is another rule"
    assert estate_step.step(used, used) == ()


@pytest.mark.spec("B10.a", "B10.b")
def test_encryption_asks_for_the_certificate_in_a_region_and_is_ignored_with_a_note_at_a_site() -> None:
    known = estate()
    pair = known.pairs["Gold"]
    assert (regions.encryption(known), regions.certificate(known, pair, "")) == ((), ())
    known.clouds["GoldCloud1"] = replace(known.clouds["GoldCloud1"], encryption=True)
    assert told(regions.encryption(known)) == ["advice: B10 cloud GoldCloud1"]
    assert regions.certificate(known, pair, "") == ()
    known = with_region(known)
    pair = known.pairs["Gold"]
    assert regions.encryption(known) == ()
    assert told(regions.certificate(known, pair, "")) == ["B10 pair Gold"]
    assert regions.certificate(known, pair, "backup.pfx") == ()
    known.clouds["GoldCloud1"] = replace(known.clouds["GoldCloud1"], encryption=False)
    assert regions.certificate(known, pair, "") == ()


@pytest.mark.spec("F2.c", "F2.d", "F2.e")
def test_who_reaches_whom_in_a_region() -> None:
    assert regions.reach(same_plan=True, mapped=False)
    assert not regions.reach(same_plan=False, mapped=False)
    assert regions.reach(same_plan=False, mapped=True)
    assert regions.reach_home(mapped=True, gateway=True)
    assert not regions.reach_home(mapped=True, gateway=False)
    assert not regions.reach_home(mapped=False, gateway=True)


@pytest.mark.spec("J2.a")
@pytest.mark.parametrize(
    ("mapped", "chosen", "waits"),
    [
        (["lan", "lan"], "", False),
        ([], "", False),
        (["lan", "dmz"], "", True),
        (["lan", "dmz"], "dmz", False),
        (["lan", "dmz"], "other", True),
    ],
)
def test_cards_that_map_to_different_networks_wait_for_a_choice(mapped: list[str], chosen: str, waits: bool) -> None:
    assert told(regions.chosen_network("VM1", mapped, chosen)) == ["J2 machine VM1"] * waits


@pytest.mark.spec("J7.a", "J7.b", "J7.c")
@pytest.mark.parametrize(
    ("name", "disks", "size", "says"),
    [
        ("web-1", 16, 2 << 40, None),
        ("w", 0, 0, None),
        ("w" * 63, 0, 0, None),
        ("web", 17, 1, "17 data disks"),
        ("web", 1, (2 << 40) + 1, "2 TiB"),
        ("", 1, 1, "name"),
        ("w" * 64, 1, 1, "name"),
        ("web_1", 1, 1, "name"),
        ("wéb", 1, 1, "name"),
    ],
)
def test_a_region_takes_16_data_disks_2_tib_and_plain_names(name: str, disks: int, size: int, says: str | None) -> None:
    found = regions.limits(name, data_disks=disks, system_disk_bytes=size)
    assert [says in one.problem for one in found if says] == ([] if says is None else [True])
    assert len(found) == (says is not None)
