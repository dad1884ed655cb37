"""Where a card lands: each row is one rule of the catalogue."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from drill.core import bubble
from drill.core.capacity import Observed
from drill.core.landing import global_addresses
from drill.core.prediction import (
    Ground,
    Measured,
    PlanPredicted,
    as_declared,
    observed,
    predict_nics,
    predict_plan,
    starting_seconds,
    undeclared,
)
from drill.model.bandwidth import Bandwidth
from drill.model.command import PrimarySeen
from drill.model.estate import Estate
from drill.model.fact import StepEnded
from drill.model.network import Subnet, VmNetwork
from drill.model.point import CycleRecord, ItemState, ItemStatus
from drill.model.server import Size
from drill.model.target import ItemNic, Target, TargetNic
from tests import new_york
from tests.new_york import GIB, told
from tests.paper import estate, point, primary
from tests.runs import passing


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


@pytest.mark.spec("L3.b")
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


def foretold(known: Estate, plan: str = "all", measured: Measured | None = None) -> PlanPredicted:
    """The plan of New York as it is declared."""
    made = known.plans[plan]
    seen = {name: as_declared(known.items[name], 7) for group in made.groups for name in group}
    return predict_plan(made, known, seen, Ground.of(known), measured)


def changed(known: Estate, machine: str, **fields: Any) -> Estate:
    return replace(known, items={**known.items, machine: replace(known.items[machine], **fields)})


def with_pool(known: Estate, *pool: str, **fields: Any) -> Estate:
    """New York, where VMNetwork1-Chicago has subnets of both families, the first with that pool."""
    web = Subnet(
        name="web", cidr="10.1.0.0/24", gateway="10.1.0.1", pool=(pool[0], pool[1]) if pool else None, **fields
    )
    six = Subnet(name="six", cidr="fd01::/64", pool=("fd01::a", "fd01::f"))
    here = VmNetwork(site="NewYork", name="VMNetwork1-NewYork", logical_network="L", subnets=(web, six))
    there = VmNetwork(site="Chicago", name="VMNetwork1-Chicago", logical_network="L", subnets=(six, web))
    others = tuple(one for one in known.networks if "VMNetwork1" not in one.name)
    return replace(known, networks=(here, there, *others))


@pytest.mark.spec("F7.a")
def test_machines_of_the_mapped_network_land_on_its_partner_and_those_of_the_other_nowhere() -> None:
    known = changed(new_york.estate(), "VM2", nics=(ItemNic(network="VMNetwork2-NewYork"),))
    cards = {one.vm: one.nics[0] for one in foretold(known).machines}
    assert cards["VM1"].network == "VMNetwork1-Chicago"
    assert (cards["VM2"].network, cards["VM2"].subnet, cards["VM2"].address) == (None, None, None)
    assert "VMNetwork2-NewYork is not mapped" in cards["VM2"].rule


@pytest.mark.spec("S6.a")
def test_a_plan_is_foretold_whole() -> None:
    known = with_pool(new_york.estate())
    known.hosts["host-GoldCloud2"] = replace(known.hosts["host-GoldCloud2"], memory_mib=4096, vcpus=5)
    found = foretold(known)
    assert [(one.vm, one.group, one.host, one.memory_mib, one.vcpus) for one in found.machines] == [
        (f"VM{n}", 1 if n < 3 else 2, "host-GoldCloud2", 1024, 1) for n in range(1, 6)
    ]
    assert [one.nics[0].address for one in found.machines] == [f"10.1.0.1{n}" for n in range(1, 6)]
    assert [one.disks[0].location for one in found.machines] == [
        "TargetShare1", "TargetShare1", "TargetVolume2", "TargetVolume2", "default",
    ]  # fmt: skip
    assert [one.rto_seconds for one in found.machines] == [30, 30, 60, 60, 60]
    assert (found.rpo_seconds, found.rto_seconds) == (30, 60)
    assert told(found.findings) == ["S6 host host-GoldCloud2"], "the fifth machine finds no memory left"
    assert found.machines[4].findings == found.findings


def test_times_are_estimated_from_what_was_measured() -> None:
    known = new_york.estate()
    before = Observed(machine="VM1", size_bytes=GIB, held_bytes=0, interval_seconds=30, sent_bytes=(24 << 20,))
    slow = replace(known.items["VM1"].pair.policy, bandwidth=Bandwidth(bytes_per_second=1 << 20, windows=()))
    pair = replace(known.items["VM1"].pair, policy=slow)
    measured = Measured(replication={"VM1": before, "VM2": before}, starting_seconds={"VM2": 100.0})
    found = foretold(changed(known, "VM1", pair=pair), measured=measured)
    assert [one.rpo_seconds for one in found.machines] == [60, 30, 30, 30, 30]
    assert [one.rto_seconds for one in found.machines] == [30, 100, 130, 130, 130]
    assert (found.rpo_seconds, found.rto_seconds) == (60, 130)


@pytest.mark.spec("J1.a", "J3.b")
def test_a_size_bounds_cards_memory_and_processors() -> None:
    cards = (ItemNic(network="VMNetwork1-NewYork"), ItemNic(network="VMNetwork1-NewYork"))
    size = Size(name="small", max_nics=1, max_vcpus=1, max_memory_mib=512)
    known = changed(new_york.estate(), "VM1", nics=cards, size=size, vcpus=4)
    found = foretold(known).machines[0]
    assert ([one.dropped for one in found.nics], found.memory_mib, found.vcpus) == ([False, True], 512, 1)
    chosen = Target(nics=(TargetNic(source=1, chosen=True),))
    found = foretold(changed(known, "VM1", target=chosen)).machines[0]
    assert [one.dropped for one in found.nics] == [True, False]
    assert found.nics[0].rule.startswith("J1: size small")


@pytest.mark.spec("J3.a", "J3.b", "J4.a")
@pytest.mark.parametrize(
    ("nic", "network", "subnet", "address", "rule"),
    [
        ({"network": ""}, None, None, None, "J3: connected to nothing by the operator"),
        ({"network": "VMNetwork2-Chicago"}, "VMNetwork2-Chicago", "web", None, "J3: connected to VMNetwork2-Chicago"),
        ({"subnet": "six"}, "VMNetwork1-Chicago", "six", "fd01::a", "J3: subnet six was set by the operator"),
        ({"addresses": ("10.1.0.77",)}, "VMNetwork1-Chicago", "web", "10.1.0.77", "J4: set by the operator"),
    ],
)
def test_what_the_operator_set_for_a_card_comes_first(
    nic: dict[str, Any], network: str | None, subnet: str | None, address: str | None, rule: str
) -> None:
    known = with_pool(new_york.estate())
    known = changed(known, "VM1", target=Target(nics=(TargetNic(source=0, **nic),)))
    found = foretold(known).machines[0].nics[0]
    assert (found.network, found.subnet, found.address) == (network, subnet, address)
    assert rule in found.rule


def test_a_subnet_that_the_target_does_not_have_is_named() -> None:
    known = changed(with_pool(new_york.estate()), "VM1", target=Target(nics=(TargetNic(source=0, subnet="dmz"),)))
    found = foretold(known)
    assert told(found.findings) == ["J3 machine VM1"]
    assert "choose one of six, web" in found.findings[0].remedy


@pytest.mark.spec("F5.c")
def test_the_first_subnet_follows_the_mappings_option() -> None:
    known = new_york.estate()
    names = tuple(Subnet(name=name, cidr=f"10.1.{n}.0/24") for n, name in enumerate(("b", "a"), 5))
    there = VmNetwork(site="Chicago", name="VMNetwork1-Chicago", logical_network="L", subnets=names)
    known = replace(known, networks=(known.networks[0], there))
    for first, subnet in (("definition", "b"), ("alphabetical", "a")):
        known = replace(known, network_mappings=(new_york.mapping(1, 1, first_subnet=first),))
        assert foretold(known).machines[0].nics[0].subnet == subnet


def test_every_address_of_a_card_gets_one_of_its_family() -> None:
    card = ItemNic(network="VMNetwork1-NewYork", addresses=("10.1.0.11/24", "fd01::b/64", "10.1.0.12/24"))
    known = changed(with_pool(new_york.estate(), "10.1.0.20", "10.1.0.30"), "VM1", nics=(card,))
    found = foretold(known)
    assert (found.machines[0].nics[0].address, found.machines[0].nics[0].others) == (
        "10.1.0.11", ("fd01::b", "10.1.0.12"),
    )  # fmt: skip
    assert found.machines[1].nics[0].address == "10.1.0.20", "VM1 has the address that VM2 would have kept"
    card = replace(card, addresses=("fd01::b/64",))
    known = changed(new_york.estate(), "VM1", nics=(card,))
    found = foretold(known)
    assert (found.machines[0].nics[0].subnet, found.machines[0].nics[0].address) == (None, None)


@pytest.mark.spec("J4.c", "J6.e")
def test_an_address_in_use_and_an_exhausted_pool_are_found_before_anything_moves() -> None:
    known = with_pool(new_york.estate())
    wanted = Target(nics=(TargetNic(source=0, addresses=("10.1.0.12",)),))
    stranger = replace(
        known.items["VM5"], name="stranger", target=Target(nics=(TargetNic(source=0, addresses=("10.1.0.14",)),))
    )
    known = changed(changed(known, "VM1", target=wanted), "VM2", target=wanted)
    known = replace(known, items={**known.items, "stranger": stranger})
    found = foretold(known)
    assert [(one.name, one.problem) for one in found.findings] == [
        ("VM2", "address 10.1.0.12 of card 0 is used by VM1"),
        ("VM4", "address 10.1.0.14 of card 0 is used by stranger, and web has no pool"),
    ]


def test_addresses_seen_at_the_target_are_not_given_out() -> None:
    known = with_pool(new_york.estate(), "10.1.0.20", "10.1.0.30")
    held = {("Chicago", "VMNetwork1-Chicago"): {"10.1.0.11/24": "printer"}}
    plan = known.plans["all"]
    seen = {name: as_declared(known.items[name], 7) for group in plan.groups for name in group}
    found = predict_plan(plan, known, seen, Ground.of(known, held))
    assert found.machines[0].nics[0].address == "10.1.0.20"


def test_a_card_declared_as_dhcp_is_left_alone() -> None:
    card = ItemNic(network="VMNetwork1-NewYork", mode="dhcp", addresses=("10.1.0.11/24",))
    known = changed(new_york.estate(), "VM1", nics=(card,))
    found = foretold(known).machines[0].nics[0]
    assert (found.mode, found.address) == ("dhcp", "10.1.0.11")
    assert foretold(with_pool(known)).machines[0].nics[0].address == "10.1.0.11"


def test_in_a_region_disks_lie_in_the_pairs_store_and_no_host_is_named() -> None:
    known = new_york.with_region(new_york.estate())
    known = replace(known, plans={"all": replace(known.plans["all"], target="north")})
    found = foretold(known)
    assert {one.host for one in found.machines} == {""}
    assert {disk.location for one in found.machines for disk in one.disks} == {"store1"}
    assert found.findings == ()


def test_what_a_host_lacks_is_found() -> None:
    known = new_york.estate()
    known.hosts["host-GoldCloud2"] = replace(known.hosts["host-GoldCloud2"], vm_networks=())
    assert set(told(foretold(known).findings)) == {"F3 host host-GoldCloud2"}


def test_a_machine_is_declared_when_cards_disks_memory_and_processors_are() -> None:
    item = new_york.estate().items["VM1"]
    assert undeclared(item) == ()
    for fields in ({"nics": ()}, {"disks": ()}, {"memory_mib": 0}, {"vcpus": 0}):
        (found,) = undeclared(replace(item, **fields))
        assert told((found,)) == ["advice: S6 machine VM1"]
        assert next(iter(fields)) in found.problem
    seen: PrimarySeen = as_declared(replace(item, nics=(ItemNic(mac="52:54:00:00:00:01", network=None), ItemNic())), 7)
    assert [one.mac for one in seen.nics] == ["52:54:00:00:00:01", "card 1"]


def test_addresses_of_the_link_and_of_the_loop_are_not_global() -> None:
    assert global_addresses(("fe80::1/64", "127.0.0.1/8", "10.0.0.1/24", "fd00::1/64")) == ("10.0.0.1", "fd00::1")


def test_a_hundred_machines_of_a_thousand_are_foretold_in_time() -> None:
    """Issue: 2 s for a plan of 100 machines in an estate of 1,000; here the decision alone, ten times faster."""
    known = new_york.estate()
    one = known.items["VM1"]
    items = {f"m{n}": replace(one, name=f"m{n}", nics=(replace(one.nics[0], addresses=()),)) for n in range(1000)}
    groups = tuple(tuple(f"m{n}" for n in range(start, start + 20)) for start in range(0, 100, 20))
    known = replace(known, items=items, plans={"all": replace(known.plans["all"], groups=groups)})
    began = time.process_time()
    found = foretold(known)
    assert len(found.machines) == 100
    assert time.process_time() - began < 2


def test_what_cycles_took_is_learnt_from_those_that_were_not_full() -> None:
    known = new_york.estate()

    def cycle(sent: int, *, full: bool) -> CycleRecord:
        return CycleRecord(
            sequence=1, full=full, started_us=0, begin_seconds=0.1, transfer_seconds=0.2, total_seconds=sent / 10,
            dirty_bytes=sent, zero_bytes=0, sent_bytes=sent,
        )  # fmt: skip

    status = ItemStatus(
        item="i", domain="VM1", state=ItemState.REPLICATING, epoch="e", acknowledged_sequence=2, last_error="",
        last_point=point("db"), cycles=(cycle(900, full=True), cycle(20, full=False)),
    )  # fmt: skip
    found = observed(known.items["VM1"], status)
    assert (found.sent_bytes, found.took_seconds, found.interval_seconds) == ((20,), (2.0,), 30)
    assert found.size_bytes == 2 << 20
    assert observed(known.items["VM1"], replace(status, last_point=None)).size_bytes == 0


def test_how_long_machines_took_is_learnt_from_an_earlier_drill() -> None:
    found = starting_seconds(passing())
    assert set(found) == {"db", "app", "web"}
    assert all(0 < seconds < 60 for seconds in found.values())
    assert starting_seconds(one for one in passing() if not isinstance(one, StepEnded)) == {}
