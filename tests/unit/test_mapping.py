"""Network mapping, with the catalogue's worked examples (spec F)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import mapping
from drill.model.network import NetworkMapping, Subnet
from tests.new_york import estate, mended, network, told
from tests.new_york import mapping as mapped


@pytest.mark.spec("F1.a", "F1.b")
def test_networks_of_two_servers_or_of_one_are_mapped_and_several_may_lead_to_one() -> None:
    known = estate()
    inside = NetworkMapping(
        source_site="NewYork", source="VMNetwork1-NewYork", target_site="NewYork", target="VMNetwork2-NewYork"
    )
    for some in ((mapped(1, 1), mapped(2, 2)), (mapped(1, 1), mapped(2, 1)), (inside, mapped(1, 2))):
        assert mapping.mappings(replace(known, network_mappings=some)) == ()
    found = mapping.mappings(replace(known, network_mappings=(mapped(1, 1), mapped(1, 2), mapped(3, 1))))
    assert told(found) == ["F1 network VMNetwork1-NewYork", "F1 network mapping VMNetwork3-NewYork"]
    assert mended(found)


SUBNETS = (Subnet(name="b", cidr="10.0.2.0/24"), Subnet(name="a", cidr="10.0.1.0/24"))


@pytest.mark.spec("F5.a", "F5.b", "F5.c")
@pytest.mark.parametrize(
    ("source", "definition", "alphabetical"), [("a", "a", "a"), ("b", "b", "b"), ("c", "b", "a"), (None, "b", "a")]
)
def test_the_subnet_of_the_same_name_else_the_first_as_defined_or_by_the_alphabet(
    source: str | None, definition: str, alphabetical: str
) -> None:
    first, rule = mapping.choose_subnet(SUBNETS, source)
    assert (first and first.name, rule[:3]) == (definition, "F5:")
    second, _ = mapping.choose_subnet(SUBNETS, source, mapping.ALPHABETICAL)
    assert second is not None
    assert second.name == alphabetical


def test_a_network_without_a_subnet_offers_none() -> None:
    assert mapping.choose_subnet((), "a")[0] is None


@pytest.mark.spec("F6.a", "F6.b", "F8.a", "F8.b")
def test_the_first_network_is_available_to_both_pairs_and_the_second_to_gold_alone() -> None:
    known = estate()
    first = mapping.availability(known, network("NewYork", 1), network("Chicago", 1))
    assert [(one.pair, one.available, one.finding) for one in first] == [("Gold", True, None), ("Silver", True, None)]
    gold, silver = mapping.availability(known, network("NewYork", 2), network("Chicago", 2))
    assert (gold.pair, gold.available) == ("Gold", True)
    assert (silver.pair, silver.cloud, silver.available) == ("Silver", "SilverCloud2", False)
    assert silver.finding is not None
    assert silver.finding.remedy == "add logical network LogicalNetwork2-Chicago to cloud SilverCloud2"


@pytest.mark.spec("F6.a")
def test_a_pair_that_does_not_use_the_source_network_is_not_listed() -> None:
    known = estate()
    known.clouds["GoldCloud1"] = replace(known.clouds["GoldCloud1"], logical_networks=("other",))
    known.pairs["Silver"] = replace(known.pairs["Silver"], target="", region="north")
    assert mapping.availability(known, network("NewYork", 1), network("Chicago", 1)) == ()
    assert mapping.availability(estate(), network("Chicago", 1), network("NewYork", 1)) == ()


HOME, AWAY = "VMNetwork1-NewYork", "VMNetwork1-Chicago"
AS_IT_WAS, CHANGED = (mapped(1, 1),), (mapped(2, 1), mapped(1, 2))


@pytest.mark.parametrize(
    ("replica", "now", "lands"),
    [
        pytest.param(AWAY, AS_IT_WAS, HOME, id="unchanged", marks=pytest.mark.spec("F9.a")),
        pytest.param(None, AS_IT_WAS, None, id="disconnected", marks=pytest.mark.spec("F9.b")),
        pytest.param("VMNetwork2-Chicago", AS_IT_WAS, None, id="moved", marks=pytest.mark.spec("F9.c")),
        pytest.param(AWAY, CHANGED, "VMNetwork2-NewYork", id="mapping changed", marks=pytest.mark.spec("F9.d")),
    ],
)
def test_the_table_of_networks_on_failback(
    replica: str | None, now: tuple[NetworkMapping, ...], lands: str | None
) -> None:
    assert mapping.failback_network(HOME, replica, now) == lands


@pytest.mark.spec("F9.a")
def test_a_card_keeps_its_own_network_where_several_lead_to_its_replicas() -> None:
    both = (mapped(2, 1), mapped(1, 1))
    assert mapping.failback_network(HOME, AWAY, both) == HOME
    assert mapping.failback_network("VMNetwork3-NewYork", AWAY, both) == "VMNetwork2-NewYork"


PLACES = st.integers(1, 4)


@given(pairs=st.dictionaries(PLACES, PLACES), home=PLACES)
def test_over_and_back_with_nothing_changed_is_home_or_nothing(pairs: dict[int, int], home: int) -> None:
    now = tuple(mapped(source, target) for source, target in pairs.items())
    replica = f"VMNetwork{pairs[home]}-Chicago" if home in pairs else None
    expected = f"VMNetwork{home}-NewYork" if home in pairs else None
    assert mapping.failback_network(f"VMNetwork{home}-NewYork", replica, now) == expected
