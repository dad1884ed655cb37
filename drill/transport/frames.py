"""Frames on a connection between a controller or an agent and an agent (docs/formats.md).

    kind (1 byte) · length (4 bytes, big-endian) · payload

    client                      agent
    HELLO {protocol, role}  →
                            ←   HELLO {protocol, role}
    REQUEST op⏎arguments    →
                            ←   WORKING …            while the answer takes its time
                            ←   REPLY value  or  ERROR {id, fields}

and where a log is sent, between the request and the final reply:

                            ←   READY
    DATA … DATA             →                            until the log's own end; WORKING while its source works

Every kind has its own cap, checked before a byte of the payload is read.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress
from enum import IntEnum

from drill.errors import BadInput

PROTOCOL = 0
WORKING_SECONDS = 5.0
"""How often whoever still works says so, on either side."""
SILENCE_SECONDS = 4 * WORKING_SECONDS
"""After this long without a word the peer is taken for dead."""
_HEAD = struct.Struct(">BI")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    REQUEST = 2
    REPLY = 3
    ERROR = 4
    WORKING = 5
    READY = 6
    DATA = 7


CAPS = {
    Kind.HELLO: 1 << 12,
    Kind.REQUEST: 1 << 20,
    Kind.REPLY: 16 << 20,
    Kind.ERROR: 1 << 16,
    Kind.WORKING: 0,
    Kind.READY: 0,
    Kind.DATA: 2 << 20,
}


class Wire:
    """Frames over a connected socket.  One thread may receive while others send.

    ConnectionError when the peer is gone, TimeoutError after the socket's timeout in silence, BadInput for a frame
    that is none; after any of them the wire is of no use.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        """Send one frame whose payload is `parts`, one after another."""
        length = sum(len(part) for part in parts)
        if length > CAPS[kind]:
            raise BadInput("outgoing frame", f"{kind.name} of {length} bytes, at most {CAPS[kind]}")
        with self._lock:
            self._send_all([_HEAD.pack(kind, length), *parts])

    def say_working(self) -> None:
        """Send WORKING, unless something else is being sent right now."""
        if self._lock.acquire(blocking=False):
            try:
                self._send_all([_HEAD.pack(Kind.WORKING, 0)])
            finally:
                self._lock.release()

    def receive(self) -> tuple[Kind, memoryview]:
        """The next frame."""
        number, length = _HEAD.unpack(self._take(_HEAD.size))
        try:
            kind = Kind(number)
        except ValueError as error:
            raise BadInput("incoming frame", f"kind {number} is not known") from error
        if length > CAPS[kind]:
            raise BadInput("incoming frame", f"{kind.name} of {length} bytes, at most {CAPS[kind]}")
        return kind, self._take(length)

    def readable(self) -> bool:
        """Whether the peer has said something that was not received yet."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def set_timeout(self, seconds: float) -> None:
        """How long a send or receive may make no progress."""
        self._socket.settimeout(seconds)

    def finish_sending(self) -> None:
        """Tell the peer that nothing more comes; what it says can still be received."""
        self._socket.shutdown(socket.SHUT_WR)

    def drain(self, most_bytes: int) -> None:
        """Receive and throw away, until the peer closes: so that our last words reach it before a reset does."""
        left = most_bytes
        while left > 0 and (data := self._socket.recv(1 << 20)):
            left -= len(data)

    def hang_up(self) -> None:
        """End the connection both ways; whoever sends or receives on it is woken."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _send_all(self, parts: list[bytes | memoryview]) -> None:
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            sent = self._socket.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]

    def _take(self, length: int) -> memoryview:
        view = memoryview(bytearray(length))
        done = 0
        while done < length:
            count = self._socket.recv_into(view[done:])
            if count == 0:
                raise ConnectionResetError("the peer closed the connection")
            done += count
        return view
