"""What may be in a recovery plan, and in which order its machines start (spec K)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import plans
from drill.model.estate import Plan
from tests.new_york import estate, mended, told, with_region


def plan(*groups: str, **fields: object) -> Plan:
    """A plan with a group per argument, `plan("a b", "c")`."""
    made = Plan(
        name="p", groups=tuple(tuple(one.split()) for one in groups), rpo_objective_seconds=1, rto_objective_seconds=1
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def problems(made: Plan) -> list[str]:
    found = [one for one in plans.check(estate(), made) if "no protected item" not in one.problem]
    assert mended(tuple(found))
    return [one.problem for one in found]


@pytest.mark.spec("K1.a")
def test_a_plan_has_name_source_and_target_and_machines_join_its_first_group() -> None:
    known = estate()
    assert plans.check(known, known.plans["all"]) == ()
    assert problems(plan("VM1", name="")) == ["it has no name"]
    assert problems(plan()) == ["it has no machine"]
    assert problems(plan("VM1", starts_max=0)) == ["it starts 0 machines at a time"]
    assert (
        problems(plan("VM1", source="server-Boston", target="server-Chicago"))[0] == "there is no server server-Boston"
    )
    assert plans.add(plan("a", "b"), ["c"]).groups == (("a", "c"), ("b",))
    assert plans.add(plan("a"), ["c"], group=3).groups == (("a",), (), ("c",))
    assert plans.add(plan(), ["a"]).groups == (("a",),)


@pytest.mark.spec("K1.b")
def test_a_replication_group_joins_whole_and_what_is_there_stays_where_it_is() -> None:
    made = plans.add(plan("a", "b"), ["b", "c", "d", "c"])
    assert made.groups == (("a", "c", "d"), ("b",))


@pytest.mark.spec("K1.c")
def test_seven_groups_a_machine_in_one_of_them_and_in_any_number_of_plans() -> None:
    assert problems(plan(*"abcdefg")) == []
    assert problems(plan(*"abcdefgh")) == ["it has 8 groups"]
    assert problems(plan("a b", "c a")) == ["a is in group 1 and in group 2"]
    assert problems(plan("a a")) == ["a is in group 1 and in group 1"]
    known = estate()
    for name in ("one", "two"):
        assert plans.check(known, replace(known.plans["all"], name=name)) == ()


def test_a_machine_that_is_not_protected_is_named() -> None:
    found = plans.check(estate(), plan("VM1 stranger"))
    assert told(found) == ["K1 plan p"]
    assert "stranger" in found[0].problem


def test_more_machines_than_are_tested_are_advised_against() -> None:
    assert problems(plan(" ".join(f"m{n}" for n in range(100)))) == []
    found = plans.check(estate(), plan(" ".join(f"m{n}" for n in range(101))))
    assert "advice: K2 plan p" in told(found)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"a": ("b",)}, None),
        ({"a": ("b", "c"), "b": ("c",)}, None),
        ({"a": ("d",)}, "a needs d, which is not in its group"),
        ({"a": ("a",)}, "a needs a: none of them could start first"),
        ({"a": ("b",), "b": ("c",), "c": ("b",)}, "b needs c needs b: none of them could start first"),
        ({"a": ("b",), "b": ("a", "c")}, "a needs b needs a: none of them could start first"),
    ],
)
def test_needs_stay_within_a_group_and_never_in_a_circle(needs: dict[str, tuple[str, ...]], says: str | None) -> None:
    assert problems(plan("a b c", "d", needs=needs)) == ([] if says is None else [says])


@pytest.mark.spec("K3.a")
def test_machines_are_listed_with_their_first_copy_done_or_pending() -> None:
    found = plans.listed(plan("a b", "c"), {"a", "c"})
    assert [(one.machine, one.group, one.ready) for one in found] == [("a", 1, True), ("b", 1, False), ("c", 2, True)]


@pytest.mark.spec("M7.a")
def test_a_planned_failover_waits_for_every_first_copy() -> None:
    assert plans.planned(plan("a b", "c"), {"a", "b", "c"}) == ()
    found = plans.planned(plan("a b", "c"), {"b"})
    assert told(found) == ["M7 plan p"]
    assert "the first copy of a, c is not done" in found[0].problem


@pytest.mark.spec("K5.a")
def test_only_servers_with_a_machine_that_is_ready_are_sources() -> None:
    assert plans.sources(estate(), {"VM3"}) == ("server-NewYork",)
    assert plans.sources(estate(), {"stranger"}) == ()


@pytest.mark.spec("K6.a")
def test_one_server_may_be_source_and_target() -> None:
    known = estate()
    one = {name: replace(cloud, server="server-NewYork") for name, cloud in known.clouds.items()}
    known = replace(known, clouds=one)
    assert plans.check(known, replace(known.plans["all"], target="server-NewYork")) == ()


def test_a_machine_that_replicates_elsewhere_is_not_of_the_plan() -> None:
    known = estate()
    turned = replace(known.plans["all"], source="server-Chicago", target="server-NewYork")
    assert {one.problem for one in plans.check(known, turned)} == {
        f"VM{n} replicates from server-NewYork to server-Chicago" for n in range(1, 6)
    }
    known = with_region(estate())
    assert plans.check(known, replace(known.plans["all"], target="north")) == ()


def test_machines_start_in_waves_after_what_they_need_and_running_ones_are_passed_over() -> None:
    needs = {"a": ("c",), "b": ("a", "d")}
    assert plans.waves(("a", "b", "c", "d"), needs) == [["c", "d"], ["a"], ["b"]]
    assert plans.waves(("a", "b", "c", "d"), needs, running={"c", "d"}) == [["a"], ["b"]]
    assert plans.waves((), needs) == []


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        (plan("a b c d", starts_max=4), 10),
        (plan("a b c d", starts_max=2), 20),
        (plan("a b", "c d", starts_max=4), 20),
        (plan("a b", starts_max=4, needs={"b": ("a",)}), 20),
        (plan("slow a b", starts_max=2), 30),
        (plan(), 0),
    ],
)
def test_how_long_a_plan_takes_follows_from_groups_needs_and_the_limit(made: Plan, seconds: float) -> None:
    assert plans.seconds(made, {"slow": 30.0}, 10.0) == seconds


NAMES = st.sampled_from("abcdefgh")


@given(st.lists(NAMES, unique=True), st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple)))
def test_every_machine_starts_once_after_its_needs_or_stands_in_a_circle(
    group: list[str], needs: dict[str, tuple[str, ...]]
) -> None:
    waves = plans.waves(tuple(group), needs)
    order = [name for wave in waves for name in wave]
    assert len(order) == len(set(order))
    for number, wave in enumerate(waves):
        earlier = {name for one in waves[:number] for name in one}
        assert all(set(needs.get(name, ())) & set(group) <= earlier for name in wave)
    circular = any("none of them" in problem for problem in problems(plan(" ".join(group), needs=needs)))
    assert circular is (set(order) != set(group))
