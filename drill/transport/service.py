"""The agent's side of the wire: a listening socket, a thread per connection, methods of one role as operations.

    accept → TLS, both certificates → HELLO, acknowledged → REQUEST → may this identity ask it? → the role's method

Nothing of the role is touched before the last question is answered (guarantees I11).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from drill.errors import BadInput, DrillError, Refused, Unknown
from drill.identity.allowed import RESUME, SEND, Asked, refusal
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Role
from drill.model.point import Point
from drill.replication import plainjson
from drill.transport import dial
from drill.transport.arrivals import PATIENCE_SECONDS, Arrival, Arrivals
from drill.transport.frames import PROTOCOL, SILENCE_SECONDS, WORKING_SECONDS, Kind, Wire
from drill.transport.operations import Operation, encode_error, operations
from drill.transport.secure import NOBODY, Guest, Meeting, Secured
from drill.transport.streams import PlainStream

CONNECTIONS_MAX = 128
STRANGERS_MAX = 32
"""Connections whose peer has not proved anything yet; they have a little time and never take the others' places."""
IDLE_SECONDS = 60.0
"""How long a connection may stand open without a request."""
GREETING_SECONDS = 10.0
_DRAIN_BYTES = 64 << 20
_GREETING_BYTES = 1 << 16
log = logging.getLogger("drill.agent")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame each way."""

    protocol: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What a sender asks that comes back: the item, and the log's token (hexadecimal)."""

    item: str
    token: str


class LogTaker(Protocol):
    """What a role that receives logs offers beside its operations."""

    def receive(
        self, header: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]
    ) -> Point:
        """Take a log: raise before `ready`, or call it and read the log from `source`."""
        ...


Grants = Callable[[], Mapping[str, Grant]]


class Service:
    """Serves `role` as the Protocols `shapes`; `taker` also receives logs.

    Under `security` a controller may ask all of it, and a source what `for_sources` describes, for the items that
    `grants` gives it.  Without, whoever reaches the port may ask anything: for loopback and tests.
    """

    def __init__(
        self,
        name: str,
        shapes: tuple[type, ...],
        role: object,
        taker: LogTaker | None = None,
        *,
        for_sources: tuple[type, ...] = (),
        grants: Grants = dict,
        security: Secured | None = None,
    ) -> None:
        self._name = name
        self._role = role
        self._taker = taker
        self._operations = operations(*shapes, *for_sources)
        self._for_sources = frozenset(operations(*for_sources)) | {SEND, RESUME}
        self._grants = grants
        self._security = security
        self._arrivals = Arrivals()
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._strangers = _Strangers()
        self._closed = threading.Event()
        self._listeners: list[socket.socket] = []

    @property
    def is_secure(self) -> bool:
        """Whether peers prove who they are."""
        return self._security is not None

    def closed_within(self, seconds: float) -> bool:
        """Wait so long at most; whether it was told to accept nothing more."""
        return self._closed.wait(seconds)

    def serve(self, listener: socket.socket, security: Secured | None = None) -> None:
        """Accept until `close`; then the listener is closed.

        `security` is another way than the service's own by which this listener's peers prove who they are.
        """
        security = security or self._security
        self._listeners.append(listener)
        with listener:
            while not self._closed.is_set():
                try:
                    connection, peer = listener.accept()
                except OSError as error:
                    if not self._closed.is_set():
                        log.warning("accepting failed: cause=%s", error)
                        self._closed.wait(0.2)  # out of descriptors, most likely: some will be given back
                    continue
                name = f"{peer[0]}:{peer[1]}"
                work = (connection, name, security)
                threading.Thread(target=self._attend, args=work, name=name, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more; connections that are open are served to their end."""
        self._closed.set()
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def _attend(self, connection: socket.socket, peer: str, security: Secured | None) -> None:
        with ExitStack() as stack:
            stack.callback(connection.close)
            try:
                wire, guest = self._welcome(connection, security, stack)
                while True:
                    kind, payload = wire.receive(IDLE_SECONDS)
                    if kind is not Kind.REQUEST:
                        raise BadInput("incoming frame", f"{kind.name} where a request must stand")
                    _Exchange(self, wire, guest, bytes(payload)).run()
            except DrillError as error:
                log.info("connection ended: peer=%s error=%s message=%s", peer, error.id, error)
            except OSError as error:
                log.debug("connection ended: peer=%s cause=%s", peer, error)

    def _welcome(self, connection: socket.socket, security: Secured | None, stack: ExitStack) -> tuple[Wire, Guest]:
        """From a stranger to a peer that has a place, or whatever ends it."""
        with self._strangers.one(connection):
            dial.prepared(connection)
            stream, meeting = security.server(connection) if security else (PlainStream(connection), _anybody)
            stack.callback(stream.close)
            wire = Wire(stream)
            wire.set_timeout(GREETING_SECONDS)
            try:
                guest = self._greeted(wire, meeting, stack)
                wire.send(Kind.HELLO, plainjson.encode(Hello, Hello(PROTOCOL, self._name)))
            except DrillError as error:
                wire.send(Kind.ERROR, encode_error(error))
                wire.finish_sending()
                wire.drain(_GREETING_BYTES)
                raise
        wire.set_timeout(SILENCE_SECONDS)
        return wire, guest

    def _greeted(self, wire: Wire, meeting: Meeting, stack: ExitStack) -> Guest:
        guest = meeting(wire)
        kind, payload = wire.receive(GREETING_SECONDS)
        hello = plainjson.decode(Hello, payload, where="hello") if kind is Kind.HELLO else None
        if hello is None or (hello.protocol, hello.role) != (PROTOCOL, self._name):
            raise Refused(f"this agent is a {self._name} and speaks protocol {PROTOCOL}; asked was {hello}")
        if not self._places.acquire(blocking=False):
            raise Refused(f"this agent serves {CONNECTIONS_MAX} connections already", cure="try again later")
        stack.callback(self._places.release)
        return guest

    def perform(self, request: bytes, wire: Wire, guest: Guest) -> tuple[Kind, bytes]:
        """The answer to a request; nothing of the role is touched before its sender is known to be allowed."""
        guest.check()
        name, _, arguments = request.partition(b"\n")
        if self._taker is not None and name == SEND.encode():
            return self._receive(self._taker, plainjson.decode(LogHeader, arguments, where="log header"), wire, guest)
        if self._taker is not None and name == RESUME.encode():
            asked = plainjson.decode(Resume, arguments, where="resumption")
            self._authorise(guest, RESUME, asked.item)
            return self._arrivals.find(asked.item, asked.token, guest.identity).come_back(wire, guest)
        operation = self._operations.get(name.decode(errors="replace"))
        if operation is None:
            self._authorise(guest, "", None)
            raise BadInput("request", f"a {self._name} knows no operation {name[:80]!r}")
        return Kind.REPLY, self._call(operation, arguments, guest)

    def _call(self, operation: Operation, arguments: bytes, guest: Guest) -> bytes:
        values = operation.decode_arguments(arguments)
        item = values.get("item")
        item = item if isinstance(item, str) else None
        self._authorise(guest, operation.name, item)
        method = getattr(self._role, operation.name)
        patience = PATIENCE_SECONDS if operation.name not in self._for_sources else 0.0
        with self._arrivals.waiting(item, patience):
            return plainjson.encode(operation.reply, method(**values))

    def _authorise(self, guest: Guest, operation: str, item: str | None, term: int | None = None) -> None:
        """Refused unless the peer may ask this; on a plain connection there is nobody to ask about."""
        if guest.identity is None:
            return
        asked = Asked(
            of=Role(self._name), operation=operation, item=item, term=term, for_sources=operation in self._for_sources
        )
        if reason := refusal(guest.identity, asked, self._grants()):
            raise Refused(reason, "I11", "protect the item from its controller; see docs/guide/certificates.md")

    def _receive(self, taker: LogTaker, header: LogHeader, wire: Wire, guest: Guest) -> tuple[Kind, bytes]:
        self._authorise(guest, SEND, header.item, header.term)
        arrival = Arrival(header.item, guest.identity)
        with ExitStack() as stack:
            stack.enter_context(self._arrivals.waiting(header.item, 0.0))

            def ready() -> None:
                stack.close()
                self._arrivals.add(arrival)
                arrival.begin(wire, guest)

            kind, answer = _outcome(
                SEND, lambda: (Kind.REPLY, plainjson.encode(Point, taker.receive(header, ready, arrival.take)))
            )
        arrival.end(kind, answer)
        return kind, answer


def _anybody(_: Wire) -> Guest:
    return NOBODY


class _Strangers:
    """Connections that have not greeted yet.  When there are too many, the oldest one is ended for the newest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}

    @contextmanager
    def one(self, connection: socket.socket) -> Iterator[None]:
        """Count a connection in for as long as the block lasts."""
        handle = connection.dup()  # TLS takes the connection's own descriptor away from it
        with self._lock:
            if len(self._open) >= STRANGERS_MAX:
                with suppress(OSError):
                    next(iter(self._open.values())).shutdown(socket.SHUT_RDWR)
            self._open[id(handle)] = handle
        try:
            yield
        finally:
            with self._lock:
                del self._open[id(handle)]
            handle.close()


class _Exchange:
    """One request and its answer: the work is done by a second thread, while this one says that it goes on."""

    def __init__(self, service: Service, wire: Wire, guest: Guest, request: bytes) -> None:
        self._service = service
        self._wire = wire
        self._guest = guest
        self._request = request
        self._kind = Kind.ERROR
        self._answer = b""

    def run(self) -> None:
        worker = threading.Thread(target=self._work, name="request", daemon=True)
        worker.start()
        worker.join(WORKING_SECONDS)
        while worker.is_alive():
            self._say_working()
            worker.join(WORKING_SECONDS)
        self._wire.send(self._kind, self._answer)
        if self._kind is Kind.ERROR and self._request.startswith((b"receive\n", b"resume\n")):
            self._wire.finish_sending()
            self._wire.drain(_DRAIN_BYTES)
            raise ConnectionAbortedError("a log was refused")

    def _say_working(self) -> None:
        try:
            self._wire.say_working()
        except OSError:
            log.debug("the peer left while its request is performed")

    def _work(self) -> None:
        name = self._request.partition(b"\n")[0][:40].decode(errors="replace")
        self._kind, self._answer = _outcome(name, lambda: self._service.perform(self._request, self._wire, self._guest))


def _outcome(name: str, work: Callable[[], tuple[Kind, bytes]]) -> tuple[Kind, bytes]:
    """What some work answers, or the error that it ends with, as a frame."""
    try:
        return work()
    except DrillError as error:
        log.info("request refused: op=%s error=%s message=%s", name, error.id, error)
        return Kind.ERROR, encode_error(error)
    except (ConnectionError, TimeoutError) as error:
        log.info("request broken off: op=%s cause=%s", name, error)
        return Kind.ERROR, encode_error(Unknown(name, f"connection lost: {error}"))
    except Exception as error:
        log.exception("request failed unexpectedly: op=%s", name)
        return Kind.ERROR, encode_error(Unknown(name, f"{type(error).__name__}: {error}"))
