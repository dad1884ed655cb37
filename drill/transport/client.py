"""Agents seen from afar: one connection per request, deadlines on all of it, errors as the agent raised them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from drill.errors import BadInput, DrillError, Refused, Unknown, Unreachable, Untrusted
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Identity, Role
from drill.model.point import HostPicture, ItemStatus, OverlayDisk, Point, ProtectionOrder
from drill.model.retention import RetentionPolicy, StoreReport
from drill.model.seed import Seed
from drill.ports import ReceiverAgent, ReceiverHead, ReceiverLink, SourceAgent
from drill.replication import plainjson
from drill.transport import dial, secure
from drill.transport.frames import PROTOCOL, SILENCE_SECONDS, Kind, Wire
from drill.transport.operations import decode_error, operations
from drill.transport.secure import Secured
from drill.transport.sending import LONG_SECONDS, WireLogStream, pulse
from drill.transport.service import Hello
from drill.transport.throttle import Throttle

T = TypeVar("T")
ANSWER_SECONDS = 60.0


class AgentClient:
    """Requests to one role of one agent; without `security` in plain TCP, else the agent must have the role, and the
    `name` where one is given."""

    def __init__(
        self,
        host: str,
        port: int,
        role: str,
        shapes: tuple[type, ...],
        security: Secured | None = None,
        name: str = "",
    ) -> None:
        self._host = host
        self._port = port
        self._role = role
        self._operations = operations(*shapes)
        self._security = security
        self._name = name

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self._host}:{self._port}"

    @property
    def serial(self) -> int:
        """Of our certificate in force; 0 without one."""
        return self._security.serial if self._security else 0

    def call(self, name: str, reply: type[T], *, seconds: float = ANSWER_SECONDS, **arguments: object) -> T:
        """Perform an operation of the role and return its reply, which is of type `reply`.

        Unreachable when nothing was asked; Unknown when it was and no answer came within `seconds`; Untrusted when one
        side does not accept the other; otherwise what the agent raised.
        """
        operation = self._operations[name]
        with self.connected() as wire:
            self.request(wire, name, operation.encode_arguments(arguments))
            return plainjson.decode(reply, self.answer(wire, name, Kind.REPLY, seconds), where=f"reply to {name}")

    @contextmanager
    def connected(self) -> Iterator[Wire]:
        """A greeted connection, closed afterwards."""
        wire = self.connect()
        try:
            yield wire
        finally:
            wire.close()

    def connect(self) -> Wire:
        """A greeted connection; the caller closes it."""
        what = f"the agent's {self._role} role"
        connection = dial.dial(self._host, self._port, what)
        try:
            if self._security is None:
                stream, _ = secure.plain(connection)
            else:
                stream, _ = self._security.client(connection, Role(self._role), self._name, self.address)
            wire = Wire(stream)
        except OSError as error:
            connection.close()
            raise self._not_met(what, error) from error
        except DrillError:
            connection.close()
            raise
        try:
            self._greet(wire)
        except OSError as error:
            wire.close()
            raise self._not_met(what, error) from error
        except DrillError:
            wire.close()
            raise
        return wire

    def _greet(self, wire: Wire) -> None:
        wire.set_timeout(SILENCE_SECONDS)
        wire.send(Kind.HELLO, plainjson.encode(Hello, Hello(PROTOCOL, self._role)))
        kind, payload = wire.receive()
        if kind is Kind.ERROR:
            raise decode_error(payload)
        greeting = plainjson.decode(Hello, payload, where="hello") if kind is Kind.HELLO else None
        if greeting != Hello(PROTOCOL, self._role):
            raise Refused(f"{self.address} is no {self._role} of protocol {PROTOCOL}")

    def _not_met(self, what: str, error: OSError) -> DrillError:
        """A connection that broke before anything was asked; an alert of TLS says why."""
        told: Untrusted | None = secure.told(error, self._security.identity) if self._security else None
        return told or Unreachable(what, self.address, str(error) or type(error).__name__)

    def request(self, wire: Wire, name: str, arguments: bytes) -> None:
        """Ask; Unknown when the connection breaks."""
        try:
            wire.send(Kind.REQUEST, name.encode() + b"\n", arguments)
        except OSError as error:
            raise Unknown(f"{name} at {self.address}", str(error)) from error

    def answer(self, wire: Wire, name: str, wanted: Kind, seconds: float) -> bytes:
        """Wait for the answer of kind `wanted`."""
        until = time.monotonic() + seconds
        action = f"{name} at {self.address}"
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise Unknown(action, f"no answer within {seconds:.0f} s")
            wire.set_timeout(min(SILENCE_SECONDS, left))
            try:
                kind, payload = wire.receive()
            except OSError as error:
                raise Unknown(action, str(error)) from error
            if kind is wanted:
                return bytes(payload)
            if kind is Kind.ERROR:
                raise decode_error(payload)
            if kind is not Kind.WORKING:
                raise BadInput(action, f"{kind.name} is no answer")


class SourceClient:
    """The source role of an agent (drill.ports.SourceAgent)."""

    def __init__(self, host: str, port: int, security: Secured | None = None, name: str = "") -> None:
        self._client = AgentClient(host, port, "source", (SourceAgent,), security, name)

    def protect(self, order: ProtectionOrder) -> None:
        """Begin to replicate."""
        self._client.call("protect", type(None), order=order)

    def unprotect(self, item: str) -> None:
        """Stop replicating."""
        self._client.call("unprotect", type(None), seconds=LONG_SECONDS, item=item)

    def pause(self, item: str) -> None:
        """Begin no cycle until `unpause`."""
        self._client.call("pause", type(None), seconds=LONG_SECONDS, item=item)

    def unpause(self, item: str) -> None:
        """Go on where it stopped."""
        self._client.call("unpause", type(None), seconds=LONG_SECONDS, item=item)

    def resync(self, item: str) -> Point:
        """Read every disk whole and compare, now."""
        return self._client.call("resync", Point, seconds=LONG_SECONDS, item=item)

    def cycle(self, item: str, *, witness: bool, application_consistent: bool = False, deep: bool = False) -> Point:
        """Replicate now."""
        return self._client.call(
            "cycle",
            Point,
            seconds=LONG_SECONDS,
            item=item,
            witness=witness,
            application_consistent=application_consistent,
            deep=deep,
        )

    def export_seed(self, order: ProtectionOrder, folder: str) -> Seed:
        """Write the first copy to a medium."""
        return self._client.call("export_seed", Seed, seconds=LONG_SECONDS, order=order, folder=folder)

    def cancel_seed(self, item: str) -> None:
        """Wait for no medium any longer."""
        self._client.call("cancel_seed", type(None), item=item)

    def seed_progress(self, item: str) -> tuple[int, int]:
        """How far an export is."""
        return self._client.call("seed_progress", tuple[int, int], item=item)

    def status(self, item: str) -> ItemStatus:
        """What is observed now."""
        return self._client.call("status", ItemStatus, item=item)

    def items(self) -> tuple[ItemStatus, ...]:
        """All items."""
        return self._client.call("items", tuple[ItemStatus, ...])

    def picture(self) -> HostPicture:
        """Everything on the host that a drill might leave behind."""
        return self._client.call("picture", HostPicture)

    def without_bitmap(self, domain: str) -> tuple[str, ...]:
        """Disks of a domain that can hold no dirty bitmap."""
        return self._client.call("without_bitmap", tuple[str, ...], domain=domain)

    def kernel(self) -> str:
        """The release of the host's kernel."""
        return self._client.call("kernel", str)

    def guard(self, bridge: str) -> None:
        """Cut a bridge off from the host."""
        self._client.call("guard", type(None), bridge=bridge)

    def unguard(self, bridge: str) -> None:
        """Take the guard away."""
        self._client.call("unguard", type(None), bridge=bridge)

    def bridge_members(self, bridge: str) -> tuple[str, ...]:
        """Interfaces enslaved to a bridge."""
        return self._client.call("bridge_members", tuple[str, ...], bridge=bridge)

    def reach(self, address: str, port: int, timeout_seconds: float) -> bool:
        """Whether a TCP connection from the host succeeds."""
        seconds = ANSWER_SECONDS + timeout_seconds
        return self._client.call(
            "reach", bool, seconds=seconds, address=address, port=port, timeout_seconds=timeout_seconds
        )


class ReceiverClient:
    """The receiver role of an agent (drill.ports.ReceiverAgent and ReceiverLink)."""

    def __init__(
        self,
        host: str,
        port: int,
        security: Secured | None = None,
        name: str = "",
        throttle: Throttle | None = None,
    ) -> None:
        self._client = AgentClient(host, port, "receiver", (ReceiverAgent, ReceiverHead), security, name)
        self._throttle = throttle

    def points(self, item: str) -> tuple[Point, ...]:
        """Sealed points, oldest first."""
        return self._client.call("points", tuple[Point, ...], item=item)

    def kept(self, item: str) -> StoreReport:
        """Everything the store says of an item."""
        return self._client.call("kept", StoreReport, item=item)

    def lock(self, item: str, epoch: str, sequence: int, reason: str) -> None:
        """Keep a point until it is unlocked."""
        self._client.call("lock", type(None), item=item, epoch=epoch, sequence=sequence, reason=reason)

    def unlock(self, item: str, epoch: str, sequence: int) -> None:
        """Leave a point to retention again."""
        self._client.call("unlock", type(None), item=item, epoch=epoch, sequence=sequence)

    def retain(self, item: str, policy: RetentionPolicy) -> None:
        """How long points of an item are kept."""
        self._client.call("retain", type(None), item=item, policy=policy)

    def overlays(self, run: str, item: str, epoch: str, sequence: int) -> tuple[OverlayDisk, ...]:
        """Disks for a test failover."""
        shape = tuple[OverlayDisk, ...]
        return self._client.call("overlays", shape, run=run, item=item, epoch=epoch, sequence=sequence)

    def remove_overlays(self, run: str) -> None:
        """Remove all disks of a run."""
        self._client.call("remove_overlays", type(None), run=run)

    def witness(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """(target, SHA-256) per disk of a point."""
        shape = tuple[tuple[str, str], ...]
        return self._client.call("witness", shape, seconds=LONG_SECONDS, item=item, epoch=epoch, sequence=sequence)

    def proof(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """What is stored of a point, digested anew."""
        shape = tuple[tuple[str, str], ...]
        return self._client.call("proof", shape, seconds=LONG_SECONDS, item=item, epoch=epoch, sequence=sequence)

    def import_seed(self, item: str, folder: str) -> Point:
        """Take an item's first copy from a medium."""
        return self._client.call("import_seed", Point, seconds=LONG_SECONDS, item=item, folder=folder)

    def seed_progress(self, item: str) -> tuple[int, int]:
        """How far an import is."""
        return self._client.call("seed_progress", tuple[int, int], item=item)

    def allow(self, item: str, sender: Identity, term: int) -> None:
        """Let one source, and no other, send an item's logs."""
        self._client.call("allow", type(None), item=item, sender=sender, term=term)

    def granted(self, item: str) -> Grant | None:
        """Who may send an item's logs."""
        return self._client.call("granted", cast("type[Grant | None]", Grant | None), item=item)

    def forget(self, item: str) -> None:
        """Delete the replica of an item."""
        self._client.call("forget", type(None), item=item)

    def head(self, item: str) -> Point | None:
        """The newest sealed point."""
        return self._client.call("head", cast("type[Point | None]", Point | None), item=item)

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests (hex) of chunks of a disk of the head."""
        arguments = {"item": item, "epoch": epoch, "sequence": sequence, "disk": disk, "first": first, "count": count}
        return self._client.call("chunks", str, seconds=LONG_SECONDS, **arguments)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests (hex) of chunks of a disk of the head."""
        return self._client.call("leaves", str, item=item, epoch=epoch, sequence=sequence, disk=disk, chunks=chunks)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Runs of pages of a disk of the head that rotted."""
        shape = tuple[tuple[int, int], ...]
        return self._client.call("rotten", shape, item=item, epoch=epoch, sequence=sequence, disk=disk)

    @contextmanager
    def send(self, header: LogHeader) -> Iterator[WireLogStream]:
        """Offer a log; the connection is closed when the block is left.  One that breaks is made again."""
        wire = self._client.connect()
        try:
            self._client.request(wire, "receive", plainjson.encode(LogHeader, header))
            ready = self._client.answer(wire, "receive", Kind.READY, ANSWER_SECONDS)
            wire.set_timeout(SILENCE_SECONDS)
        except BaseException:
            wire.close()
            raise
        stream = WireLogStream(self._client, wire, header.item, ready, self._throttle)
        try:
            with pulse(stream):
                yield stream
        finally:
            stream.close()


def source_at(address: str, security: Secured | None = None, name: str = "") -> SourceClient:
    """The source role at `host:port`."""
    return SourceClient(*dial.address(address), security, name)


def receiver_at(
    address: str, security: Secured | None = None, name: str = "", throttle: Throttle | None = None
) -> ReceiverClient:
    """The receiver role at `host:port`."""
    return ReceiverClient(*dial.address(address), security, name, throttle)


def _conforms(source: SourceClient, receiver: ReceiverClient) -> tuple[SourceAgent, ReceiverAgent, ReceiverLink]:
    """Here mypy proves that the clients are what the ports ask for."""
    return source, receiver, receiver
