"""Frames on a connection between a controller or an agent and an agent (docs/formats.md).

    kind (1 byte) · length (4 bytes, big-endian) · payload

    client                      agent
    HELLO {protocol, role}  →
                            ←   HELLO {protocol, role}
    REQUEST op⏎arguments    →
                            ←   WORKING …            while the answer takes its time
                            ←   REPLY value  or  ERROR {id, fields}

and where a log is sent, between the request and the final reply:

                            ←   READY token, offset
    DATA … DATA             →                            until the log's own end; WORKING while its source works
                            ←   CREDIT offset            so much has been taken, and need not be sent again

A sender has at most WINDOW_BYTES under way that were not taken, and keeps them.  When the connection breaks it makes
another one, asks to `resume` with the token, is told by READY from which byte on, and goes on there.

Every kind has its own cap, checked before a byte of the payload is read.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from enum import IntEnum

from drill.errors import BadInput
from drill.transport.buffers import Buffers
from drill.transport.streams import PlainStream, Stream

PROTOCOL = 1
WORKING_SECONDS = 5.0
"""How often whoever still works says so, on either side."""
SILENCE_SECONDS = 4 * WORKING_SECONDS
"""After this long without a word the peer is taken for dead."""
WINDOW_BYTES = 32 << 20
"""A round trip of 250 ms at 1 Gbit/s; what is under way stays in the sender's memory."""
CREDIT_BYTES = 4 << 20
"""The receiver says at least this often how much it has taken."""
_HEAD = struct.Struct(">BI")
READY = struct.Struct(">16sQ")
CREDIT = struct.Struct(">Q")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    REQUEST = 2
    REPLY = 3
    ERROR = 4
    WORKING = 5
    READY = 6
    DATA = 7
    CREDIT = 8
    PROOF = 9


CAPS = {
    Kind.HELLO: 1 << 12,
    Kind.REQUEST: 1 << 20,
    Kind.REPLY: 16 << 20,
    Kind.ERROR: 1 << 16,
    Kind.WORKING: 0,
    Kind.READY: READY.size,
    Kind.DATA: 2 << 20,
    Kind.CREDIT: CREDIT.size,
    Kind.PROOF: 96,
}


class Wire:
    """Frames over a connection.  One thread may receive while others send.

    ConnectionError when the peer is gone, TimeoutError after the timeout in silence, BadInput for a frame that is none;
    after any of them the wire is of no use.
    """

    def __init__(self, connection: Stream | socket.socket) -> None:
        self._stream: Stream = PlainStream(connection) if isinstance(connection, socket.socket) else connection
        self._lock = threading.Lock()
        self._seconds = SILENCE_SECONDS
        self._buffers = Buffers(CAPS[Kind.DATA])

    def send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        """Send one frame whose payload is `parts`, one after another."""
        length = sum(len(part) for part in parts)
        if length > CAPS[kind]:
            raise BadInput("outgoing frame", f"{kind.name} of {length} bytes, at most {CAPS[kind]}")
        with self._lock:
            self._stream.send([_HEAD.pack(kind, length), *parts])

    def say_working(self) -> None:
        """Send WORKING, unless something else is being sent right now."""
        if self._lock.acquire(blocking=False):
            try:
                self._stream.send([_HEAD.pack(Kind.WORKING, 0)])
            finally:
                self._lock.release()

    def receive(self, within: float | None = None) -> tuple[Kind, memoryview]:
        """The next frame; all of it `within` so many seconds, where that is given, however slowly the peer sends."""
        until = None if within is None else time.monotonic() + within
        number, length = _HEAD.unpack(self._take(_HEAD.size, until))
        try:
            kind = Kind(number)
        except ValueError as error:
            raise BadInput("incoming frame", f"kind {number} is not known") from error
        if length > CAPS[kind]:
            raise BadInput("incoming frame", f"{kind.name} of {length} bytes, at most {CAPS[kind]}")
        return kind, self._take(length, until)

    def readable(self) -> bool:
        """Whether the peer has said something that was not received yet."""
        return self._stream.readable()

    def set_timeout(self, seconds: float) -> None:
        """How long a send or receive may make no progress."""
        self._seconds = seconds
        self._stream.set_timeout(seconds)

    def finish_sending(self) -> None:
        """Tell the peer that nothing more comes; what it says can still be received."""
        self._stream.finish_sending()

    def drain(self, most_bytes: int) -> None:
        """Receive and throw away, until the peer closes: so that our last words reach it before a reset does."""
        left, waste = most_bytes, memoryview(bytearray(1 << 18))
        while left > 0 and (count := self._stream.receive_into(waste)):
            left -= count

    def hang_up(self) -> None:
        """End the connection both ways; whoever sends or receives on it is woken."""
        self._stream.hang_up()

    def close(self) -> None:
        """Give the connection back; nobody may be using it."""
        self._stream.close()

    def _take(self, length: int, until: float | None) -> memoryview:
        view = self._buffers.take(length) if length <= CAPS[Kind.DATA] else memoryview(bytearray(length))
        done = 0
        while done < length:
            if until is not None:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the peer is too slow")
                self._stream.set_timeout(min(left, self._seconds))
            count = self._stream.receive_into(view[done:])
            if count == 0:
                raise ConnectionResetError("the peer closed the connection")
            done += count
        if until is not None:
            self._stream.set_timeout(self._seconds)
        return view
