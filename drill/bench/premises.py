"""Where the bench runs: a lab of one host with its own libvirt daemon and its own two agents, on this machine.

One host, because the peers move their bytes within one machine too: what is compared is the work, not a wire.  The
guests are defined from drill's own allow-list, have one disk, and stay paused: nothing else changes that disk, and an
emulated processor takes no time from the tools.  Writes go through QEMU's block backend of the guest, so that its
change tracking sees them as it would see a guest's.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from drill.errors import Failed
from drill.hypervisor import domain_xml
from drill.hypervisor.connection import Connection, Handle
from drill.lab import certificates, members, site
from drill.lab.agents import RECEIVER_PORT, SOURCE_PORT
from drill.lab.roots import STATE_INSIDE
from drill.lab.standing import Lab, LabHost
from drill.lab.topology import Host, Site, Topology
from drill.lab.workload import BOOT_INSIDE, IMAGES_INSIDE, uri_outside
from drill.model.identity import Role
from drill.model.machine import Disk, KernelBoot, Machine

TARGET = "vda"
IO_SECONDS = 300.0
_PAUSED = 1  # VIR_DOMAIN_START_PAUSED
_CLONE_NEWNET = 0x40000000
_NAMES = uuid.UUID("0b7a6b6e-4f2a-5c55-8d53-6d1a5b2d9c11")
_libc = ctypes.CDLL(None, use_errno=True)
Progress = Callable[[str], None]


@contextmanager
def opened(progress: Progress) -> Iterator[Premises]:
    """A lab of this process's own, taken away at the end, whatever happens."""
    topology = Topology(name=f"bench-{os.getpid()}", sites=(Site(name="bench", hosts=(Host(name="bench1"),)),))
    try:
        yield Premises(site.up(topology, progress))
    finally:
        site.down(topology.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A source agent and a receiver agent of the host.  `certificate` is the controller's, None for plain TCP."""

    address: str
    source_port: int
    receiver_port: int
    roles: tuple[str, str]
    store: Path
    certificate: Path | None
    name: str


class Premises:
    """The standing lab: its host, its libvirt, its folder of images seen from outside and from inside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: LabHost = lab.hosts[0]
        self.images = self.host.folder / "lib" / "images"
        self.connection = Connection(uri_outside(self.host))
        self.secure = Pair(
            address=self.host.address,
            source_port=SOURCE_PORT,
            receiver_port=RECEIVER_PORT,
            roles=("agent-source", "agent-receiver"),
            store=self.host.folder / "drill" / "replica",
            certificate=certificates.outside(lab.folder, "controller", Role.CONTROLLER),
            name=self.host.name,
        )
        self.plain = Pair(
            address="127.0.0.1",
            source_port=SOURCE_PORT + 1000,
            receiver_port=RECEIVER_PORT + 1000,
            roles=("plain-source", "plain-receiver"),
            store=self.host.folder / "drill" / "replica-plain",
            certificate=None,
            name="",
        )
        self._launch_plain()

    def _launch_plain(self) -> None:
        """The two agents that speak without TLS, on the host's loopback, with folders of their own."""
        pair = self.plain
        for role, port, option, folder in (
            ("source", pair.source_port, "--state", "agent-plain"),
            ("receiver", pair.receiver_port, "--store", "replica-plain"),
        ):
            argv = [sys.executable, "-m", "drill", "agent", "--role", role, "--insecure-no-tls"]
            argv += ["--listen", f"{pair.address}:{port}", option, str(STATE_INSIDE / folder)]
            log = self.host.folder / "log" / f"plain-{role}.log"
            self.host.place.launch(argv, role=f"plain-{role}", log=log)
            members.await_true(partial(self.host.place.listens, port), site.READY_SECONDS, f"the plain {role} agent")

    def inside(self, file: Path) -> str:
        """The path by which the host's own processes know a file of the images folder."""
        return f"{IMAGES_INSIDE}/{file.relative_to(self.images)}"

    def drop_checkpoints(self, name: str) -> None:
        """Delete all checkpoints of a machine, and its change tracking with them."""

        def act(handle: Handle) -> None:
            for checkpoint in handle.lookupByName(name).listAllCheckpoints():
                checkpoint.delete()

        self.connection.call("drop the checkpoints", act, changes=True)

    def start(self, name: str, size_bytes: int) -> Machine:
        """Define a machine over the image `<name>.qcow2` and start it paused."""
        boot = f"{BOOT_INSIDE}/micro"
        machine = Machine(
            name=name,
            uuid=str(uuid.uuid5(_NAMES, name)),
            memory_mib=64,
            vcpus=1,
            disks=(Disk(target=TARGET, path=f"{IMAGES_INSIDE}/{name}.qcow2", format="qcow2", size_bytes=size_bytes),),
            nics=(),
            boot=KernelBoot(kernel=f"{boot}/vmlinuz", initrd=f"{boot}/initrd.img", cmdline=""),
        )
        xml = domain_xml.render(
            machine, None, self.lab.accelerator.name, domain_xml.Tuning(disk_cache="writeback", tb_cache_mib=32)
        )

        def act(handle: Handle) -> None:
            handle.defineXML(xml).createWithFlags(_PAUSED)

        self.connection.call(f"start {name}", act, changes=True)
        return machine

    def end(self, name: str) -> None:
        """Switch a machine off at once; nobody needs what it held."""
        self.connection.call(f"end {name}", lambda handle: handle.lookupByName(name).destroy(), changes=True)

    def qemu(self, name: str) -> int:
        """The process of a running machine."""
        return int((self.host.folder / "run" / "qemu" / f"{name}.pid").read_text("ascii"))

    def write(self, name: str, found: Iterable[tuple[int, bytes]]) -> None:
        """Write into a running machine's disk through QEMU's own backend, then flush it."""
        device = "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend"
        with self._staged(found) as staged:
            lines = [f"write -s {self.inside(file)} {offset} {length}" for offset, length, file in staged]
            script = [f"qemu-monitor-command {name} --hmp '{device} \"{line}\"'" for line in [*lines, "flush"]]
            _speak(["virsh", "-q", "-c", self.connection.uri], script)

    def write_idle(self, image: Path, found: Iterable[tuple[int, bytes]]) -> None:
        """Write into an image that no machine has."""
        with self._staged(found) as staged:
            lines = [f"write -q -s {file} {offset} {length}" for offset, length, file in staged]
            _speak(["qemu-io", "-f", "qcow2", str(image)], [*lines, "flush", "quit"])

    @contextmanager
    def _staged(self, found: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, int, Path]]]:
        """Each write's bytes as a file, from which qemu-io takes its pattern."""
        folder = self.images / "writes"
        folder.mkdir()
        staged = []
        for number, (offset, data) in enumerate(found):
            file = folder / str(number)
            file.write_bytes(data)
            staged.append((offset, len(data), file))
        try:
            yield staged
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Sockets of this thread are made in the host's network while the block lasts."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.host.pid}/ns/net", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)


def _speak(argv: list[str], lines: list[str]) -> None:
    """Give a tool its commands, one a line; Failed when it complains of any."""
    script = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=IO_SECONDS, check=False)
    said = done.stdout + done.stderr
    if done.returncode or any(word in said.lower() for word in ("error", "failed", "invalid")):
        raise Failed(f"writing by {argv[0]}", said[-400:])


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
