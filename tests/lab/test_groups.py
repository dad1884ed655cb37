"""A consistency group of two real guests: every instant is one instant, and no guest stays paused (I2, I32, S5).

The host writes to the guests in turn, each number to the first disk without a file system of `gr-a`, then, once that is
durable there, to that of `gr-b`.  At any one moment `gr-a` is ahead by one, or they are level.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from drill.core import groups
from drill.core.groups import GroupPoint
from drill.errors import DrillError
from drill.hypervisor.host import LibvirtHypervisor
from drill.hypervisor.release import Releaser
from drill.hypervisor.suspender import LibvirtSuspender
from drill.lab import site, topology
from drill.lab.standing import Lab
from drill.model.identity import Identity, Role
from drill.model.machine import Disk, Machine, PowerState
from drill.model.point import GroupOrder, ItemStatus, Point, ProtectionOrder
from drill.replication.groups import PAUSE_SECONDS
from drill.transport.client import ReceiverClient, SourceClient
from tests.contract.suspender_suite import SuspenderContract
from tests.lab.micro_machines import OWNER, await_agent, await_done, hypervisor_of, prepared
from tests.lab.replicated import controller_of, network_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
NAMES = ("gr-a", "gr-b")
PUT = 'printf "%-512s" "$1" | dd of=/dev/vdb bs=512 count=1 conv=notrunc,fsync 2> /dev/null'
IN_STEP = (0, 1)
PAUSES_AND_WAITS = """
import sys, time
from drill.host.clock import HostClock
from drill.host.lanes import ThreadLanes
from drill.hypervisor.connection import Connection
from drill.hypervisor.freezer import LibvirtFreezer
from drill.hypervisor.release import Releaser
from drill.hypervisor.suspender import LibvirtSuspender
from drill.model.point import GroupMark
from drill.replication.groups import GroupPorts, Ready, begin_together
connection, releaser = Connection(sys.argv[1]), Releaser(sys.argv[1], "/")
def begin():
    print(releaser.pid, flush=True)
    time.sleep(600)
ports = GroupPorts(freezer=LibvirtFreezer(connection, releaser), suspender=LibvirtSuspender(connection, releaser),
                   clock=HostClock(), lanes=ThreadLanes(16, 16))
mark = GroupMark(name="g", instant="i000", members=2)
begin_together(ports, [Ready(domain=one, begin=begin, freeze=False) for one in sys.argv[2:]], mark)
"""


@dataclass
class Group:
    """Two machines on one host of a lab, and the agents that replicate them."""

    lab: Lab
    hypervisor: LibvirtHypervisor
    machines: dict[str, Machine]

    def __post_init__(self) -> None:
        self.near, self.far = self.lab.host("ny1"), self.lab.host("chi1")
        self.releaser = Releaser(self.hypervisor.uri, "/")
        self.suspender = LibvirtSuspender(self.hypervisor.connection, self.releaser)
        self.domain = NAMES[0]

    def item(self, name: str) -> str:
        return self.machines[name].uuid

    @property
    def source(self) -> SourceClient:
        return SourceClient(self.near.address, 8081, controller_of(self.lab), self.near.name)

    @property
    def receiver(self) -> ReceiverClient:
        return ReceiverClient(self.far.link_address, 8084, controller_of(self.lab), self.far.name)

    def protect(self, *, together: bool = True) -> None:
        group = GroupOrder(name="pair", members=tuple(sorted(self.item(name) for name in NAMES)))
        for name in NAMES:
            order = ProtectionOrder(
                item=self.item(name),
                domain=name,
                receiver=f"{self.far.link_address}:8084",
                interval_seconds=3600,
                receiver_name=self.far.name,
                group=group if together else None,
            )
            with network_of(self.near):
                self.receiver.allow(self.item(name), Identity(role=Role.SOURCE, name=self.near.name), term=1)
                self.source.protect(order)
        await_done(self._must_be_idle, "the cycles that follow an order")

    def cycle(self, name: str, *, application_consistent: bool = False) -> Point:
        with network_of(self.near):
            return self.source.cycle(self.item(name), witness=False, application_consistent=application_consistent)

    def status(self, name: str) -> ItemStatus:
        with network_of(self.near):
            return self.source.status(self.item(name))

    def instants(self) -> tuple[GroupPoint, ...]:
        with network_of(self.near):
            return groups.complete("pair", {self.item(name): self.receiver.points(self.item(name)) for name in NAMES})

    def instant(self, *, application_consistent: bool = False) -> GroupPoint:
        """A cycle of the group, begun by its second item."""
        point = self.cycle("gr-b", application_consistent=application_consistent)
        assert point.group is not None, self.status("gr-b").group_reason
        mark = point.group

        def sealed() -> None:
            assert [one for one in self.instants() if one.instant == mark.instant]

        await_done(sealed, "the other item's point")
        return next(one for one in self.instants() if one.instant == mark.instant)

    def number(self, point: Point, folder: Path) -> int:
        """What a point holds of the sequence."""
        (name,) = (self.far.folder / "drill" / "replica" / point.item).glob(f"*-{point.epoch}-{point.sequence}.vdb.*")
        raw = folder / "raw"
        argv = ["qemu-img", "convert", "-f", name.suffix[1:], "-O", "raw", "--", str(name), str(raw)]
        subprocess.run(argv, check=True, timeout=60)
        return int(raw.read_bytes()[:512].strip(b" \0") or b"0")

    def power(self, name: str) -> PowerState:
        return self.hypervisor.power(name)

    def runs(self) -> bool:
        """Whether the first guest's agent answers."""
        try:
            self.hypervisor.guest(self.domain).ping(1)
        except DrillError:
            return False
        return True

    def pause_by_hand(self) -> None:
        self.hypervisor.connection.call("pause", lambda handle: handle.lookupByName(self.domain).suspend())

    def wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def must_run(self) -> None:
        assert {self.power(name) for name in NAMES} == {PowerState.RUNNING}

    def one_must_stand_still(self) -> None:
        assert PowerState.PAUSED in {self.power(name) for name in NAMES}

    def must_stand_still(self) -> None:
        assert {self.power(name) for name in NAMES} == {PowerState.PAUSED}

    def _must_be_idle(self) -> None:
        for name in NAMES:
            status = self.status(name)
            assert status.last_point is not None, status.last_error
            assert status.cycles
            assert status.progress is None


@dataclass
class Writer:
    """Writes numbers in turn while the block lasts; `written` is the last that the second guest has."""

    group: Group
    written: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def await_more(self, count: int) -> None:
        wanted = self.written + count

        def there() -> None:
            assert self.written >= wanted

        await_done(there, "writes")

    def _run(self) -> None:
        while not self._over.is_set():
            for name in NAMES:
                await_done(partial(self._put, name, self.written + 1), f"a write of {name}", 120)
            self.written += 1

    def _put(self, name: str, number: int) -> None:
        """Until it is durable; a guest that is paused answers later, and the same number again is no other."""
        done = self.group.hypervisor.guest(name).run(["/bin/sh", "-c", PUT, "put", str(number)], 10)
        assert done.exit_code == 0


@pytest.fixture(scope="module")
def standing() -> Iterator[Group]:
    name = f"gr-{os.getpid()}"
    try:
        lab = site.up(topology.load("lab-two-site", name=name))
        near, hypervisor = lab.host("ny1"), hypervisor_of(lab, "ny1")
        machines = {}
        for domain in NAMES:
            machine = prepared(near, name=domain)
            path = f"/var/lib/libvirt/images/{domain}.vdb.qcow2"
            near.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
            blank = Disk(target="vdb", path=path, format="qcow2", size_bytes=1 << 20)
            machines[domain] = replace(machine, disks=(*machine.disks, blank))
            hypervisor.define(machines[domain], OWNER)
            hypervisor.start(domain, OWNER)
        for domain in NAMES:
            await_agent(hypervisor, domain)
        found = Group(lab, hypervisor, machines)
        yield found
        found.releaser.close()
    finally:
        site.down(name)


@pytest.fixture
def bench(standing: Group) -> Iterator[Group]:
    """Both guests run, whatever the test before left."""
    yield standing
    for name in NAMES:
        standing.hypervisor.start(name, OWNER)
    await_done(standing.must_run, "guests that run")


class TestSuspenderOfLibvirt(SuspenderContract):
    """The port's contract on a real guest."""


@pytest.mark.spec("S5.a")
def test_every_instant_of_a_group_is_one_instant_while_guests_are_written_in_turn(bench: Group, tmp_path: Path) -> None:
    bench.protect()
    numbers = []
    with Writer(bench) as writer:
        for _ in range(5):
            writer.await_more(2)
            found = bench.instant()
            points = {point.item: point for point in found.points}
            first, second = (bench.number(points[bench.item(name)], tmp_path) for name in NAMES)
            assert first - second in IN_STEP, f"{found.instant}: {first} and {second}"
            numbers.append(first)
    assert numbers == sorted(set(numbers)), "no two of these instants could be told apart"
    records = [bench.status(name).cycles[-1] for name in NAMES]
    assert all(0 < record.paused_seconds < PAUSE_SECONDS for record in records)
    bench.must_run()


def test_cycles_of_their_own_can_be_out_of_step(bench: Group, tmp_path: Path) -> None:
    """The defect that the group is there for: the same writes, without it."""
    bench.protect(together=False)
    with Writer(bench) as writer:
        writer.await_more(1)
        one = bench.cycle("gr-a")
        writer.await_more(2)
        other = bench.cycle("gr-b")
    assert one.group is None
    assert bench.number(one, tmp_path) - bench.number(other, tmp_path) not in IN_STEP


def test_a_group_is_frozen_together_and_let_go(bench: Group) -> None:
    bench.protect()

    def taken() -> None:
        found = bench.instant(application_consistent=True)
        assert found.application_consistent, [bench.status(name).application_reason for name in NAMES]

    await_done(taken, "an instant of frozen guests", 90)
    bench.must_run()
    assert bench.runs()


def test_guests_run_again_when_the_agent_is_killed_while_they_stand_still(bench: Group) -> None:
    bench.protect()
    cycle = threading.Thread(target=_tried, args=(bench,))
    cycle.start()
    try:
        await_done(bench.one_must_stand_still, "a pause")
        for pid in bench.near.pids("agent-source"):
            os.kill(pid, signal.SIGKILL)
        await_done(bench.must_run, "guests that run", PAUSE_SECONDS + 2)
    finally:
        cycle.join()
    site.up(bench.lab.topology)
    bench.protect()
    assert bench.instant().points


def test_guests_run_again_when_the_agent_that_paused_them_hangs(bench: Group) -> None:
    argv = [sys.executable, "-c", PAUSES_AND_WAITS, bench.hypervisor.uri, *NAMES]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            watching = int(process.stdout.readline())
            bench.must_stand_still()
            process.send_signal(signal.SIGSTOP)
            await_done(bench.must_run, "guests that run", PAUSE_SECONDS + 2)
        finally:
            process.kill()
    await_done(lambda: _gone(watching), "the end of the process that watched", 20)


def _tried(bench: Group) -> None:
    """A cycle whose agent may be killed within it."""
    with suppress(DrillError):
        bench.cycle("gr-b")


def _gone(pid: int) -> None:
    assert not Path(f"/proc/{pid}").exists()
