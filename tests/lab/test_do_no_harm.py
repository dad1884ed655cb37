"""What our work may do to a guest on a real host (I32): nothing, whatever runs full, dies or meets another tool.

The machine has one disk of each kind: qcow2, raw, and a qcow2 of version 2.  The last two can hold no bitmap.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drill.errors import DrillError
from drill.estate import yaml
from drill.lab import site, topology
from drill.lab.place import environment
from drill.model.point import Point
from fixtures.command_line import ROOT
from tests.lab.micro_machines import OWNER, await_agent, await_done, hypervisor_of, inside, prepared
from tests.lab.replicated import Replicated, network_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
SCRATCH = "/var/lib/libvirt/drill"
SIZES = {"vda": 64 << 20, "vdb": 16 << 20, "vdc": 16 << 20}
ROOM_MIB = 220
"""A little more than a job over these disks must have: 96 / 0.8 + 64."""
CLAIMS = """
import json, sys
from drill.errors import DrillError
from drill.hypervisor.backup import LibvirtBackups
from drill.hypervisor.connection import Connection
from drill.host.clock import HostClock
try:
    LibvirtBackups(Connection("qemu:///system"), HostClock()).abort_leftover(sys.argv[1])
    print(json.dumps(["done", ""]))
except DrillError as error:
    print(json.dumps([error.id, str(error)]))
"""


@pytest.fixture(scope="module")
def standing() -> Iterator[Replicated]:
    name = f"dn-{os.getpid()}"
    try:
        lab = site.up(topology.load("lab-two-site", name=name))
        near, hypervisor = lab.host("ny1"), hypervisor_of(lab, "ny1")
        near.run(["sh", "-c", f"mkdir -p {SCRATCH} && mount -n -t tmpfs -o size={ROOM_MIB}m none {SCRATCH}"])
        disks = [{"target": target, "size_bytes": size} for target, size in SIZES.items()]
        machine = prepared(near, name="dn-vm", disks=disks)
        vda, vdb, vdc = machine.disks
        raw, old = vdb.path.replace(".qcow2", ".raw"), vdc.path.replace(".qcow2", ".v2")
        near.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "--", vdb.path, raw])
        near.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", "compat=0.10", "--", vdc.path, old])
        machine = replace(machine, disks=(vda, replace(vdb, path=raw, format="raw"), replace(vdc, path=old)))
        hypervisor.define(machine, OWNER)
        hypervisor.start("dn-vm", OWNER)
        await_agent(hypervisor, "dn-vm")
        vm = Replicated(lab, near, lab.host("chi1"), hypervisor, machine)
        vm.protect()
        await_done(lambda: vm.cycle(witness=False), "the first copy")
        yield vm
    finally:
        site.down(name)


@pytest.fixture
def vm(standing: Replicated) -> Iterator[Replicated]:
    standing.restore()
    yield standing
    standing.lab.heal_link()
    standing.near.run(["sh", "-c", f"rm -f {SCRATCH}/filler"])


def shell(vm: Replicated, text: str) -> str:
    done = vm.hypervisor.guest("dn-vm").run(["/bin/sh", "-c", text], 60)
    assert done.exit_code == 0, done
    return done.output.decode()


def sealed(vm: Replicated) -> Point:
    point = vm.cycle()
    assert vm.differing(point) == []
    return point


def test_disks_without_bitmaps_are_read_whole_in_one_job_with_those_that_have_them(vm: Replicated) -> None:
    sealed(vm)
    shell(vm, "echo changed > /data/changed; echo changed > /data2/changed; sync")
    point = sealed(vm)
    with network_of(vm.near):
        status = vm.source.status(vm.item)
    assert status.without_bitmap == ("vdb", "vdc")
    assert {seal.target for seal in point.disks} == set(SIZES)
    assert [name for name in vm.bitmaps("vda") if name.startswith("drill-")]


def verb(vm: Replicated, estate: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the document of a verb that the lab's controller runs."""
    argv = vm.lab.controller.argv_inside([sys.executable, "-m", "drill", *arguments, "--json"])
    env = environment(vm.lab.name, "controller") | {"DRILL_ESTATE": str(estate)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout)


def estate_of(vm: Replicated, folder: Path) -> Path:
    """The shop's estate with this machine as its only item."""
    page = yaml.read(ROOT / "fixtures" / "estates" / "shop.yaml").value
    assert isinstance(page, dict)
    item = {"name": vm.machine.name, "pair": "gold", "source_host": vm.near.name, "target": {"size": "standard"}}
    file = folder / "estate.yaml"
    file.write_text(json.dumps(page | {"protected_items": [item], "plans": []}))
    return file


def test_disks_that_are_read_whole_are_named_before_and_when_replication_begins(vm: Replicated, tmp_path: Path) -> None:
    estate, name = estate_of(vm, tmp_path), vm.machine.name
    code, found = verb(vm, estate, "preflight")
    row = {"item": name, "ready": True, "problems": [], "without_bitmap": ["vdb", "vdc"]}
    assert (code, found) == (0, {"items": [row]})
    code, found = verb(vm, estate, "protect", name, "--no-wait")
    assert (code, found["items"][0]["without_bitmap"]) == (0, ["vdb", "vdc"])
    with network_of(vm.near):
        vm.source.unprotect(vm.item)
    vm.kill_agent(vm.near, "agent-source")
    code, found = verb(vm, estate, "preflight", name)
    assert (code, found["items"][0]["ready"]) == (6, False)
    assert "the agent's source role does not answer" in found["items"][0]["problems"][0]


class Cycle:
    """A cycle that is slow because of its link, with as much of vda to carry as was written; `error` is its end."""

    def __init__(self, vm: Replicated) -> None:
        shell(vm, "dd if=/dev/urandom of=/data/noise bs=65536 count=320 conv=notrunc 2> /dev/null; sync")
        vm.lab.throttle_link(bits_per_second=8_000_000)
        self.error: DrillError | None = None
        self._vm = vm
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        await_done(self._must_be_open, "a job")

    def _run(self) -> None:
        try:
            self._vm.cycle(witness=False)
        except DrillError as error:
            self.error = error

    def is_open(self) -> bool:
        stats = self._vm.hypervisor.connection.call("look", lambda h: h.lookupByName("dn-vm").jobStats())
        return bool(stats.get("type", 0))

    def _must_be_open(self) -> None:
        assert self.is_open()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def leave(vm: Replicated, mib: int) -> None:
    """Somebody else fills the scratch's file system up to so much."""
    code = (
        f"import os; s = os.statvfs('{SCRATCH}'); n = s.f_bavail * s.f_frsize - ({mib} << 20);"
        f"f = os.open('{SCRATCH}/filler', os.O_CREAT | os.O_WRONLY); os.posix_fallocate(f, 0, max(n, 1))"
    )
    vm.near.run([sys.executable, "-c", code])


@pytest.mark.parametrize("mib", [62, 1], ids=["nearly full", "full at once"])
def test_a_scratch_that_fills_ends_the_cycle_and_harms_no_guest(vm: Replicated, mib: int) -> None:
    before = sealed(vm)
    cycle = Cycle(vm)
    overwrites = "dd if=/dev/urandom of=/data/noise bs=65536 count=320 conv=notrunc,fsync > /run/dd 2>&1"
    shell(vm, f"(sleep 1; {overwrites}; echo ended $? >> /run/dd) < /dev/null > /dev/null 2>&1 &")
    leave(vm, mib)
    cycle.join()
    assert cycle.error is not None
    assert "scratch" in str(cycle.error) or "paused" in str(cycle.error)
    assert vm.running()
    written = []
    await_done(lambda: written.append(shell(vm, "grep ended /run/dd; dmesg | tail -5")), "the guest's writes")
    assert "ended 0" in written[0]
    assert "error" not in written[0].lower()
    assert vm.points()[-1] == before
    vm.lab.heal_link()
    vm.near.run(["sh", "-c", f"rm -f {SCRATCH}/filler"])
    point = sealed(vm)
    assert (point.epoch, point.sequence) == (before.epoch, before.sequence + 1)


def test_a_job_is_not_begun_without_room_for_the_worst(vm: Replicated) -> None:
    sealed(vm)
    leave(vm, 150)
    with pytest.raises(DrillError, match="scratch files may need 184 MiB"):
        vm.cycle()
    assert vm.running()


def test_a_second_agent_is_refused_by_name(vm: Replicated) -> None:
    sealed(vm)
    (agent,) = vm.near.pids("agent-source")
    kind, text = inside(vm.near, CLAIMS, "dn-vm")
    assert kind == "Refused"
    assert f"process {agent}" in text


def test_the_job_of_a_killed_agent_is_ended_from_outside(vm: Replicated) -> None:
    """No new agent is started; the guest's scratch must not go on growing."""
    cycle = Cycle(vm)
    vm.kill_agent(vm.near, "agent-source")
    cycle.join()

    def ended() -> None:
        assert not cycle.is_open()
        assert not [path for path in vm.near.run(["ls", SCRATCH]).stdout.split() if path.endswith(".scratch")]

    await_done(ended, "the end of the job", 15)
    assert vm.running()
    assert not vm.near.pids("agent-source")
