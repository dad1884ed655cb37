"""R1 to R4: QEMU, libvirtd and both agents killed by SIGKILL, idle, in the middle, and at system calls."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from drill.core.retention import POINTS_MAX
from drill.lab.standing import LabHost
from drill.model.point import Point
from tests.faults.bench_lab import (
    UnderWay,
    bench_lab,
    has_points,
    in_the_middle_of_a_cycle,
    more_to_send_than_may_be_in_flight,
    orphans,
    sealed,
    sealed_soon,
    slow_link,
)
from tests.faults.syscalls import NETWORK, STORAGE, Boundary, killed_at
from tests.lab.micro_machines import await_done
from tests.lab.replicated import SIZES, Replicated, network_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
SOURCE, RECEIVER = "agent-source", "agent-receiver"


@pytest.fixture(scope="module")
def standing() -> Iterator[Replicated]:
    with bench_lab("kill") as found:
        yield found


@pytest.fixture
def vm(standing: Replicated) -> Replicated:
    """The machine, running and protected, whatever the test before it left."""
    standing.restore()
    return standing


@pytest.fixture
def slow(vm: Replicated) -> Iterator[None]:
    with slow_link(vm):
        yield


def test_a_killed_qemu_makes_the_next_cycle_compare_all_disks_and_its_point_right(vm: Replicated) -> None:
    before = sealed(vm)
    vm.io("vdb", "write -P 66 2M 1M")
    vm.kill_qemu()
    vm.io("vdc", "write -P 67 2M 1M")
    point = sealed(vm)
    assert (point.epoch, point.sequence, point.full) == (before.epoch, before.sequence + 1, False)
    assert vm.reasons() == dict.fromkeys(SIZES, "its changes were not tracked")
    assert vm.differing(before) == []
    sealed(vm)
    assert vm.reasons() == {}


@pytest.mark.usefixtures("slow")
def test_a_guest_killed_in_the_middle_of_a_cycle_fails_that_cycle_only(vm: Replicated) -> None:
    before = vm.points()[-1]
    more_to_send_than_may_be_in_flight(vm)
    cycle = in_the_middle_of_a_cycle(vm)
    vm.kill_qemu()
    cycle.join()
    assert cycle.outcome is not None
    vm.lab.heal_link()
    point = sealed_soon(vm, "a cycle after QEMU was killed")
    assert (point.epoch, point.full) == (before.epoch, False)
    assert vm.reasons() == dict.fromkeys(SIZES, "its changes were not tracked")


@pytest.mark.usefixtures("slow")
def test_a_libvirtd_killed_in_the_middle_of_a_cycle_loses_nothing(vm: Replicated) -> None:
    before = vm.points()[-1]
    cycle = in_the_middle_of_a_cycle(vm)
    vm.kill_agent(vm.near, "libvirtd")
    vm.lab.heal_link()
    cycle.join()
    vm.mend()
    sealed_soon(vm, "a cycle after libvirtd was killed")
    later = [point for point in vm.points() if point.epoch == before.epoch]
    assert [point.sequence for point in later] == list(range(1, later[-1].sequence + 1))
    assert not any(point.full for point in later[later.index(before) + 1 :])
    assert vm.running()


@pytest.mark.usefixtures("slow")
def test_a_source_agent_killed_in_the_middle_of_a_cycle_loses_nothing(vm: Replicated) -> None:
    before = vm.points()[-1]
    cycle = in_the_middle_of_a_cycle(vm)
    vm.kill_agent(vm.near, SOURCE)
    cycle.join()
    vm.lab.heal_link()
    vm.io("vdb", "write -P 31 30M 64k")
    vm.mend()
    await_done(lambda: has_points(vm, before.sequence + 1), "the agent to take its order up again")
    point = sealed_soon(vm, "a cycle after the agent was killed")
    assert point.epoch == before.epoch
    assert vm.running()
    assert not orphans(vm)


@pytest.mark.usefixtures("slow")
def test_a_receiver_killed_in_the_middle_of_a_log_loses_nothing(vm: Replicated) -> None:
    before = vm.points()[-1]
    more_to_send_than_may_be_in_flight(vm)  # 15 s on this link: also a slow machine kills before it is sealed
    cycle = in_the_middle_of_a_cycle(vm)
    vm.kill_agent(vm.far, RECEIVER)
    cycle.join()
    vm.lab.heal_link()
    vm.mend()
    assert vm.points()[-1] == before
    vm.io("vdb", "write -P 32 30M 64k")
    point = sealed_soon(vm, "a cycle after the receiver was killed")
    assert (point.epoch, point.full) == (before.epoch, False)
    assert not orphans(vm)


class NotReached(AssertionError):
    """The agent lives: the cycle ended before that call."""


def killed_in_a_cycle(vm: Replicated, role: str, boundary: Boundary) -> Point:
    """An agent dies at a system call of a cycle; what was acknowledged stays, what was not comes with the next."""
    host = _host_of(vm, role)
    last, number = sealed(vm), boundary.number
    before = vm.points()
    vm.io("vdb", f"write -P {1 + number % 255} {number % 31}M 200k", f"write -z {(number + 7) % 31}M 70k")
    vm.io("vdc", f"write -P {1 + number % 255} {number % 39}M 4k")
    (pid,) = host.pids(role)
    with killed_at(pid, boundary):
        cycle = UnderWay(vm)
        await_done(lambda: _must_be_dead_or_done(host, role, cycle), f"{role} to die", 60)
    cycle.join()
    if host.pids(role):
        raise NotReached(f"{role} did not come to {boundary}")
    vm.mend()
    point = sealed_soon(vm, f"a cycle after {role} was killed at {boundary}")
    now = vm.points()
    assert before[-1] in now
    assert set(before) <= set(now) or len(before) >= POINTS_MAX - 2, "points are gone, and not by retention"
    assert (point.epoch, point.full) == (last.epoch, False)
    assert vm.differing(last) == []
    assert not orphans(vm)
    assert all(len([name for name in vm.bitmaps(target) if name.startswith("drill-")]) == 1 for target in SIZES)
    assert vm.running()
    return point


def _host_of(vm: Replicated, role: str) -> LabHost:
    return vm.near if role == SOURCE else vm.far


def _must_be_dead_or_done(host: LabHost, role: str, cycle: UnderWay) -> None:
    assert not host.pids(role) or cycle.ended


@pytest.mark.parametrize(
    ("role", "call", "number"),
    [
        pytest.param(SOURCE, "rename", 2, id="source-before-it-knows-the-acknowledgement"),
        pytest.param(RECEIVER, "pwrite64", 3, id="receiver-storing"),
        pytest.param(RECEIVER, "rename", 1, id="receiver-before-the-seal"),
    ],
)
def test_an_agent_killed_at_a_system_call_loses_nothing(vm: Replicated, role: str, call: str, number: int) -> None:
    killed_in_a_cycle(vm, role, Boundary(call, number))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("role", [SOURCE, RECEIVER])
def test_an_agent_killed_at_every_system_call_of_a_cycle_loses_nothing(vm: Replicated, role: str) -> None:
    """Every call that changes files, in turn until a cycle ends before it comes to one more; of those on sockets,
    which are hundreds, fewer and fewer."""
    reached: Counter[str] = Counter()
    for call in (*STORAGE, *NETWORK):
        number = 1
        while dies_in_a_cycle(vm, role, Boundary(call, number)):
            reached[call] += 1
            number += 1 if call in STORAGE else 1 + number // 4
        sys.stderr.write(f"{role}: {dict(reached)}\n")
    assert reached.keys() >= {"fdatasync", "fsync", "rename", "pwrite64", *NETWORK}
    assert reached.total() >= 25, reached


def dies_in_a_cycle(vm: Replicated, role: str, boundary: Boundary) -> bool:
    """The same; False where the cycle ends before the agent comes to that call, also the second time."""
    for _ in range(2):
        try:
            killed_in_a_cycle(vm, role, boundary)
        except NotReached:
            continue
        return True
    return False


def test_the_guest_is_left_as_it_was_found(vm: Replicated) -> None:
    """No job, no scratch, no socket, one checkpoint, after all that was killed."""
    sealed(vm)
    assert [path.suffix for path in (vm.near.folder / "lib" / "drill").iterdir()] == [".lock"]
    name = vm.machine.name
    checkpoints = vm.hypervisor.connection.call(
        "look", lambda handle: [c.getName() for c in handle.lookupByName(name).listAllCheckpoints(0)]
    )
    assert len(checkpoints) == 1
    with network_of(vm.near):
        assert [status.missed_cycles for status in vm.source.items()] == [0]
