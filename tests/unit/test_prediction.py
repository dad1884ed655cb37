"""Where a card lands: each row is one rule of the catalogue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drill.core import bubble
from drill.core.prediction import choose_address, choose_subnet, predict_nics
from drill.model.network import Subnet, VmNetwork
from tests.paper import estate, primary


@pytest.mark.spec("J1.a", "J1.b")
@pytest.mark.parametrize(("most", "built"), [(4, 2), (2, 2), (1, 1), (0, 0)])
def test_a_machine_gets_as_many_cards_as_its_size_allows(most: int, built: int) -> None:
    known = estate(web_nics=most)
    nics = predict_nics(known.items["web"], primary("web"), known)
    assert [one.dropped for one in nics] == [False] * built + [True] * (2 - built)


@pytest.mark.spec("F2.a")
def test_a_card_without_a_mapping_is_connected_to_nothing() -> None:
    known = estate(mappings={})
    nics = predict_nics(known.items["db"], primary("db"), known)
    assert {(one.network, one.subnet, one.address, one.dropped) for one in nics} == {(None, None, None, False)}
    assert all("not mapped" in one.rule for one in nics)


NETWORK = VmNetwork(
    site="chicago",
    name="N",
    logical_network="L",
    subnets=(Subnet(name="b", cidr="10.0.2.0/24"), Subnet(name="a", cidr="10.0.1.0/24")),
)


@pytest.mark.spec("F5.a", "F5.b")
@pytest.mark.parametrize(("source", "chosen"), [("a", "a"), ("b", "b"), ("c", "b"), (None, "b")])
def test_the_subnet_of_the_same_name_is_taken_else_the_first_in_definition_order(
    source: str | None, chosen: str
) -> None:
    subnet, rule = choose_subnet(NETWORK, source)
    assert subnet is not None
    assert subnet.name == chosen
    assert rule.startswith("F5")


@pytest.mark.spec("J4.a")
@pytest.mark.parametrize(
    ("address", "mode", "kept"),
    [
        ("10.0.1.9", "static", "10.0.1.9"),
        ("10.0.1.9", "dhcp", "10.0.1.9"),
        ("10.0.7.9", "static", None),
        ("10.0.7.9", "dhcp", None),
        (None, "static", None),
    ],
)
def test_an_address_is_promised_only_where_the_target_subnet_holds_it(
    address: str | None, mode: str, kept: str | None
) -> None:
    assert choose_address(NETWORK.subnets[1], address, mode)[0] == kept


def test_a_leased_address_is_told_from_a_static_one_by_the_pool() -> None:
    known = estate()
    modes = [one.mode for one in predict_nics(known.items["db"], primary("db"), known)]
    assert modes == ["static", "dhcp"]


@pytest.mark.parametrize(
    "change",
    [{"dhcp": False}, {"pool": None}, {"pool": ("10.61.1.200", "10.61.1.210")}],
    ids=["no server", "no pool", "other pool"],
)
def test_an_address_outside_a_servers_pool_is_static(change: dict[str, Any]) -> None:
    known = estate()
    here, there = known.networks
    known = replace(known, networks=(replace(here, subnets=(replace(here.subnets[0], **change),)), there))
    assert {one.mode for one in predict_nics(known.items["db"], primary("db"), known)} == {"static"}


def test_the_bubble_has_the_subnets_of_the_target_network_and_reserves_leased_addresses() -> None:
    known = estate()
    nics = predict_nics(known.items["db"], primary("db"), known)
    made = bubble.networks("r1", known, [("chi1", nics)])
    assert [(one.host, one.network.copies) for one in made] == [("chi1", "Net1-Chicago")]
    assert [one.name for one in made[0].network.subnets] == ["spare", "web"]
    assert {one.mac: one.address for one in made[0].network.reservations} == {nics[1].mac: "10.61.1.101"}
    assert len(made[0].network.bridge) <= 15
    assert made != bubble.networks("r2", known, [("chi1", nics)])


def test_every_probe_has_a_control_on_the_production_side() -> None:
    known = estate()
    inmates = [
        bubble.Inmate(
            item=known.items[name],
            domain=f"{name}-test",
            nics=predict_nics(known.items[name], primary(name), known),
            primary_addresses=tuple(tuple(a.split("/")[0] for a in nic.addresses) for nic in primary(name).nics),
        )
        for name in ("db", "web")
    ]
    guests, hosts = bubble.probes(known, inmates)
    assert {one.target for one in guests} == {
        "10.61.1.1",
        "10.61.1.103",
    }  # the gateway, and web's card that is not built
    assert all((one.control_host, one.control_domain) == ("ny1", one.domain.removesuffix("-test")) for one in guests)
    assert all((one.host, one.control_host) == ("chi1", "ny1") for one in hosts)
    assert len(hosts) == 2
