"""A log on its way out (drill.ports.LogStream): what the receiver has not taken yet is kept, and sent again if need be.

No byte counts as sent because the socket took it: a connection that ends badly loses what lay in the buffers of both
kernels without a word (facts: TLS 1.3 and unread data).  So everything after the receiver's last CREDIT stays here, and
over a new connection the log goes on where READY says.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from drill.errors import BadInput, Cancelled, Unknown, Unreachable
from drill.identity.allowed import RESUME
from drill.model.point import Point
from drill.replication import plainjson
from drill.transport.arrivals import RETURN_SECONDS
from drill.transport.frames import (
    CAPS,
    CREDIT,
    READY,
    SILENCE_SECONDS,
    WINDOW_BYTES,
    WORKING_SECONDS,
    Kind,
    Wire,
)
from drill.transport.operations import decode_error, encode_error
from drill.transport.service import Resume
from drill.transport.throttle import Throttle

_SMALL_BYTES = 1 << 16
LONG_SECONDS = 24 * 3600.0
"""A full copy, or reading a point whole, takes as long as the disk is large; silence ends it much earlier."""
GOODBYE_SECONDS = 1.0
REFUSED_SECONDS = 5.0
"""Where nobody listens any more, the log that was arriving is lost, or the network lies and will not for long."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between attempts to reach the receiver again; the last one is repeated until RETURN_SECONDS are over."""

Parts = tuple[bytes | memoryview, ...]


class Caller(Protocol):
    """How a stream reaches its receiver again."""

    def connect(self) -> Wire:
        """A greeted connection of its own."""
        ...

    def request(self, wire: Wire, name: str, arguments: bytes) -> None:
        """Ask; Unknown when the connection breaks."""
        ...

    @property
    def serial(self) -> int:
        """Of the certificate in force; another one means that it was renewed."""
        ...


class WireLogStream:
    """One log.  `wire` has answered READY with `token`; small pieces travel together with the next large one."""

    def __init__(self, caller: Caller, wire: Wire, item: str, ready: bytes, throttle: Throttle | None) -> None:
        self._caller = caller
        self._wire = wire
        self._item = item
        self._token, self._taken = _ready(ready)
        self._throttle = throttle
        self._serial = caller.serial
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._window: deque[tuple[int, Parts]] = deque()  # where each frame ends, and what is in it
        self._sent = 0
        self._answer: bytes | None = None
        self._refused = False

    def write(self, data: bytes | memoryview) -> None:
        """Send, or keep until there is enough to send."""
        if len(data) > CAPS[Kind.DATA]:
            for start in range(0, len(data), CAPS[Kind.DATA]):
                self.write(memoryview(data)[start : start + CAPS[Kind.DATA]])
            return
        if self._size + len(data) > CAPS[Kind.DATA]:
            self._flush()
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _SMALL_BYTES:
            self._flush()

    def seal(self) -> Point:
        """The log is whole: wait for the acknowledgement."""
        self._flush()
        until = time.monotonic() + LONG_SECONDS
        while self._answer is None:
            if time.monotonic() > until:
                raise Unknown("sending a log", f"no answer within {LONG_SECONDS / 3600:.0f} h")
            try:
                self._hear()
            except OSError as error:
                self._go_on_elsewhere(str(error))
        return plainjson.decode(Point, self._answer, where="acknowledgement")

    def say_working(self) -> None:
        """Tell the receiver that the source still works."""
        self._wire.say_working()

    def close(self) -> None:
        """Hang up; without `seal` the receiver keeps nothing of the log, and is told not to wait for us."""
        if self._answer is None:
            with suppress(OSError):
                self._wire.set_timeout(GOODBYE_SECONDS)
                self._wire.send(Kind.ERROR, encode_error(Cancelled("sending a log")))
                self._wire.finish_sending()
                self._wire.drain(WINDOW_BYTES)
        self._wire.hang_up()
        self._wire.close()

    def _flush(self) -> None:
        if not self._parts:
            return
        parts, size = tuple(self._parts), self._size
        self._parts, self._size = [], 0
        if self._throttle is not None:
            self._throttle.take(size)
        self._sent += size
        self._window.append((self._sent, parts))
        try:
            while self._wire.readable() or self._sent - self._taken > WINDOW_BYTES:
                self._hear()
            if self._caller.serial != self._serial:
                self._go_on_elsewhere("the certificate was renewed")
            else:
                self._wire.send(Kind.DATA, *parts)
        except OSError as error:
            self._go_on_elsewhere(str(error))

    def _hear(self) -> None:
        """One word of the receiver's; raises what it refuses with."""
        kind, payload = self._wire.receive()
        match kind:
            case Kind.CREDIT:
                self._credit(CREDIT.unpack(payload)[0])
            case Kind.REPLY:
                self._answer = bytes(payload)
            case Kind.ERROR:
                raise decode_error(payload)
            case Kind.WORKING:
                pass
            case _:
                raise BadInput("the receiver", f"{kind.name} in the middle of a log")

    def _credit(self, taken: int) -> None:
        if not self._taken <= taken <= self._sent:
            raise BadInput("the receiver", f"credit for {taken} of {self._sent} bytes")
        self._taken = taken
        while self._window and self._window[0][0] <= taken:
            self._window.popleft()

    def _go_on_elsewhere(self, cause: str) -> None:
        """Reach the receiver again; Unknown when that takes too long, or whatever the receiver refuses with."""
        self._wire.hang_up()
        begun, attempt = time.monotonic(), 0
        while not self._came_back():
            if time.monotonic() - begun > (REFUSED_SECONDS if self._refused else RETURN_SECONDS):
                raise Unknown("sending a log", cause)
            time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    def _came_back(self) -> bool:
        self._refused = False
        try:
            wire = self._caller.connect()
        except Unreachable as error:
            self._refused = isinstance(error.__cause__, ConnectionRefusedError)
            return False
        old, self._wire = self._wire, wire
        old.close()
        wire.set_timeout(SILENCE_SECONDS)
        self._serial = self._caller.serial
        asked = Resume(item=self._item, token=self._token.hex())
        try:
            self._caller.request(wire, RESUME, plainjson.encode(Resume, asked))
        except Unknown:
            return False
        try:
            return self._told_where()
        except OSError:
            return False

    def _told_where(self) -> bool:
        """Wait for READY, and send again what the receiver lacks; or it has the whole log and answers."""
        while self._answer is None:
            kind, payload = self._wire.receive()
            if kind is Kind.READY:
                self._credit(_ready(payload)[1])
                for _, parts in tuple(self._window):
                    self._wire.send(Kind.DATA, *parts)
                return True
            if kind is Kind.ERROR:
                raise decode_error(payload)
            if kind is Kind.REPLY:
                self._answer = bytes(payload)
        return True


@contextmanager
def pulse(stream: WireLogStream) -> Iterator[None]:
    """Say every few seconds that the source still works: reading a witness takes its time and sends nothing."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(WORKING_SECONDS):
            try:
                stream.say_working()
            except OSError:
                continue  # the sending thread sees it too, and comes back over another connection

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _ready(payload: bytes | memoryview) -> tuple[bytes, int]:
    if len(payload) != READY.size:
        raise BadInput("the receiver", f"READY of {len(payload)} bytes")
    token, offset = READY.unpack(payload)
    return bytes(token), int(offset)
