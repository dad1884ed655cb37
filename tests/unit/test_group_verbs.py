"""The verbs of a consistency group, and what the controller asks of its agents for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from drill.errors import Failed, Usage
from drill.estate.load import load
from drill.model.point import GroupMark, ItemState, ItemStatus, Point
from drill.model.retention import KeptPoint, RetentionPolicy, StoreReport
from drill.sim.clock import SimClock
from drill.wiring.controller import Protection, RemoteHosts
from fixtures.command_line import CommandLine
from tests.unit.test_group_estates import with_groups

MARK = GroupMark(name="shop", instant="i0000001", members=2)


def point(item: str, mark: GroupMark | None) -> Point:
    return Point(
        item=item,
        epoch="e",
        sequence=1,
        begun_us=1,
        taken_us=2,
        sealed_us=3,
        full=True,
        application_consistent=False,
        disks=(),
        log_digest="",
        parent_digest="",
        sent_bytes=0,
        group=mark,
    )


def status(item: str, error: str = "", reason: str = "") -> ItemStatus:
    return ItemStatus(
        item=item,
        domain=item,
        state=ItemState.REPLICATING,
        epoch="e",
        acknowledged_sequence=1,
        last_point=None,
        last_error=error,
        cycles=(),
        group="shop",
        group_reason=reason,
    )


@dataclass
class Agents:
    """What the controller needs of hosts, sources and receivers, in one; items have their names for ids."""

    kept_points: dict[str, tuple[KeptPoint, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    mark: GroupMark | None = MARK
    on_look: Callable[[], None] = lambda: None

    def source(self, _host: str) -> Agents:
        return self

    receiver = hypervisor = source

    def machine(self, name: str) -> Any:
        return type("M", (), {"uuid": name})

    def cycle(self, item: str, **_: object) -> Point:
        return point(item, self.mark)

    def status(self, item: str) -> ItemStatus:
        self.on_look()
        return status(item, self.errors.get(item, ""), "not ready in time: db")

    def kept(self, item: str) -> StoreReport:
        points = self.kept_points.get(item, ())
        return StoreReport(item=item, policy=RetentionPolicy(), points=points, owed=(), chain=0, proven=())


def protection(folder: Path, agents: Agents) -> Protection:
    estate = load(with_groups(folder, "{name: shop, items: [app, db]}"))
    return Protection(estate, cast("RemoteHosts", agents))


def kept(item: str, *damaged: str) -> tuple[KeptPoint, ...]:
    return (KeptPoint(point=point(item, MARK), lock=None, damaged=damaged),)


def test_an_instant_with_a_damaged_point_is_not_listed(tmp_path: Path) -> None:
    agents = Agents({"app": kept("app"), "db": kept("db")})
    assert [one.instant for one in protection(tmp_path, agents).group_points("shop")] == [MARK.instant]
    agents.kept_points["db"] = kept("db", "vda")
    assert protection(tmp_path, agents).group_points("shop") == ()


def test_a_cycle_of_a_group_ends_when_all_have_sealed_it(tmp_path: Path) -> None:
    agents = Agents({"app": kept("app")})
    looks: list[int] = []

    def seal_later() -> None:
        looks.append(1)
        if len(looks) == 5:
            agents.kept_points["db"] = kept("db")

    agents.on_look = seal_later
    found = protection(tmp_path, agents).cycle_group("shop", False, 60, SimClock())
    assert found.instant == MARK.instant
    assert len(looks) >= 5


def test_a_cycle_of_a_group_whose_item_fails_says_whose_and_why(tmp_path: Path) -> None:
    agents = Agents({"app": kept("app")}, errors={"db": "the receiver is gone"})
    with pytest.raises(Failed, match="db: the receiver is gone"):
        protection(tmp_path, agents).cycle_group("shop", False, 60, SimClock())


def test_a_cycle_of_a_group_that_shares_no_instant_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not ready in time: db"):
        protection(tmp_path, Agents(mark=None)).cycle_group("shop", False, 60, SimClock())


def test_a_cycle_of_a_group_does_not_wait_for_ever(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not sealed by all after 60 s"):
        protection(tmp_path, Agents({"app": kept("app")})).cycle_group("shop", False, 60, SimClock())


def test_an_unknown_group_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no group 'web'"):
        protection(tmp_path, Agents()).group_points("web")


@pytest.mark.parametrize(
    "arguments",
    [
        ("points",),
        ("points", "app", "--group", "shop"),
        ("points", "--group", "shop", "--lock", "latest"),
        ("cycle", "--group", "shop", "app"),
        ("cycle", "--group", "shop", "--deep"),
    ],
    ids=" ".join,
)
def test_an_item_or_a_group_is_named_not_both(drill: CommandLine, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    estate = with_groups(tmp_path, "{name: shop, items: [app, db]}")
    said = drill(*arguments, "--estate", str(estate), "--json")
    assert said.exit_code == 2
