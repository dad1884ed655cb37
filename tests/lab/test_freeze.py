"""Application-consistent points of a real guest, and what becomes of a frozen guest when things go wrong (I13, L3).

That a guest is frozen is seen from outside: QEMU counts no writes of a guest that otherwise writes five times a second.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drill.bench import latency
from drill.hypervisor.freezer import LibvirtFreezer
from drill.hypervisor.release import Releaser
from drill.lab import site, topology
from drill.model.ledger import LedgerRead, in_step, parse
from drill.model.point import Point
from drill.ports import Guest
from drill.replication.quiesce import WINDOW_SECONDS
from tests.contract.freezer_suite import FreezerContract
from tests.lab.micro_machines import OWNER, await_agent, await_done, hypervisor_of, prepared
from tests.lab.replicated import Replicated, network_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
LOOK_SECONDS = 0.7
"""Three writes of the ledger."""
HOOK_PATH = "/data/etc/fsfreeze-hook"
HOOK = "#!/bin/sh\\n[ ! -e /run/hook-does ] || . /run/hook-does\\n"
FREEZES_AND_WAITS = """
import sys, time
from drill.hypervisor.connection import Connection
from drill.hypervisor.freezer import LibvirtFreezer
from drill.hypervisor.release import Releaser
releaser = Releaser(sys.argv[1], "/")
freezer = LibvirtFreezer(Connection(sys.argv[1]), releaser)
freezer.arm(sys.argv[2], 60)
print(freezer.freeze(sys.argv[2]), releaser.pid, flush=True)
time.sleep(600)
"""


@dataclass
class Frozen:
    """A machine with an agent whose ledger writes to two disks, replicated by the agents of its lab."""

    vm: Replicated
    domain: str = "fz-vm"

    def __post_init__(self) -> None:
        self.releaser = Releaser(self.vm.hypervisor.uri, "/")
        self.freezer = LibvirtFreezer(self.vm.hypervisor.connection, self.releaser)

    @property
    def guest(self) -> Guest:
        return self.vm.hypervisor.guest(self.domain)

    def shell(self, text: str) -> str:
        done = self.guest.run(["/bin/sh", "-c", text], 10)
        assert done.exit_code == 0, done
        return done.output.decode()

    def writes(self) -> int:
        """How many writes QEMU has counted."""
        return self.vm.hypervisor.connection.call(
            "count writes", lambda handle: int(handle.lookupByName(self.domain).blockStats("vda")[2])
        )

    def is_still(self) -> bool:
        before = self.writes()
        time.sleep(LOOK_SECONDS)
        return self.writes() == before

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def hook(self, text: str) -> None:
        """What the guest's freeze hook does from now on."""
        self.shell(f"echo '{text}' > /run/hook-does")

    def give_hook(self) -> None:
        """A freeze hook that does as told; the guest's agent is started anew to see it."""
        self.shell(f"printf '{HOOK}' > {HOOK_PATH}; chmod 755 {HOOK_PATH}")
        before = self.shell("pidof qemu-ga")
        self.shell("(sleep 0.2; kill $(pidof qemu-ga)) > /dev/null 2>&1 < /dev/null &")

        def anew() -> None:
            assert self.shell("pidof qemu-ga") != before

        await_done(anew, "the agent's new start")

    def cycle(self) -> Point:
        with network_of(self.vm.near):
            return self.vm.source.cycle(self.vm.item, witness=True, application_consistent=True)

    def reason(self) -> str:
        with network_of(self.vm.near):
            return self.vm.source.status(self.vm.item).application_reason

    def image(self, point: Point, target: str, folder: Path) -> Path:
        """A disk of a sealed point as a raw image."""
        (name,) = list(self.vm.replica("").glob(f"*-{point.epoch}-{point.sequence}.{target}.*"))
        raw = folder / "raw"
        subprocess.run(
            ["qemu-img", "convert", "-f", name.suffix[1:], "-O", "raw", "--", str(name), str(raw)],
            check=True,
            timeout=60,
        )
        return raw

    def needs_recovery(self, point: Point, target: str, folder: Path) -> bool:
        """Whether the ext4 of a sealed point has a journal to recover: its superblock says so."""
        raw = self.image(point, target, folder)
        (incompatible,) = struct.unpack_from("<I", raw.read_bytes(), 1024 + 0x60)
        return bool(incompatible & 4)

    def ledger(self, point: Point, target: str, folder: Path) -> LedgerRead:
        """The ledger of a disk, the file system's journal recovered as a guest would."""
        raw = self.image(point, target, folder)
        subprocess.run(["e2fsck", "-f", "-y", "--", str(raw)], timeout=60, capture_output=True, check=False)
        argv = ["debugfs", "-R", "cat /ledger", "--", str(raw)]
        return parse(subprocess.run(argv, timeout=60, capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def standing() -> Iterator[Frozen]:
    name = f"fz-{os.getpid()}"
    try:
        lab = site.up(topology.load("lab-two-site", name=name))
        near, hypervisor = lab.host("ny1"), hypervisor_of(lab, "ny1")
        disks = [{"target": target, "size_bytes": 32 << 20} for target in ("vda", "vdb")]
        machine = prepared(near, name="fz-vm", disks=disks)
        hypervisor.define(machine, OWNER)
        hypervisor.start("fz-vm", OWNER)
        await_agent(hypervisor, "fz-vm")
        vm = Replicated(lab, near, lab.host("chi1"), hypervisor, machine)
        vm.protect()
        found = Frozen(vm)
        found.give_hook()
        await_done(lambda: vm.cycle(witness=False), "the first copy")
        yield found
        found.releaser.close()
    finally:
        site.down(name)


@pytest.fixture
def bench(standing: Frozen) -> Frozen:
    """The machine, its agent well and its hook idle, whatever the test before it left."""

    def well() -> None:
        standing.freezer.thaw(standing.domain)  # an agent that was killed believes for ever that the guest is frozen
        standing.hook(":")

    await_done(well, "an agent that answers")
    return standing


class TestFreezerOfLibvirt(FreezerContract):
    """The port's contract on a real guest."""


@pytest.mark.spec("E6.c")
def test_an_application_consistent_point_holds_a_clean_file_system(bench: Frozen, tmp_path: Path) -> None:
    bench.hook('echo "$1" >> /run/hook')
    point = bench.cycle()
    assert point.application_consistent, bench.reason()
    assert bench.vm.differing(point) == []
    assert bench.shell("cat /run/hook").split() == ["freeze", "thaw"]
    assert not any(bench.needs_recovery(point, target, tmp_path) for target in ("vda", "vdb"))
    with network_of(bench.vm.near):
        record = bench.vm.source.status(bench.vm.item).cycles[-1]
    assert 0 < record.frozen_seconds < WINDOW_SECONDS
    assert not bench.is_still()


def test_a_crash_consistent_point_is_called_so_and_has_a_journal_to_recover(bench: Frozen, tmp_path: Path) -> None:
    point = bench.vm.cycle()
    assert not point.application_consistent
    assert bench.needs_recovery(point, "vda", tmp_path)


def test_a_hook_that_hangs_leaves_a_crash_consistent_point_and_a_thawed_guest(bench: Frozen) -> None:
    bench.hook('[ "$1" = thaw ] || sleep 7')
    point = bench.cycle()
    assert not point.application_consistent
    assert "freeze" in bench.reason()
    assert bench.vm.differing(point) == []
    until = time.monotonic() + WINDOW_SECONDS + 2
    while time.monotonic() < until and bench.is_still():
        continue
    assert not bench.is_still()


def test_a_hook_that_refuses_leaves_a_crash_consistent_point_that_says_so(bench: Frozen) -> None:
    bench.hook('[ "$1" = thaw ] || exit 3')
    point = bench.cycle()
    assert not point.application_consistent
    assert "freeze" in bench.reason()
    assert not bench.is_still()


def test_a_guest_whose_agent_dies_frozen_is_thawed_by_its_own_timer(bench: Frozen) -> None:
    """Nobody else helps: the process that watches is killed, and the agent that is started anew is asked nothing."""
    bench.freezer.arm(bench.domain, 3)
    watching = bench.releaser.pid
    assert watching is not None
    dies = "sleep 1; kill -9 $(pidof qemu-ga)"
    bench.shell(f"({dies}) > /dev/null 2>&1 < /dev/null &")
    os.kill(watching, signal.SIGKILL)
    bench.freezer.freeze(bench.domain)
    assert bench.is_still()
    bench.wait(3)
    assert not bench.is_still()


def test_a_guest_is_thawed_when_the_process_that_froze_it_is_killed(bench: Frozen) -> None:
    """Its timer would come in a minute."""
    uri = bench.vm.hypervisor.uri
    argv = [sys.executable, "-c", FREEZES_AND_WAITS, uri, bench.domain]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        count, watching = (int(word) for word in process.stdout.readline().split())
        assert count > 0
        assert bench.is_still()
        process.send_signal(signal.SIGKILL)
    await_done(lambda: _writes_again(bench), "the thaw", 10)
    await_done(lambda: _gone(watching), "the end of the process that watched", 10)


def _writes_again(bench: Frozen) -> None:
    assert not bench.is_still()


def _gone(pid: int) -> None:
    assert not Path(f"/proc/{pid}").exists()


def test_a_guest_that_waits_for_its_writes_is_measured_so(bench: Frozen) -> None:
    calm = latency.measure(bench.guest, seconds=2)
    holds = "sleep 1; fsfreeze --freeze /data; sleep 2; fsfreeze --unfreeze /data"
    bench.shell(f"({holds}) > /dev/null 2>&1 < /dev/null &")
    held = latency.measure(bench.guest, seconds=4)
    assert 0 < calm.median <= calm.p95 <= calm.worst
    assert calm.writes >= 1
    assert held.worst > 0.8


@pytest.mark.spec("H7.b")
def test_two_disks_written_in_lock_step_are_of_one_instant_in_every_point(bench: Frozen, tmp_path: Path) -> None:
    """The guest's ledger writes each record to the first disk, then to the second: there it may lag by one (R14)."""
    counts, seconds = [], []
    for _ in range(8):
        point = bench.vm.cycle()
        first, second = (bench.ledger(point, target, tmp_path) for target in ("vda", "vdb"))
        assert first.whole
        assert in_step(first, second), f"{point.epoch}/{point.sequence}: {first} and {second}"
        counts.append(first.count)
        seconds.append(second)
    assert counts == sorted(counts)
    assert not in_step(first, seconds[0]), "no two of these points could be told apart"
