"""Prerequisites: each finding names the object and the remedy (spec A)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core import prerequisites
from drill.model.estate import Estate
from drill.model.server import HostGroup, ServerNode, Versions
from tests.new_york import GOLD, TESTED, estate, host, mended, told, with_region


def with_servers(known: Estate, *sites: str) -> Estate:
    """Servers at those sites; the clouds go to the first of a site, the rest to the last server."""
    first = next(iter(known.servers.values()))
    servers = {
        f"s{n}": replace(first, name=f"s{n}", site=site, clouds=tuple(known.clouds)) for n, site in enumerate(sites)
    }
    return replace(known, servers=servers)


@pytest.mark.spec("A1.a")
@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ((), ["A1 estate v"]),
        (("NewYork", "Chicago"), []),
        (("NewYork", "NewYork"), ["A1 server s1"]),
        (("NewYork", "Chicago", "Boston"), ["A1 estate v"]),
    ],
)
def test_an_estate_has_one_server_or_two_at_two_sites(sites: tuple[str, ...], expected: list[str]) -> None:
    found = prerequisites.topology(with_servers(estate(), *sites))
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("A1.b")
def test_a_lone_server_is_advised_against_and_not_refused() -> None:
    (found,) = prerequisites.topology(with_servers(estate(), "NewYork"))
    assert told((found,)) == ["advice: A1 server s0"]
    assert "other site" in found.remedy


@pytest.mark.spec("A2.a", "A2.b")
@pytest.mark.parametrize(("sites", "clouds", "refused"), [(1, 2, 0), (1, 1, 1), (1, 0, 1), (2, 1, 0), (2, 0, 2)])
def test_a_lone_server_has_two_clouds_and_each_of_two_has_one(sites: int, clouds: int, refused: int) -> None:
    known = with_servers(estate(), *["NewYork", "Chicago"][:sites])
    known = replace(
        known,
        servers={name: replace(one, clouds=tuple(known.clouds)[:clouds]) for name, one in known.servers.items()},
    )
    found = [one for one in prerequisites.topology(known) if one.rule == "A2"]
    assert len(found) == refused
    assert mended(tuple(found))


def test_a_lone_server_that_replicates_to_a_region_needs_one_cloud() -> None:
    known = with_region(with_servers(estate(), "NewYork"))
    known = replace(known, servers={"s0": replace(known.servers["s0"], clouds=("GoldCloud1",))})
    assert told(prerequisites.topology(known)) == ["advice: A1 server s0"]


@pytest.mark.spec("A3.a", "A4.a")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"host_groups": ()}, ["A3 cloud GoldCloud1"]),
        ({"capability_profile": ""}, ["A4 cloud GoldCloud1"]),
        ({"capability_profile": "hyper-v"}, ["A4 cloud GoldCloud1"]),
    ],
)
def test_a_cloud_has_a_host_group_and_the_capability_profile(change: dict[str, str], expected: list[str]) -> None:
    known = estate()
    known.clouds["GoldCloud1"] = replace(known.clouds["GoldCloud1"], **change)  # type: ignore[arg-type]
    found = prerequisites.topology(known)
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("A5.a", "A5.b")
def test_both_clouds_of_a_pair_have_a_host_and_the_source_has_a_machine() -> None:
    known = estate()
    del known.hosts["host-GoldCloud2"]
    found = prerequisites.members(known, {"host-GoldCloud1": 3, "host-SilverCloud2": 9})
    assert told(found) == ["A5 cloud GoldCloud2", "A5 cloud SilverCloud1"]
    assert mended(found)
    del known.hosts["host-SilverCloud1"]
    found = prerequisites.members(known, {"host-GoldCloud1": 3})
    assert [one.problem for one in found] == ["it has no host"] * 2, "where there is no host no machine is missed"
    assert prerequisites.members(with_region(estate()), {"host-GoldCloud1": 1}) == ()


@pytest.mark.spec("A6.a")
def test_a_machine_whose_host_is_in_no_cloud_is_not_protected() -> None:
    known = estate()
    assert prerequisites.in_a_cloud(known, "VM1", "host-GoldCloud1") == ()
    known.hosts["stray"] = host("stray", "NewYork", "")
    for name in ("stray", "unheard of"):
        (found,) = prerequisites.in_a_cloud(known, "VM1", name)
        assert told((found,)) == ["A6 machine VM1"]
        assert name in found.problem


@pytest.mark.spec("A7.a")
@pytest.mark.parametrize(
    ("seen", "amiss"),
    [
        (TESTED, []),
        (replace(TESTED, qemu="9.1.0"), ["qemu is 9.1.0"]),
        (replace(TESTED, libvirt="9.1.0", kernel=""), ["kernel is of an unknown version", "libvirt is 9.1.0"]),
        (Versions(), ["agent", "kernel", "libvirt", "qemu"]),
    ],
)
def test_versions_that_were_not_tested_are_named(seen: Versions, amiss: list[str]) -> None:
    found = prerequisites.versions("ny1", seen)
    assert [one.problem.startswith(start) for one, start in zip(found, amiss, strict=True)] == [True] * len(amiss)
    assert mended(found)


@pytest.mark.spec("A8.a")
@pytest.mark.parametrize(
    ("group", "flagged"),
    [
        ({"clustered": True, "static_addressing": True}, True),
        ({"clustered": True, "static_addressing": True, "replica_broker": "broker"}, False),
        ({"clustered": True}, False),
        ({"static_addressing": True}, False),
    ],
)
def test_a_clustered_group_with_static_addresses_needs_its_broker(group: dict[str, bool], flagged: bool) -> None:
    known = estate()
    known.host_groups["GoldCloud2/all"] = HostGroup(name="all", cloud="GoldCloud2", **group)  # type: ignore[arg-type]
    found = prerequisites.topology(known)
    assert told(found) == ["A8 host group GoldCloud2/all"] * flagged
    assert all("replica_broker" in one.remedy for one in found)


@pytest.mark.spec("A10.a")
@pytest.mark.parametrize(
    ("attached", "refused"),
    [
        (["VMNetwork1-NewYork"], False),
        ([None, "VMNetwork2-NewYork"], False),
        ([None], True),
        ([], True),
        (["unheard of"], True),
    ],
)
def test_a_machine_has_a_card_on_a_network_of_its_cloud(attached: list[str | None], refused: bool) -> None:
    known = estate()
    assert told(prerequisites.networks(known, known.items["VM1"], attached)) == ["A10 machine VM1"] * refused
    known.clouds["GoldCloud1"] = replace(known.clouds["GoldCloud1"], logical_networks=())
    found = prerequisites.networks(known, known.items["VM1"], attached)
    assert told(found) == ["A10 machine VM1"]
    assert mended(found)


@pytest.mark.spec("A10.b")
def test_a_target_without_a_vm_network_is_named() -> None:
    known = estate()
    known.clouds["GoldCloud2"] = replace(known.clouds["GoldCloud2"], logical_networks=("other",))
    assert told(prerequisites.networks(known, known.items["VM1"], ["VMNetwork1-NewYork"])) == ["A10 cloud GoldCloud2"]
    known = with_region(estate())
    assert prerequisites.networks(known, known.items["VM1"], ["VMNetwork1-NewYork"]) == ()
    known = replace(known, networks=known.networks[:-1])
    assert told(prerequisites.networks(known, known.items["VM1"], ["VMNetwork1-NewYork"])) == ["A10 region north"]


@pytest.mark.spec("A11.b")
def test_a_host_that_sends_to_a_region_has_a_cache_folder_and_the_packages() -> None:
    needed = {"agent", "blob"}
    assert prerequisites.region_host("h", cache_folder="/cache", needed=needed, installed={"agent", "blob"}) == ()
    found = prerequisites.region_host("h", cache_folder="", needed=needed, installed={"agent"})
    assert [one.problem for one in found] == ["no cache folder is chosen", "blob is not installed"]
    assert mended(found)


@pytest.mark.spec("A12.a")
def test_hosts_of_two_versions_under_one_policy_are_refused_with_their_versions() -> None:
    known = estate()
    assert prerequisites.one_version(known) == ()
    known.hosts["host-GoldCloud2"] = replace(known.hosts["host-GoldCloud2"], versions=Versions(qemu="8.0.1"))
    (found,) = prerequisites.one_version(known)
    assert told((found,)) == ["A12 policy gold"]
    assert "host-GoldCloud1 7.2, host-GoldCloud2 8.0" in found.problem


@pytest.mark.spec("A12.b")
def test_a_mixed_cloud_is_accepted_with_a_policy_for_each_version() -> None:
    known = estate()
    known.hosts["host-GoldCloud2"] = replace(known.hosts["host-GoldCloud2"], versions=Versions(qemu="8.0.1"))
    old, new = replace(GOLD, host_version="7.2"), replace(GOLD, name="gold-8", host_version="8.0")
    known.pairs["Gold"] = replace(known.pairs["Gold"], policies=(old, new))
    assert prerequisites.one_version(known) == ()
    known.pairs["Gold"] = replace(known.pairs["Gold"], policies=(), policy=old)
    (found,) = prerequisites.one_version(known)
    assert told((found,)) == ["A12 host host-GoldCloud2"]


@pytest.mark.spec("A14.a", "A14.b")
@pytest.mark.parametrize(
    ("own", "seen", "missing"),
    [
        (("", ""), ("", ""), ["os_type", "os_disk"]),
        (("linux", ""), ("", ""), ["os_disk"]),
        (("linux", "vda"), ("", ""), []),
        (("", ""), ("linux", "vda"), []),
    ],
)
def test_kind_of_system_and_its_disk_come_from_the_hypervisor_or_our_own_properties(
    own: tuple[str, str], seen: tuple[str, str], missing: list[str]
) -> None:
    item = replace(estate().items["VM1"], os_type=own[0], os_disk=own[1])
    found = prerequisites.operating_system(item, seen_type=seen[0], seen_disk=seen[1])
    assert [one.remedy for one in found] == [f"set {key} of the item" for key in missing]
    assert mended(found)


@pytest.mark.spec("O1.a")
def test_a_server_that_is_a_machine_stands_outside_the_protected_clouds() -> None:
    known = estate()
    server = known.servers["server-NewYork"]
    known.servers["server-NewYork"] = replace(server, virtual_machine="controller-vm")
    assert prerequisites.topology(known) == ()
    known.servers["server-NewYork"] = replace(server, virtual_machine="VM1")
    found = prerequisites.topology(known)
    assert told(found) == ["O1 server server-NewYork"]
    assert mended(found)


@pytest.mark.spec("O3.a")
def test_every_node_of_a_stretched_cluster_is_registered() -> None:
    server = replace(estate().servers["server-NewYork"], nodes=(ServerNode(name="n1"), ServerNode(name="n2")))
    assert prerequisites.nodes(server, {"n1", "n2"}) == ()
    found = prerequisites.nodes(server, {"n1"})
    assert told(found) == ["O3 server node n2"]
    assert mended(found)
