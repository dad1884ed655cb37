"""A consistency group's jobs begin at one instant, over simulated hosts; and no guest stays paused, whatever happens.

Two guests are written to in turn: the first one's page gets n, then the second one's.  At any one moment the first is
at most one ahead.  Time passes while a checkpoint is taken, and then both write, if they can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from drill.errors import Failed
from drill.model.point import GroupMark
from drill.ports import BackupJob
from drill.replication import groups
from drill.replication.groups import PAUSE_SECONDS, GroupPorts, Meeting, Ready, begin_alone
from drill.sim.clock import SimClock
from drill.sim.disk import SimDisk
from drill.sim.guest import Mood, SimFreezer
from drill.sim.hypervisor import SimBackups, SimHypervisor
from drill.sim.lanes import OneLane
from drill.sim.process import Killed, Planned, Process, killed
from drill.sim.suspender import SimSuspender
from tests.contract.suspender_suite import SuspenderContract

MARK = GroupMark(name="shop", instant="i0000001", members=2)
PAGE = 4096


class Freezers:
    """Each domain's own freezer."""

    def __init__(self, hosts: dict[str, SimHypervisor], process: Process) -> None:
        self._freezers = {name: SimFreezer(host.guest, process) for name, host in hosts.items()}

    def arm(self, domain: str, seconds: int) -> None:
        self._freezers[domain].arm(domain, seconds)

    def freeze(self, domain: str) -> int:
        return self._freezers[domain].freeze(domain)

    def thaw(self, domain: str) -> int:
        return self._freezers[domain].thaw(domain)

    def is_frozen(self, domain: str) -> bool:
        return self._freezers[domain].is_frozen(domain)

    def disarm(self, domain: str) -> None:
        self._freezers[domain].disarm(domain)


class Field:
    """Hosts of domains `a` and `b`, in which writes are in turn."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.process = Process(lambda kind: None)
        self.hosts = {
            name: SimHypervisor(name, {"vda": SimDisk(65536, granule=65536, cluster=65536)}, self.clock)
            for name in ("a", "b")
        }
        self.ports = GroupPorts(
            freezer=Freezers(self.hosts, self.process),
            suspender=SimSuspender(self.hosts.__getitem__, self.process),
            clock=self.clock,
            lanes=OneLane(),
        )
        self.numbers = {"a": 0, "b": 0}
        for host in self.hosts.values():
            host.during = [self.write_in_turn] * 50

    def write_in_turn(self) -> None:
        """The guests write three numbers each, one after the other; who cannot write now keeps the other waiting."""
        for _ in range(6):
            name = "a" if self.numbers["a"] == self.numbers["b"] else "b"
            if not self.hosts[name].writes:
                return
            self.numbers[name] += 1
            self.hosts[name].disks["vda"].write(0, self.numbers[name].to_bytes(4, "little") * (PAGE // 4))

    def ready(self, name: str, *, freeze: bool = False) -> Ready:
        def begin() -> BackupJob:
            return SimBackups(self.hosts[name], self.process).begin(name, f"drill-{name}", {"vda": None})

        return Ready(domain=name, begin=begin, freeze=freeze)

    def meet(self, *, freeze: bool = False) -> Meeting:
        return groups.begin_together(self.ports, [self.ready("a", freeze=freeze), self.ready("b")], MARK)

    def seen(self) -> list[int]:
        """The numbers at the instants that were taken last."""
        return [
            int.from_bytes(next(reversed(host.instants.values())).disks["vda"].pages.get(0, bytes(4))[:4], "little")
            for host in self.hosts.values()
        ]

    def all_run(self) -> bool:
        return not any(host.processors.stand or host.guest.frozen for host in self.hosts.values())

    def marks(self, meeting: Meeting) -> list[GroupMark | None]:
        return [None if isinstance(one, Exception) else one[1].group for one in meeting.begun]


@pytest.fixture
def two() -> Field:
    return Field()


def test_no_guest_writes_between_the_checkpoints_of_a_group(two: Field) -> None:
    two.write_in_turn()
    meeting = two.meet()
    assert meeting.problem == ""
    assert two.marks(meeting) == [MARK, MARK]
    first, second = two.seen()
    assert first - second in (0, 1)
    assert two.all_run()
    two.write_in_turn()
    assert two.numbers["b"] > second


def test_checkpoints_of_their_own_may_be_out_of_step(two: Field) -> None:
    """What the group is for: without it the same writes are seen in the wrong order."""
    for name in ("a", "b"):
        begin_alone(two.ports.freezer, two.clock, two.ready(name))
    first, second = two.seen()
    assert first - second not in (0, 1)


def test_the_pause_is_told(two: Field) -> None:
    two.hosts["a"].begin_seconds = 0.5
    meeting = two.meet()
    quiets = [one[1] for one in meeting.begun if not isinstance(one, Exception)]
    assert all(0.5 <= quiet.paused_seconds < 0.6 for quiet in quiets)
    assert not any(quiet.was_tried for quiet in quiets)


def test_a_member_without_a_checkpoint_leaves_the_others_points_of_their_own(two: Field) -> None:
    two.hosts["b"].refuses_checkpoints = True
    meeting = two.meet()
    assert isinstance(meeting.begun[1], Failed)
    assert two.marks(meeting) == [None, None]
    assert "b has no checkpoint" in meeting.problem
    assert two.all_run()


def test_a_member_that_is_off_keeps_nobody_paused(two: Field) -> None:
    two.hosts["b"].stop()
    meeting = two.meet()
    assert two.marks(meeting) == [None, None]
    assert isinstance(meeting.begun[1], Failed)
    assert two.all_run()


def test_checkpoints_that_take_longer_than_the_pause_share_no_instant(two: Field) -> None:
    two.hosts["b"].begin_seconds = PAUSE_SECONDS + 1
    meeting = two.meet()
    assert two.marks(meeting) == [None, None]
    assert "within" in meeting.problem
    assert all(end - begin <= PAUSE_SECONDS for host in two.hosts.values() for begin, end in host.processors.periods)
    assert two.all_run()


def test_a_guest_that_somebody_resumes_meanwhile_shares_no_instant(two: Field) -> None:
    two.hosts["b"].during = [two.hosts["a"].processors.run]
    meeting = two.meet()
    assert two.marks(meeting) == [None, None]
    assert "a does not stand still" in meeting.problem


def test_a_guest_that_an_operator_paused_shares_the_instant_and_stays_paused(two: Field) -> None:
    two.hosts["a"].processors.stop()
    meeting = two.meet()
    assert two.marks(meeting) == [MARK, MARK]
    assert two.hosts["a"].processors.stand
    assert not two.hosts["b"].processors.stand


def test_where_nothing_can_watch_nobody_is_paused(two: Field) -> None:
    two.hosts["b"].processors.watchless = True
    meeting = two.meet()
    assert "b cannot be paused" in meeting.problem
    assert two.marks(meeting) == [None, None]
    assert not any(host.processors.periods for host in two.hosts.values())
    two.clock.sleep(PAUSE_SECONDS + 1)
    assert two.all_run()


def test_all_are_frozen_where_one_is_to_be(two: Field) -> None:
    meeting = two.meet(freeze=True)
    quiets = [one[1] for one in meeting.begun if not isinstance(one, Exception)]
    assert [quiet.application_consistent for quiet in quiets] == [True, True]
    assert all(next(reversed(host.instants.values())).frozen for host in two.hosts.values())
    assert two.marks(meeting) == [MARK, MARK]
    assert two.all_run()


@pytest.mark.parametrize("mood", [mood for mood in Mood if mood is not Mood.WELL])
def test_a_guest_in_any_state_shares_the_instant_and_is_thawed(two: Field, mood: Mood) -> None:
    two.hosts["b"].guest.mood = mood
    meeting = two.meet(freeze=True)
    assert two.marks(meeting) == [MARK, MARK]
    first, second = two.seen()
    assert first - second in (0, 1)
    two.clock.sleep(40)
    assert two.all_run()
    assert all(end - begin <= 10 for host in two.hosts.values() for begin, end in host.guest.periods)


CALLS = ("watch", "suspend", "state", "resume")


@pytest.mark.parametrize("how", ["libvirt ", "libvirt answer "])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("at", [0, 1])
def test_a_call_that_fails_leaves_no_guest_paused_for_long(two: Field, how: str, call: str, at: int) -> None:
    operations = frozenset({how + call})
    two.process.plan(Planned("fault", at, operations, lambda *_: Failed("a call", "injected")))
    meeting = two.meet(freeze=True)
    assert call == "resume" or two.marks(meeting) == [None, None]
    assert bool(meeting.trouble) == (call == "resume")
    two.clock.sleep(PAUSE_SECONDS)
    assert two.all_run()


def test_a_process_killed_at_any_moment_leaves_guests_that_run(two: Field) -> None:
    at, died = 0, 0
    while True:
        field_ = Field()
        field_.process.plan(Planned("killed", at, frozenset(), killed))
        try:
            field_.meet(freeze=True)
        except Killed:
            died += 1
        else:
            break
        for host in field_.hosts.values():
            host.processors.parent_died()
            host.guest.parent_died()
        assert not any(host.processors.stand for host in field_.hosts.values()), at
        field_.clock.sleep(30)
        assert field_.all_run(), at
        at += 1
    assert died > 20


@dataclass
class SimBench:
    clock: SimClock = field(default_factory=SimClock)
    domain: str = "vm"

    def __post_init__(self) -> None:
        disk = SimDisk(65536, granule=65536, cluster=65536)
        self.host = SimHypervisor(self.domain, {"vda": disk}, self.clock)
        host: Callable[[str], SimHypervisor] = lambda _: self.host  # noqa: E731 - one host for any name
        self.suspender = SimSuspender(host, Process(lambda kind: None))

    def runs(self) -> bool:
        return self.host.writes

    def pause_by_hand(self) -> None:
        self.host.processors.stop()

    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)


class TestSimulatedSuspender(SuspenderContract):
    @pytest.fixture
    def bench(self) -> SimBench:
        return SimBench()
