"""Addresses at the target: kept, next free, last free, left alone, refused (spec J4, J6)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core.addresses import Card, Taken, allocate
from drill.model.network import Subnet

WEB = Subnet(name="web", cidr="10.0.0.0/24", gateway="10.0.0.1", pool=("10.0.0.10", "10.0.0.13"))
OTHER = Subnet(name="dmz", cidr="10.9.0.0/29", gateway="10.9.0.1", pool=("10.9.0.2", "10.9.0.4"))
SIX = Subnet(name="six", cidr="fd00::/64", gateway="fd00::1", pool=("fd00::10", "fd00::11"))
CARD = Card(machine="VM1", index=0)


def taken(**holders: str) -> Taken:
    """`VM2="10.0.0.10 10.0.0.11"`."""
    made = Taken()
    for holder, addresses in holders.items():
        for one in addresses.split():
            made.hold(one, holder)
    return made


@pytest.mark.spec("J4.a")
def test_a_static_card_may_be_given_an_address_and_otherwise_keeps_its_own() -> None:
    given = allocate(CARD, "10.0.0.50", source=WEB, target=WEB, taken=Taken(), wanted="10.0.0.60")
    assert given.address == "10.0.0.60"
    for source, address in ((WEB, "10.0.0.50"), (OTHER, "10.0.0.11"), (None, "10.0.0.11")):
        kept = allocate(CARD, address, source=source, target=WEB, taken=Taken())
        assert (kept.address, kept.rule) == (address, "J4: static address kept")
    poolless = replace(WEB, pool=None)
    assert (
        allocate(CARD, "10.0.0.11", source=poolless, target=poolless, taken=Taken()).rule == "J4: static address kept"
    )


@pytest.mark.spec("J4.b")
def test_an_address_that_does_not_fit_gives_way_to_any_free_one() -> None:
    found = allocate(CARD, "10.0.0.50", source=WEB, target=OTHER, taken=taken(VM2="10.9.0.2/29"))
    assert (found.address, found.finding) == ("10.9.0.3", None)


@pytest.mark.spec("J4.c")
@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("10.0.0.60", "is used by VM2"),
        ("10.0.0.1", "is used by the gateway of web"),
        ("10.0.0.77", "is used by the reservation of web"),
        ("10.9.0.2", "does not lie in web 10.0.0.0/24"),
        ("fd00::5", "does not lie in web"),
    ],
)
def test_a_wanted_address_that_cannot_be_is_refused_with_its_holder(wanted: str, says: str) -> None:
    subnet = replace(WEB, reserved=("10.0.0.77",))
    found = allocate(CARD, "10.0.0.50", source=WEB, target=subnet, taken=taken(VM2="10.0.0.60"), wanted=wanted)
    assert found.address is None
    assert found.finding is not None
    assert (found.finding.rule, found.finding.name) == ("J4", "VM1")
    assert says in found.finding.problem
    assert found.finding.remedy.startswith("set a")


def test_what_a_machine_already_holds_is_free_for_itself() -> None:
    assert allocate(CARD, None, source=None, target=WEB, taken=taken(VM1="10.0.0.60"), wanted="10.0.0.60").address


@pytest.mark.spec("J6.a", "J6.b")
@pytest.mark.parametrize(
    ("held", "expected", "rule"),
    [
        ("", "10.0.0.11", "the pools are equal, kept"),
        ("10.0.0.11", "10.0.0.12", "the next free"),
        ("10.0.0.11 10.0.0.12 10.0.0.13", "10.0.0.10", "the next free"),
    ],
)
def test_with_equal_pools_the_same_address_if_free_else_the_next(held: str, expected: str, rule: str) -> None:
    found = allocate(CARD, "10.0.0.11", source=WEB, target=WEB, taken=taken(VM2=held))
    assert found.address == expected
    assert rule in found.rule


@pytest.mark.spec("J6.c")
@pytest.mark.parametrize(
    ("subnet", "held", "expected"),
    [
        (WEB, "", "10.0.0.13"),
        (WEB, "10.0.0.13 10.0.0.12", "10.0.0.11"),
        (replace(WEB, pool=None), "", "10.0.0.254"),
        (Subnet(name="tiny", cidr="10.3.0.0/30", gateway="10.3.0.2"), "", "10.3.0.1"),
        (Subnet(name="one", cidr="10.3.0.7/32"), "", "10.3.0.7"),
        (SIX, "fd00::11", "fd00::10"),
        (replace(SIX, pool=None), "", "fd00::ffff:ffff:ffff:fffe"),
    ],
)
def test_in_the_failover_network_itself_the_last_free_address_is_taken(
    subnet: Subnet, held: str, expected: str
) -> None:
    found = allocate(CARD, "10.0.0.11", source=WEB, target=subnet, taken=taken(VM2=held), is_failover_network=True)
    assert found.address == expected


@pytest.mark.spec("J6.d")
def test_dhcp_is_left_alone() -> None:
    card, holders = replace(CARD, is_dhcp=True), taken(VM2="10.0.0.11")
    assert allocate(card, "10.0.0.11", source=WEB, target=WEB, taken=holders).address == "10.0.0.11"
    assert allocate(card, "10.0.0.11", source=WEB, target=OTHER, taken=holders).address is None
    assert allocate(card, None, source=WEB, target=WEB, taken=holders).address is None
    assert list(holders.holders.values()) == ["VM2"], "nothing was allocated"


@pytest.mark.spec("J6.e")
@pytest.mark.parametrize(
    ("target", "held", "says", "remedy"),
    [
        (replace(OTHER, pool=None), "", "does not lie in 10.9.0.0/29, and dmz has no pool", "give subnet dmz a pool"),
        (replace(WEB, pool=None), "10.0.0.11", "is used by VM2, and web has no pool", "give subnet web a pool"),
        (OTHER, "10.9.0.2 10.9.0.3 10.9.0.4", "dmz has no free address", "widen the pool of dmz"),
    ],
)
def test_a_pool_that_is_missing_or_exhausted_is_named_with_the_remedy(
    target: Subnet, held: str, says: str, remedy: str
) -> None:
    found = allocate(CARD, "10.0.0.11", source=WEB, target=target, taken=taken(VM2=held))
    assert found.address is None
    assert found.finding is not None
    assert says in found.finding.problem
    assert remedy in found.finding.remedy


def test_without_a_known_address_none_is_promised() -> None:
    found = allocate(CARD, None, source=None, target=WEB, taken=Taken())
    assert (found.address, found.finding) == (None, None)


ADDRESSES = st.integers(int(ip_address("10.0.0.2")), int(ip_address("10.0.0.30"))).map(lambda one: str(ip_address(one)))


@given(
    cards=st.lists(st.tuples(ADDRESSES, st.booleans()), max_size=8),
    held=st.sets(ADDRESSES),
    reserved=st.sets(ADDRESSES),
)
def test_no_address_is_given_twice_or_taken_from_its_holder(
    cards: list[tuple[str, bool]], held: set[str], reserved: set[str]
) -> None:
    subnet = replace(WEB, reserved=tuple(sorted(reserved)))
    holders = taken(somebody=" ".join(sorted(held)))
    given = [
        allocate(
            Card(machine=f"VM{number}", index=0), address, source=WEB, target=subnet, taken=holders,
            is_failover_network=is_failover_network,
        )
        for number, (address, is_failover_network) in enumerate(cards)
    ]  # fmt: skip
    addresses = [one.address for one in given if one.address]
    assert len(addresses) == len(set(addresses))
    assert not set(addresses) & (held | reserved | {"10.0.0.1"})
    assert all(subnet.holds(one) for one in addresses)
    assert all((one.address is None) is (one.finding is not None) for one in given)


@pytest.mark.parametrize(
    ("cidr", "held", "expected"),
    [
        ("10.3.0.0/32", "", "10.3.0.0"),
        ("10.3.0.0/31", "", "10.3.0.1"),
        ("10.3.0.0/30", "", "10.3.0.2"),
        ("10.3.0.0/30", "10.3.0.2", "10.3.0.1"),
        ("10.3.0.0/30", "10.3.0.1 10.3.0.2", None),
    ],
)
def test_without_a_pool_a_subnet_gives_all_but_its_two_ends(cidr: str, held: str, expected: str | None) -> None:
    subnet = Subnet(name="tiny", cidr=cidr)
    found = allocate(CARD, None, source=None, target=subnet, taken=taken(VM2=held), is_failover_network=True)
    assert found.address == expected


def test_of_a_vast_network_so_many_addresses_are_tried_from_the_end_and_no_more() -> None:
    held = taken(VM2=" ".join(str(ip_address("fd00::ffff:ffff:ffff:fffe") - step) for step in range(3)))
    subnet = replace(SIX, pool=None)
    found = allocate(CARD, None, source=None, target=subnet, taken=held, is_failover_network=True)
    assert found.address == "fd00::ffff:ffff:ffff:fffb"
