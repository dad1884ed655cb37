"""A machine with three disks that is replicated between the hosts of a lab, and hands for writing and breaking.

vda is the guest's own: its file system is written, zeroed and trimmed by the guest all the time, cycle or not.  vdb and
vdc are written through QEMU's monitor (`qemu-io` on the guest's own block backend), so that writes, zeros and discards
land where a test says.  That is done between cycles only: QEMU 7.2 may crash when `qemu-io` runs its nested event loop
while a backup job begins or ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import libvirt_qemu

from drill.hypervisor.connection import Handle
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import certificates, site
from drill.lab.standing import Lab, LabHost
from drill.model.identity import Authentication, Identity, Role
from drill.model.machine import Machine, PowerState
from drill.model.point import Point, ProtectionOrder
from drill.transport.client import ReceiverClient, SourceClient
from drill.transport.paired import PAIR_KEY_PORT
from drill.transport.secure import Security
from tests.lab.micro_machines import OWNER, await_done, hypervisor_of, prepared

HMP = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
SIZES = {"vda": 32 << 20, "vdb": 32 << 20, "vdc": (40 << 20) + 77 * 512}


@contextmanager
def network_of(host: LabHost) -> Iterator[None]:
    """Sockets of this thread are made in the host's network while the block lasts."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(home)
        os.close(there)
        os.close(home)


def controller_of(lab: Lab) -> Security:
    """The lab's controller, by its certificate."""
    return Security(certificates.outside(lab.folder, "controller", Role.CONTROLLER))


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Replicated:
    """The machine on its source host, replicated to the target host; the agents of both are the lab's own."""

    lab: Lab
    near: LabHost
    far: LabHost
    hypervisor: LibvirtHypervisor
    machine: Machine

    @property
    def item(self) -> str:
        return self.machine.uuid

    @property
    def source(self) -> SourceClient:
        return SourceClient(self.near.address, 8081, controller_of(self.lab), self.near.name)

    @property
    def receiver(self) -> ReceiverClient:
        return ReceiverClient(self.far.link_address, 8084, controller_of(self.lab), self.far.name)

    def protect(
        self, interval_seconds: int = 3600, *, witness: bool = False, by: Authentication = Authentication.CERTIFICATE
    ) -> None:
        port = PAIR_KEY_PORT if by is Authentication.PAIR_KEY else 8084
        order = ProtectionOrder(
            item=self.item,
            domain=self.machine.name,
            receiver=f"{self.far.link_address}:{port}",
            interval_seconds=interval_seconds,
            receiver_name=self.far.name,
            witness=witness,
            authentication=by,
        )
        with network_of(self.near):
            self.receiver.allow(self.item, Identity(role=Role.SOURCE, name=self.near.name), term=1)
            self.source.protect(order)

    def cycle(self, *, witness: bool = True) -> Point:
        with network_of(self.near):
            return self.source.cycle(self.item, witness=witness)

    def points(self) -> tuple[Point, ...]:
        with network_of(self.near):
            return self.receiver.points(self.item)

    def reasons(self) -> dict[str, str]:
        """Of the last cycle, the disks that were not simply tracked, and why."""
        with network_of(self.near):
            disks = self.source.status(self.item).cycles[-1].disks
        return {disk.target: disk.reason for disk in disks if disk.reason}

    def last_error(self) -> str:
        with network_of(self.near):
            return self.source.status(self.item).last_error

    def differing(self, point: Point) -> list[str]:
        """Disks of a sealed point that are not, byte for byte, what a foreign tool read from the source's export."""
        with network_of(self.near):
            found = dict(self.receiver.witness(self.item, point.epoch, point.sequence))
        assert all(seal.witness for seal in point.disks), "the point was sealed without a witness"
        return [seal.target for seal in point.disks if found[seal.target] != seal.witness]

    def io(self, target: str, *commands: str) -> None:
        """Commands of qemu-io on the guest's own backend of a disk: `write -P 7 0 4k`, `write -z …`, `discard …`."""
        for command in commands:
            device = f"/machine/peripheral/virtio-disk{list(SIZES).index(target)}/virtio-backend"
            line = f'qemu-io -d {device} "{command}"'
            said = self.hypervisor.connection.call("write to a disk", partial(self._monitor, line))
            assert not any(word in said.lower() for word in ("error", "failed")), f"{command}: {said}"

    def scribble(self, rng: random.Random, count: int = 6) -> None:
        """Writes, zeros and discards anywhere on vdb and vdc, at offsets of any alignment a guest may use."""
        for _ in range(count):
            target = rng.choice(["vdb", "vdc"])
            length = rng.choice([512, 4096, 65536, 70_144, 1 << 20, 3 << 20])
            room = SIZES[target] - length
            offset = rng.choice([rng.randrange(room // 512) * 512, room, 0])
            kind = rng.choice(["write -P {}", "write -P {}", "write -z", "write -z -u", "discard"])
            self.io(target, f"{kind.format(rng.randrange(1, 256))} {offset} {length}")

    def running(self) -> bool:
        return self.hypervisor.power(self.machine.name) is PowerState.RUNNING

    def kill_qemu(self) -> None:
        """SIGKILL, then the domain is started again."""
        pid = int((self.near.folder / "run" / "qemu" / f"{self.machine.name}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        await_done(self._must_be_off, "the death of QEMU")
        self.hypervisor.start(self.machine.name, OWNER)

    def start(self) -> None:
        """Power the machine on."""
        self.hypervisor.start(self.machine.name, OWNER)

    def bitmaps(self, target: str) -> list[str]:
        """Names of the dirty bitmaps that QEMU has on a disk."""
        return [str(bitmap["name"]) for bitmap in self._inserted(target).get("dirty-bitmaps", [])]

    def remove_bitmap(self, target: str, name: str) -> None:
        """Take a bitmap away behind libvirt's back."""
        node = self._inserted(target)["node-name"]
        self._qmp("block-dirty-bitmap-remove", {"node": node, "name": name})

    def _inserted(self, target: str) -> dict[str, Any]:
        device = f"/machine/peripheral/virtio-disk{list(SIZES).index(target)}/virtio-backend"
        found = [block for block in self._qmp("query-block", {}) if block.get("qdev") == device]
        return dict(found[0]["inserted"])

    def _qmp(self, command: str, arguments: dict[str, str]) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})

        def ask(handle: Handle) -> str:
            return str(libvirt_qemu.qemuMonitorCommand(handle.lookupByName(self.machine.name), text, 0))

        return json.loads(self.hypervisor.connection.call(command, ask))["return"]

    def kill_agent(self, host: LabHost, role: str) -> None:
        """SIGKILL of an agent, found by its role, and nothing else."""
        for pid in host.pids(role):
            os.kill(pid, signal.SIGKILL)
        await_done(lambda: self._must_be_gone(host, role), f"the death of {role}")

    def mend(self) -> None:
        """Start what is missing in the lab, as an operator would."""
        site.up(self.lab.topology)

    def restore(self) -> None:
        """Agents there, link whole, machine running and protected, its newest point sealed."""
        if not (self.near.pids("agent-source") and self.far.pids("agent-receiver")):
            self.mend()
        self.lab.heal_link()
        self.hypervisor.start(self.machine.name, OWNER)
        self.protect()
        await_done(lambda: self.cycle(witness=False), "a cycle", 120)

    def replica(self, name: str) -> Path:
        """A file of the replica, seen from outside."""
        return self.far.folder / "drill" / "replica" / self.item / name

    def _monitor(self, line: str, handle: Handle) -> str:
        return str(libvirt_qemu.qemuMonitorCommand(handle.lookupByName(self.machine.name), line, HMP))

    def _must_be_off(self) -> None:
        assert not self.running()

    def _must_be_gone(self, host: LabHost, role: str) -> None:
        assert not host.pids(role)


def replicated(lab: Lab, name: str, *, agent: bool = False) -> Replicated:
    """A machine on the first site, started, whose guest writes to its first disk every second."""
    near, far = lab.host("ny1"), lab.host("chi1")
    hypervisor = hypervisor_of(lab, "ny1")
    disks = [{"target": target, "size_bytes": size} for target, size in SIZES.items()]
    machine = prepared(near, name=name, agent=agent, churn_seconds=1, disks=disks)
    hypervisor.define(machine, OWNER)
    hypervisor.start(name, OWNER)
    return Replicated(lab, near, far, hypervisor, machine)


def clear_zero_bits(overlay: Path) -> int:
    """Make an overlay forget its zeros, as a receiver that skips zero extents would; returns how many were there."""
    file = bytearray(overlay.read_bytes())
    l1_size, l1_at = struct.unpack_from(">IQ", file, 36)
    cleared = 0
    for index in range(l1_size):
        (l1,) = struct.unpack_from(">Q", file, l1_at + 8 * index)
        l2_at = l1 & 0x00FFFFFFFFFFFE00
        for entry in range(l2_at, min(l2_at + 65536, len(file)) if l2_at else 0, 16):
            (zero,) = struct.unpack_from(">I", file, entry + 8)
            cleared += zero.bit_count()
            struct.pack_into(">I", file, entry + 8, 0)
    overlay.write_bytes(file)
    return cleared
