"""The agent's side of the wire: a listening socket, a thread per connection, methods of one role as operations."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from drill.errors import BadInput, DrillError, Refused, Unknown
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.replication import plainjson
from drill.transport import dial
from drill.transport.frames import PROTOCOL, SILENCE_SECONDS, WORKING_SECONDS, Kind, Wire
from drill.transport.operations import Operation, encode_error, operations

CONNECTIONS_MAX = 128
IDLE_SECONDS = 60.0
"""How long a connection may stand open without a request."""
_DRAIN_BYTES = 64 << 20
log = logging.getLogger("drill.agent")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame each way."""

    protocol: int
    role: str


class LogTaker(Protocol):
    """What a role that receives logs offers beside its operations."""

    def receive(
        self, header: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]
    ) -> Point:
        """Take a log: raise before `ready`, or call it and read the log from `source`."""
        ...


class Service:
    """Serves `role` as the Protocols `shapes`; `taker` also receives logs."""

    def __init__(self, name: str, shapes: tuple[type, ...], role: object, taker: LogTaker | None = None) -> None:
        self._name = name
        self._role = role
        self._taker = taker
        self._operations = operations(*shapes)
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._closed = threading.Event()
        self._listener: socket.socket | None = None

    def serve(self, listener: socket.socket) -> None:
        """Accept until `close`; then the listener is closed."""
        self._listener = listener
        with listener:
            while not self._closed.is_set():
                try:
                    connection, peer = listener.accept()
                except OSError as error:
                    if not self._closed.is_set():
                        log.warning("accepting failed: cause=%s", error)
                        self._closed.wait(0.2)  # out of descriptors, most likely: some will be given back
                    continue
                if not self._places.acquire(blocking=False):
                    connection.close()
                    continue
                name = f"{peer[0]}:{peer[1]}"
                threading.Thread(target=self._attend, args=(connection, name), name=name, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more; connections that are open are served to their end."""
        self._closed.set()
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)

    def _attend(self, connection: socket.socket, peer: str) -> None:
        try:
            with dial.prepared(connection):
                wire = Wire(connection)
                wire.set_timeout(IDLE_SECONDS)
                self._greet(wire)
                while True:
                    kind, payload = wire.receive()
                    if kind is not Kind.REQUEST:
                        raise BadInput("incoming frame", f"{kind.name} where a request must stand")
                    _Exchange(self, wire, bytes(payload)).run()
        except (OSError, DrillError) as error:
            log.debug("connection ended: peer=%s cause=%s", peer, error)
        finally:
            self._places.release()

    def _greet(self, wire: Wire) -> None:
        kind, payload = wire.receive()
        hello = plainjson.decode(Hello, payload, where="hello") if kind is Kind.HELLO else None
        if hello is None or (hello.protocol, hello.role) != (PROTOCOL, self._name):
            refusal = Refused(f"this agent is a {self._name} and speaks protocol {PROTOCOL}; asked was {hello}")
            wire.send(Kind.ERROR, encode_error(refusal))
            raise refusal
        wire.send(Kind.HELLO, plainjson.encode(Hello, Hello(PROTOCOL, self._name)))

    def perform(self, request: bytes, wire: Wire) -> bytes:
        """The reply's payload to a request's."""
        name, _, arguments = request.partition(b"\n")
        if name == b"receive" and self._taker is not None:
            return self._receive(self._taker, arguments, wire)
        operation = self._operations.get(name.decode(errors="replace"))
        if operation is None:
            raise BadInput("request", f"a {self._name} knows no operation {name[:80]!r}")
        return _call(self._role, operation, arguments)

    def _receive(self, taker: LogTaker, arguments: bytes, wire: Wire) -> bytes:
        header = plainjson.decode(LogHeader, arguments, where="cycle log header")
        point = taker.receive(header, lambda: wire.send(Kind.READY), BulkSource(wire).take)
        return plainjson.encode(Point, point)


class _Exchange:
    """One request and its answer: the work is done by a second thread, while this one says that it goes on."""

    def __init__(self, service: Service, wire: Wire, request: bytes) -> None:
        self._service = service
        self._wire = wire
        self._request = request
        self._kind = Kind.ERROR
        self._answer = b""

    def run(self) -> None:
        self._wire.set_timeout(SILENCE_SECONDS)
        worker = threading.Thread(target=self._work, name="request", daemon=True)
        worker.start()
        worker.join(WORKING_SECONDS)
        while worker.is_alive():
            self._say_working()
            worker.join(WORKING_SECONDS)
        self._wire.send(self._kind, self._answer)
        self._wire.set_timeout(IDLE_SECONDS)
        if self._kind is Kind.ERROR and self._request.startswith(b"receive\n"):
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
        try:
            self._answer = self._service.perform(self._request, self._wire)
            self._kind = Kind.REPLY
        except DrillError as error:
            log.info("request refused: op=%s error=%s message=%s", name, error.id, error)
            self._answer = encode_error(error)
        except (ConnectionError, TimeoutError) as error:
            log.info("request broken off: op=%s cause=%s", name, error)
            self._answer = encode_error(Unknown(name, f"connection lost: {error}"))
        except Exception as error:
            log.exception("request failed unexpectedly: op=%s", name)
            self._answer = encode_error(Unknown(name, f"{type(error).__name__}: {error}"))


class BulkSource:
    """The bytes of DATA frames, exactly as many as are asked for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._left = memoryview(b"")

    def take(self, length: int) -> bytes | memoryview:
        """The next bytes; BadInput when the log ends before them."""
        if len(self._left) >= length:
            found, self._left = self._left[:length], self._left[length:]
            return found
        parts, missing = [], length
        while missing:
            if not self._left:
                self._left = self._next()
            part = self._left[:missing]
            parts.append(part)
            self._left, missing = self._left[len(part) :], missing - len(part)
        return b"".join(parts)

    def _next(self) -> memoryview:
        while True:
            try:
                kind, payload = self._wire.receive()
            except OSError as error:
                raise Unknown("receiving a log", str(error)) from error
            if kind is Kind.DATA:
                return payload
            if kind is not Kind.WORKING:
                raise BadInput("cycle log", f"{kind.name} before its end")


def _call(role: object, operation: Operation, arguments: bytes) -> bytes:
    method = getattr(role, operation.name)
    return plainjson.encode(operation.reply, method(**operation.decode_arguments(arguments)))
