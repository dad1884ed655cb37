"""Which host a replica goes to (spec F3, G3, A12, S6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import placement
from drill.core.placement import Needs, Room
from drill.model.estate import Estate
from drill.model.server import Versions
from drill.model.target import Target
from tests.new_york import estate, host, mended, told

MAPPED = "VMNetwork1-Chicago"


def with_hosts(**fields: dict[str, object]) -> Estate:
    """New York and Chicago, GoldCloud2 with those hosts instead of its own."""
    known = estate()
    del known.hosts["host-GoldCloud2"]
    for name, some in fields.items():
        known.hosts[name] = replace(host(name, "Chicago", "GoldCloud2"), **some)  # type: ignore[arg-type]
    return known


def needs(known: Estate, **fields: object) -> Needs:
    return Needs(item=known.items["VM1"], **fields)  # type: ignore[arg-type]


@pytest.mark.spec("F3.a")
def test_a_replica_goes_to_a_host_that_carries_its_networks() -> None:
    known = with_hosts(c1={"vm_networks": ()}, c2={"vm_networks": (MAPPED,)}, c3={"vm_networks": None})
    chosen, found = placement.choose(known, needs(known, networks=(MAPPED, MAPPED)), Room())
    assert (chosen and chosen.name, found) == ("c2", ())
    del known.hosts["c2"], known.hosts["c3"]
    chosen, found = placement.choose(known, needs(known, networks=(MAPPED, MAPPED)), Room())
    assert chosen is None
    assert told(found) == ["S6 machine VM1", "F3 host c1"]
    assert mended(found)


@pytest.mark.spec("G3.a")
def test_a_replica_goes_to_a_host_that_reaches_its_storage_classes() -> None:
    known = with_hosts(c1={"host_group": "poor"}, c2={})
    chosen, _ = placement.choose(known, needs(known, classes=("GOLD_TARGET",)), Room())
    assert chosen is not None
    assert chosen.name == "c2"
    del known.hosts["c2"]
    _, found = placement.choose(known, needs(known, classes=("GOLD_TARGET", "GOLD_TARGET")), Room())
    assert told(found) == ["S6 machine VM1", "G3 host c1"]
    assert mended(found)


@pytest.mark.spec("A12.b")
def test_a_replica_goes_to_a_host_of_its_policys_version() -> None:
    known = with_hosts(c1={"versions": Versions(qemu="8.0.2")}, c2={}, c3={"versions": Versions()})
    item = known.items["VM1"]
    newer = replace(item, pair=replace(item.pair, policy=replace(item.pair.policy, host_version="8.0")))
    chosen, _ = placement.choose(known, Needs(item=newer), Room())
    assert chosen is not None
    assert chosen.name == "c1"
    del known.hosts["c1"]
    _, found = placement.choose(known, Needs(item=newer), Room())
    assert told(found) == ["S6 machine VM1", "A12 host c2", "A12 host c3"]
    assert mended(found)


@pytest.mark.spec("S6.a")
def test_a_host_that_is_full_is_named_with_what_is_left() -> None:
    known = with_hosts(c1={"memory_mib": 1000, "vcpus": 4}, c2={"memory_mib": 1500, "vcpus": 2})
    room = Room.of(known)
    went = []
    for _ in range(3):
        chosen, _ = placement.choose(known, needs(known, memory_mib=600, vcpus=1), room)
        went.append(chosen and chosen.name)
    assert went == ["c2", "c1", "c2"]
    chosen, found = placement.choose(known, needs(known, memory_mib=600, vcpus=5), room)
    assert chosen is None
    assert [one.problem for one in found if one.name == "c1"] == [
        "400 MiB of memory are left for VM1, which needs 600",
        "3 processors are left for VM1, which needs 5",
    ]
    assert mended(found)
    room.take("c2", needs(known, memory_mib=5000))
    assert "0 MiB" in placement.lacks(known, known.hosts["c2"], needs(known, memory_mib=1), room)[0].problem


def test_what_is_not_declared_is_not_limited() -> None:
    known = with_hosts(c1={})
    chosen, found = placement.choose(known, needs(known, memory_mib=1 << 30, vcpus=999), Room.of(known))
    assert (chosen and chosen.name, found) == ("c1", ())


def test_the_operators_host_is_the_only_candidate() -> None:
    known = with_hosts(c1={}, c2={"vm_networks": ()})
    known.items["VM1"] = replace(known.items["VM1"], target=Target(host="c2"))
    chosen, found = placement.choose(known, needs(known, networks=(MAPPED,)), Room())
    assert (chosen, told(found)) == (None, ["S6 machine VM1", "F3 host c2"])
    known.items["VM1"] = replace(known.items["VM1"], target=Target(host="gone"))
    _, found = placement.choose(known, needs(known), Room())
    assert found[0].problem == "there is no host of gone"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=5), st.integers(1, 3))
def test_a_chosen_host_lacks_nothing_and_none_is_chosen_only_if_all_lack_something(
    hosts: list[tuple[bool, int]], memory: int
) -> None:
    known = with_hosts(
        **{f"c{n}": {"vm_networks": (MAPPED,) * carries, "memory_mib": mib} for n, (carries, mib) in enumerate(hosts)}
    )
    wanted = needs(known, networks=(MAPPED,), memory_mib=memory)
    chosen, found = placement.choose(known, wanted, Room.of(known))
    fitting = [f"c{n}" for n, (carries, mib) in enumerate(hosts) if carries and (mib == 0 or mib >= memory)]
    assert (chosen.name in fitting) if chosen else not fitting
    assert bool(found) is (chosen is None)
