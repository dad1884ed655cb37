"""Workers of a consistency group, each in its own thread over a simulated host: who meets whom, and who goes alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from drill.core import groups
from drill.core.groups import GroupPoint
from drill.errors import DrillError, Unreachable
from drill.model.point import GroupOrder, Health, Point, ProtectionOrder
from drill.replication.groups import GroupPorts
from drill.replication.journal import Journal, JournalFile
from drill.replication.store import Store
from drill.sim.clock import SimClock
from drill.sim.disk import SimDisk
from drill.sim.guest import SimFreezer
from drill.sim.hypervisor import SimBackups, SimHypervisor
from drill.sim.lanes import OneLane
from drill.sim.process import Process
from drill.sim.suspender import SimSuspender
from drill.wiring.item import SourceWorld, Worker, nonce
from drill.wiring.rounds import Rounds
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import DirectLink

NAMES = ("a", "b", "c")
IDS = {name: f"3f0c9a52-0000-4000-8000-00000000000{name}" for name in NAMES}
PATIENCE = 3.0
SECONDS = 20.0


class Agent:
    """A source agent of three items that belong to one group, and the receiver that they share."""

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.clock, self.process = SimClock(), Process(lambda kind: None)
        self.hosts = {
            name: SimHypervisor(name, {"vda": SimDisk(65536, granule=65536, cluster=65536)}, self.clock)
            for name in names
        }
        suspender = SimSuspender(self.hosts.__getitem__, self.process)
        freezer = SimFreezer(self.hosts["a"].guest, self.process)
        self.files = MemoryFiles()
        self.link = DirectLink(Store(MemoryFiles(), self.clock, OneLane()))
        ports = GroupPorts(freezer=freezer, suspender=suspender, clock=self.clock, lanes=OneLane())
        self.rounds = Rounds("shop", ports, nonce, PATIENCE)
        self.order = GroupOrder(name="shop", members=tuple(sorted(IDS[name] for name in names)))
        self.workers = {name: self._worker(name) for name in names}

    def _worker(self, name: str) -> Worker:
        order = ProtectionOrder(item=IDS[name], domain=name, receiver="-", interval_seconds=30, group=self.order)
        file = JournalFile(self.files, IDS[name])
        file.save(Journal(order=order))
        world = SourceWorld(
            backups=SimBackups(self.hosts[name], self.process),
            freezer=SimFreezer(self.hosts[name].guest, self.process),
            files=self.files,
            clock=self.clock,
            lanes=OneLane(),
            link=lambda _: self.link,
            rounds=lambda _: self.rounds,
        )
        return Worker(world, file, Journal(order=order))

    def start(self) -> None:
        for worker in self.workers.values():
            worker.start()

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()

    def cycle(self, name: str) -> Point:
        return self.workers[name].cycle(witness=False, application_consistent=False, deep=False)

    def points(self, name: str) -> tuple[Point, ...]:
        return tuple(found.point for found in self.link.store.points(IDS[name]))

    def instants(self) -> tuple[GroupPoint, ...]:
        return groups.complete("shop", {IDS[name]: self.points(name) for name in self.workers})

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    def settled(self) -> bool:
        """Whether nobody is at work."""
        return all(worker.can_come() for worker in self.workers.values())

    def pauses(self) -> int:
        return sum(len(host.processors.periods) for host in self.hosts.values())


@pytest.fixture
def agent() -> Iterator[Agent]:
    found = Agent()
    found.start()
    found.until(lambda: all(found.points(name) for name in NAMES) and found.settled(), "the first copies")
    yield found
    found.stop()


def test_a_cycle_of_one_item_is_a_cycle_of_its_group_at_one_instant(agent: Agent) -> None:
    before = len(agent.instants())
    point = agent.cycle("a")
    assert point.group is not None
    agent.until(lambda: len(agent.instants()) > before, "the others' points")
    found = agent.instants()[-1]
    assert found.instant == point.group.instant
    assert {one.item for one in found.points} == set(IDS.values())
    status = agent.workers["b"].status()
    assert (status.group, status.group_reason) == ("shop", "")
    agent.until(agent.settled, "the end of the round")
    assert agent.workers["b"].status().cycles[-1].paused_seconds > 0


def test_one_instant_an_hour_is_marked_for_all_items_to_keep(agent: Agent) -> None:
    def marks() -> list[bool]:
        return [point.group.hourly for point in agent.points("a") if point.group]

    assert marks() == [True] * len(agent.instants()[:1]) + [False] * len(agent.instants()[1:])
    agent.cycle("a")
    agent.until(agent.settled, "the end of the round")
    agent.clock.sleep(3600)
    agent.cycle("a")
    agent.until(agent.settled, "the end of the round")
    assert marks()[0]
    assert marks()[-1]
    assert not any(marks()[1:-1])
    assert len(marks()) > 2


def test_the_items_of_a_group_share_their_beat(agent: Agent) -> None:
    assert agent.rounds.beat(1e9) == agent.rounds.beat(2e9) < 1e6


def test_while_one_is_paused_by_the_operator_the_others_go_alone_and_no_guest_stands_still(agent: Agent) -> None:
    agent.workers["c"].pause()
    before, pauses = len(agent.instants()), agent.pauses()
    assert agent.cycle("a").group is None
    agent.until(agent.workers["b"].can_come, "the end of the round")
    assert agent.points("b")[-1].group is None
    assert len(agent.instants()) == before
    assert agent.pauses() == pauses
    assert agent.workers["a"].status().group_reason == "not ready in time: c"
    agent.cycle("a")
    reasons = agent.workers["a"].status().health
    assert reasons.level is Health.WARNING
    assert any("no instant with its group" in reason for reason in reasons.reasons)
    agent.workers["c"].resume()
    agent.until(lambda: len(agent.instants()) > before, "a whole instant after the pause")


def test_a_member_whose_cycle_fails_fails_alone_and_the_next_round_is_whole(agent: Agent) -> None:
    agent.hosts["b"].stop()
    before = len(agent.instants())
    assert agent.cycle("a").group is None
    agent.until(lambda: bool(agent.workers["b"].status().last_error), "the failure")
    agent.until(agent.workers["c"].can_come, "the end of the round")
    assert agent.points("c")[-1].group is None
    assert not agent.workers["a"].status().last_error
    assert len(agent.instants()) == before
    agent.hosts["b"].start()
    agent.workers["b"].nudge()
    agent.until(lambda: len(agent.instants()) > before, "a whole instant")
    assert not agent.workers["b"].status().last_error


def test_a_member_whose_log_is_not_sealed_leaves_no_instant_and_the_others_their_points(agent: Agent) -> None:
    lost: list[str] = []

    def fail(step: str) -> None:
        if step == "seal" and not lost:
            lost.append(step)
            raise Unreachable("the receiver", "peer:8084", "cut")

    agent.until(agent.settled, "the first rounds")
    agent.link.fail = fail
    before = {name: len(agent.points(name)) for name in NAMES}
    instants = len(agent.instants())
    try:
        agent.cycle("a")
    except DrillError:
        assert lost
    agent.until(lambda: not any(worker.status().progress for worker in agent.workers.values()), "the round")
    agent.until(
        lambda: sum(len(agent.points(name)) > before[name] for name in NAMES) == len(NAMES) - 1, "the others' points"
    )
    assert len(agent.instants()) == instants


def test_items_whose_orders_disagree_share_no_instant(agent: Agent) -> None:
    order = agent.workers["a"].order
    fewer = replace(agent.order, members=agent.order.members[:2])
    before = len(agent.instants())
    agent.workers["a"].change(replace(order, group=fewer))
    agent.until(lambda: "agree" in agent.workers["a"].status().group_reason, "what is wrong")
    agent.until(agent.settled, "the end of the round")
    assert len(agent.instants()) == before


def test_one_that_nobody_meets_goes_alone_after_a_while(agent: Agent) -> None:
    """The others' look takes longer than a round has patience."""
    agent.rounds.absent("nobody")
    with agent.workers["b"]._lock:  # an operator's request holds it
        assert agent.cycle("a").group is None
