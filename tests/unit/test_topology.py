"""Topologies: what follows from the order in the file, and what is refused, with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import BadInput, Usage
from drill.lab import dhcp, preflight, topology, wiring
from drill.lab.topology import Network

SITE = """name: {name}
sites:
  - name: new-york
    hosts: [{{name: ny1}}, {{name: ny2}}]
    networks:
      - name: VMNetwork1
        {network}
"""
WEB = "subnets: [{name: web, cidr: 10.61.1.0/24}]"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "lab.yaml"
    file.write_text(text, "utf-8")
    return file


def test_addresses_follow_from_the_order_of_sites_and_hosts() -> None:
    seats = topology.load("lab-two-site-two-hosts").seats()
    assert {seat.name: (seat.address, seat.link_address) for seat in seats} == {
        "ny1": ("10.77.1.11", "10.77.0.11"),
        "ny2": ("10.77.1.12", "10.77.0.12"),
        "chi1": ("10.77.2.11", "10.77.0.21"),
        "chi2": ("10.77.2.12", "10.77.0.22"),
    }


@pytest.mark.parametrize("name", topology.shipped())
def test_every_shipped_topology_loads_under_its_own_name(name: str) -> None:
    assert f"lab-{topology.load(name).name}" == name


def test_the_default_sites_share_their_addresses_and_order_their_subnets_differently() -> None:
    home, away = topology.load().sites
    assert [subnet.name for subnet in home.networks[0].subnets] == ["web"]
    assert [subnet.name for subnet in away.networks[0].subnets] == ["spare", "web"]
    assert home.networks[0].subnets[0].cidr == away.networks[0].subnets[1].cidr


def test_a_network_names_the_hosts_that_carry_it_or_all_do() -> None:
    clouds = {c.network.name: [s.name for s in c.seats] for c in topology.load("lab-one-site-two-clouds").carried()}
    both = {c.network.name: [s.name for s in c.seats] for c in topology.load("lab-two-site-two-hosts").carried()}
    assert (clouds["VMNetwork1"], clouds["VMNetwork1-Silver"]) == (["gold1"], ["silver1"])
    assert both["VMNetwork2-Chicago"] == ["chi1", "chi2"]


def test_another_name_replaces_the_file_s() -> None:
    assert topology.load(name="elsewhere").name == "elsewhere"


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z"))
def test_a_bridge_fits_an_interface_name(name: str) -> None:
    network = Network.model_validate({"name": name, "subnets": [{"name": "web", "cidr": "10.61.1.0/24"}]})
    assert re.fullmatch(r"vm-[a-z0-9-]{0,12}", network.bridge)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ("subnets: []", r"networks\.0\.subnets: Tuple should have at least 1 item"),
        ("subnets: [{name: web, cidr: 10.61.1.1/24}]", r"subnets\.0\.cidr: Input is not a valid IPv4 network$"),
        ("subnets: [{name: web, cidr: 10.77.9.0/24}]", "overlaps 10.77.0.0/16, which the lab uses"),
        ("subnets: [{name: web, cidr: 10.61.1.0/24, gateway: 10.61.2.1}]", "10.61.2.1 is not in 10.61.1.0/24"),
        ("subnets: [{name: web, cidr: 10.61.1.0/24, dhcp: true}]", "dhcp needs a pool and a gateway"),
        ("subnets: [{name: web, cidr: 10.61.1.0/24, nat: true}]", r"subnets\.0\.nat: Extra inputs are not permitted"),
        (
            "subnets: [{name: web, cidr: 10.61.1.0/24, pool: {first: 10.61.1.9, last: 10.61.1.8}}]",
            r"the pool ends \(10.61.1.8\) before it begins \(10.61.1.9\)",
        ),
        (
            "subnets: [{name: web, cidr: 10.61.0.0/16}, {name: data, cidr: 10.61.2.0/24}]",
            "subnets web and data overlap",
        ),
        (f"hosts: [ny9]\n        {WEB}", "network VMNetwork1 names host ny9, which site new-york does not have"),
    ],
)
def test_a_wrong_network_is_refused_with_its_place(tmp_path: Path, network: str, problem: str) -> None:
    file = written(tmp_path, SITE.format(name="wrong", network=network))
    with pytest.raises(BadInput, match=problem) as refused:
        topology.load(file)
    assert re.match(rf"{re.escape(str(file))}:\d+:\d+: sites\.0", str(refused.value))


@pytest.mark.parametrize("name", ["two site", "../up", "Two", "-x", "a" * 40])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="name: String should match pattern"):
        topology.load(written(tmp_path, SITE.format(name=f'"{name}"', network=WEB)))


@pytest.mark.parametrize("name", topology.RESERVED_NAMES)
def test_a_host_cannot_have_the_name_of_another_part_of_the_lab(tmp_path: Path, name: str) -> None:
    text = SITE.format(name="wrong", network=WEB).replace("ny2", name)
    with pytest.raises(BadInput, match=f"a host cannot be called {name}"):
        topology.load(written(tmp_path, text))


def test_a_host_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="host ny1 is there twice"):
        topology.load(written(tmp_path, SITE.format(name="wrong", network=WEB).replace("ny2", "ny1")))


def test_an_unknown_topology_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(Usage) as refused:
        topology.load("lab-nowhere")
    assert "lab-two-site" in refused.value.remedy


def test_a_mac_address_stays_one(tmp_path: Path) -> None:
    kept = "reservations: [{mac: 52:54:00:12:34:56, address: 10.61.1.9}]"
    text = SITE.format(name="kept", network=f"subnets: [{{name: web, cidr: 10.61.1.0/24, {kept}}}]")
    subnet = topology.load(written(tmp_path, text)).sites[0].networks[0].subnets[0]
    assert subnet.reservations[0].mac == "52:54:00:12:34:56"


def test_wires_that_are_there_are_not_made_again() -> None:
    lab = topology.load()
    pids = {"ny1": 11, "chi1": 21, "controller": 2}
    every = wiring.fabric_batch(lab, (), pids)
    made = {line.split()[2] for line in every if line.startswith("link add")}
    assert "link add s1h1 mtu 1600 type veth peer name site0 mtu 1600 netns 11" in every
    assert wiring.fabric_batch(lab, made, pids) == []
    assert wiring.fabric_batch(lab, made - {"l2h1"}, pids)[-1] == "link set l2h1 master between up"


def test_only_a_network_on_several_hosts_crosses_between_them() -> None:
    one, two = topology.load(), topology.load("lab-two-site-two-hosts")
    assert wiring.vxlan_ports(one, one.seats()[0]) == frozenset()
    assert wiring.vxlan_ports(two, two.seats()[0]) == {"vx-101", "vx-102"}
    assert wiring.vxlan_peers_batch(two, two.seats()[0], {"vx-101"}) == [
        "fdb append 00:00:00:00:00:00 dev vx-101 dst 10.77.1.12"
    ]


def test_the_gateway_is_owned_by_the_first_carrying_host_alone() -> None:
    lab = topology.load("lab-two-site-two-hosts")
    owners = [seat.name for seat in lab.seats() if any("10.61.2.1/24" in x for x in wiring.host_batch(lab, seat, ()))]
    assert owners == ["ny1", "chi1"]


def test_dhcp_is_served_where_it_is_declared_and_from_the_pool() -> None:
    lab = topology.load()
    (served,) = dhcp.served(lab, "chi1")
    argv = dhcp.argv(served.network, Path("/usr/sbin/dnsmasq"))
    assert served.network.name == "VMNetwork1-Chicago"
    assert [word for word in argv if word.startswith("--dhcp-range")] == [
        "--dhcp-range=set:web,10.61.1.100,10.61.1.150,255.255.255.0,1h"
    ]


@pytest.mark.parametrize(
    ("said", "version"),
    [("libvirtd (libvirt) 9.0.0\n", (9, 0)), ("libvirtd (libvirt) 10.10.1", (10, 10)), ("command not found", None)],
)
def test_the_version_of_libvirt_is_read(said: str, version: tuple[int, int] | None) -> None:
    assert preflight.libvirt_version(said) == version
