"""The tools that copy a running machine's disk: drill's own agents, and libvirt's push backup."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from drill.bench.command import Runner, sync
from drill.bench.premises import TARGET, Premises
from drill.errors import Failed
from drill.hypervisor.connection import Handle
from drill.model.identity import Identity, Role
from drill.model.machine import Machine
from drill.model.point import Point, ProtectionOrder
from drill.transport.client import ReceiverClient, SourceClient
from drill.transport.secure import Security

_POLL_SECONDS = 0.005
_JOB_SECONDS = 600.0
_IDLE = 0  # VIR_DOMAIN_JOB_NONE


class Drill:
    """drill: agents of both roles, a full copy and then cycles, each durable before it is acknowledged.

    `pair` are the agents; with `secure` they are the lab's own, under mutual TLS, otherwise those without.  After the
    first cycle one begins by itself every `interval_seconds`; by default none does.
    """

    def __init__(
        self, premises: Premises, machine: Machine, *, secure: bool, interval_seconds: int = 24 * 3600
    ) -> None:
        name, pair = ("drill", premises.secure) if secure else ("drill-no-tls", premises.plain)
        self.name = name
        self.runner = Runner()
        self._premises = premises
        self._machine = machine
        self._interval_seconds = interval_seconds
        self._points: list[Point] = []
        self._pair = pair
        holder = Security(pair.certificate) if pair.certificate else None
        self._source_client = SourceClient(pair.address, pair.source_port, holder, pair.name)
        self._receiver_client = ReceiverClient(pair.address, pair.receiver_port, holder, pair.name)

    def serving(self) -> Sequence[int]:
        """Whose time counts."""
        return [self._premises.qemu(self._machine.name), *self.memory()]

    def memory(self) -> Sequence[int]:
        """Whose memory counts: ours, not QEMU's."""
        return [pid for role in self._pair.roles for pid in self._premises.host.pids(role)]

    def full(self) -> None:
        """Protect: the first cycle begins at once."""
        order = ProtectionOrder(
            item=self._machine.uuid,
            domain=self._machine.name,
            receiver=f"{self._pair.address}:{self._pair.receiver_port}",
            receiver_name=self._pair.name,
            interval_seconds=self._interval_seconds,
            witness=False,
        )
        with self._premises.network():
            if self._pair.certificate:
                sender = Identity(role=Role.SOURCE, name=self._pair.name)
                self._receiver_client.allow(self._machine.uuid, sender, term=order.term)
            self._source_client.protect(order)
            self._await_first()

    def incremental(self) -> None:
        """One cycle."""
        with self._premises.network():
            self._points.append(self._source_client.cycle(self._machine.uuid, witness=False))

    def stores(self) -> Path:
        """All that the receiver keeps of the item."""
        return self._pair.store / self._machine.uuid

    def restore(self, target: Path) -> str:
        """The newest point as an image that stands alone (a test failover needs none: it boots over the point)."""
        source = self.stores() / f"point-{self._tag()}.{TARGET}.qcow2"
        self.runner.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(source), str(target)])
        sync(target)
        return "qcow2"

    def empty(self) -> None:
        """A cycle in which nothing changed; the point before it is the one to restore."""
        with self._premises.network():
            self._source_client.cycle(self._machine.uuid, witness=False)

    def sequence(self) -> int:
        """That of the newest point which the source knows to be sealed."""
        with self._premises.network():
            return self._source_client.status(self._machine.uuid).acknowledged_sequence

    def resync(self) -> int:
        """A cycle after tracking was lost; returns the bytes that were sent."""
        self._premises.drop_checkpoints(self._machine.name)
        with self._premises.network():
            return self._source_client.cycle(self._machine.uuid, witness=False).sent_bytes

    def clear(self) -> None:
        """Forget the item on both sides."""
        with self._premises.network():
            self._source_client.unprotect(self._machine.uuid)
            self._receiver_client.forget(self._machine.uuid)
        self._points.clear()

    def _await_first(self) -> None:
        until = time.monotonic() + _JOB_SECONDS
        while time.monotonic() < until:
            status = self._source_client.status(self._machine.uuid)
            if status.last_point is not None:
                self._points.append(status.last_point)
                return
            if status.last_error:
                raise Failed("the full copy", status.last_error)
            time.sleep(_POLL_SECONDS)
        raise Failed("the full copy", f"no point within {_JOB_SECONDS:.0f} s")

    def _tag(self) -> str:
        point = self._points[-1]
        return f"{point.epoch}-{point.sequence}"


class LibvirtPush:
    """libvirt's push backup: QEMU itself writes what changed into a qcow2 file."""

    name = "libvirt-push"

    def __init__(self, premises: Premises, machine: Machine) -> None:
        self.runner = Runner()
        self._premises = premises
        self._machine = machine
        self._folder = premises.images / "push"
        self._count = 0
        self._since = ""

    def serving(self) -> Sequence[int]:
        """Whose time counts."""
        return [self._premises.qemu(self._machine.name)]

    def memory(self) -> Sequence[int]:
        """QEMU does the work."""
        return self.serving()

    def full(self) -> None:
        """All of the disk."""
        self._folder.mkdir(exist_ok=True)
        self._push("full.qcow2", "")

    def incremental(self) -> None:
        """What changed since."""
        self._push("inc.qcow2", f"<incremental>{self._since}</incremental>")

    def stores(self) -> Path:
        """Both files."""
        return self._folder

    def restore(self, target: Path) -> str:
        """Chain the increment to the full copy, then flatten."""
        full, increment = str(self._folder / "full.qcow2"), str(self._folder / "inc.qcow2")
        self.runner.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", full, increment])
        self.runner.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", increment, str(target)])
        sync(target)
        return "qcow2"

    def clear(self) -> None:
        """Remove checkpoints and files."""
        self._premises.drop_checkpoints(self._machine.name)
        for file in self._folder.iterdir():
            file.unlink()
        self._since = ""

    def _push(self, name: str, base: str) -> None:
        file = self._folder / name
        self._count += 1
        fresh = f"push-{self._count}"
        xml = f"""<domainbackup mode='push'>{base}<disks><disk name='{TARGET}' type='file'>
          <driver type='qcow2'/><target file='{self._premises.inside(file)}'/></disk></disks></domainbackup>"""
        checkpoint = f"""<domaincheckpoint><name>{fresh}</name><disks><disk name='{TARGET}' checkpoint='bitmap'/>
          </disks></domaincheckpoint>"""

        def act(handle: Handle) -> None:
            domain = handle.lookupByName(self._machine.name)
            domain.backupBegin(xml, checkpoint, 0)
            until = time.monotonic() + _JOB_SECONDS
            while domain.jobStats().get("type", _IDLE) != _IDLE:
                if time.monotonic() > until:
                    raise Failed("the push backup", f"not done within {_JOB_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)

        self._premises.connection.call("push a backup", act, changes=True)
        sync(file)
        self._since = fresh
