"""The definition of a bubble: isolated, and without an address of the subnets that it copies."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import Unsupported, Usage
from drill.hypervisor.network_xml import DNSMASQ, render, server_address
from drill.hypervisor.owner_xml import find_owner
from drill.hypervisor.safe_xml import read
from drill.model.machine import OwnerTag
from drill.model.network import BubbleNetwork, DhcpReservation, Subnet

OWNER = OwnerTag(vault="v1", run="r1")
parsed = partial(read, where="test")
STATIC = Subnet(name="data", cidr="10.61.2.0/24", gateway="10.61.2.1")
LEASED = Subnet(name="web", cidr="10.61.1.0/24", gateway="10.61.1.1", dhcp=True)
RESERVED = DhcpReservation(mac="52:54:00:61:01:13", address="10.61.1.13")


def bubble(*subnets: Subnet, bridge: str = "dr-1", reservations: tuple[DhcpReservation, ...] = ()) -> BubbleNetwork:
    return BubbleNetwork(name="dr-1", bridge=bridge, copies="VM", subnets=subnets, reservations=reservations)


def options(text: str) -> list[str]:
    return [element.attrib["value"] for element in parsed(text).iter(f"{{{DNSMASQ}}}option")]


def test_it_has_no_way_out_and_carries_its_owner() -> None:
    root = parsed(render(bubble(STATIC, LEASED), OWNER))
    assert root.find("forward") is None
    assert find_owner(root) == OWNER


def test_static_subnets_give_the_host_no_address_and_no_server() -> None:
    root = parsed(render(bubble(STATIC), OWNER))
    assert root.find("ip") is None
    assert root.find(f"{{{DNSMASQ}}}options") is None


def test_with_dhcp_the_host_has_a_link_local_address_and_none_of_the_subnet() -> None:
    address = parsed(render(bubble(STATIC, LEASED), OWNER)).findall("ip")
    assert [ip_address(element.attrib["address"]).is_link_local for element in address] == [True]


def test_only_reserved_cards_are_answered_and_get_the_gateway() -> None:
    found = options(render(bubble(STATIC, LEASED, reservations=(RESERVED,)), OWNER))
    assert found == [
        "no-ping",
        "shared-network=dr-1,10.61.1.0",
        "dhcp-range=set:s0,10.61.1.0,static,255.255.255.0",
        "dhcp-option=tag:s0,option:router,10.61.1.1",
        "dhcp-host=52:54:00:61:01:13,10.61.1.13",
    ]


@pytest.mark.parametrize("reservation", ["10.61.2.9", "192.0.2.1"])
def test_a_reservation_outside_the_dhcp_subnets_is_refused(reservation: str) -> None:
    stray = DhcpReservation(mac="52:54:00:00:00:01", address=reservation)
    with pytest.raises(Usage, match=reservation):
        render(bubble(STATIC, LEASED, reservations=(stray,)), OWNER)


@pytest.mark.parametrize("bridge", ["", "a-bridge-name-of-17"])
def test_a_bridge_name_that_the_kernel_cannot_take_is_refused(bridge: str) -> None:
    with pytest.raises(Usage, match="15 bytes"):
        render(bubble(STATIC, bridge=bridge), OWNER)


def test_dhcp_for_ipv6_is_unsupported_and_says_so() -> None:
    with pytest.raises(Unsupported, match="IPv6"):
        render(bubble(Subnet(name="six", cidr="fd00:61::/64", dhcp=True)), OWNER)


@given(bridge=st.text(min_size=1, max_size=15))
def test_the_servers_address_lies_in_link_local_space_and_below_the_metadata_service(bridge: str) -> None:
    server = ip_address(server_address(bridge))
    assert server in ip_network("169.254.0.0/16")
    assert 1 <= server.packed[2] <= 168
