"""A connected socket as frames need it, plain or under TLS: one thread may receive while others send.

OpenSSL's state is not made for two threads at once, and a read that waits must not keep a writer waiting.  So the TLS
socket never blocks: every call to OpenSSL is made under a lock and returns at once, and whoever has to wait polls the
descriptor outside of it.  The socket's own timeout stays for plain connections.
"""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import termios
import threading
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

_PIECE_BYTES = 1 << 18
_SMALL_BYTES = 1 << 15
"""Parts below this are joined before they are sent: a TLS record of five bytes costs as much as one of 16 KiB."""


class Stream(Protocol):
    """Bytes both ways.  OSError when the peer is gone, TimeoutError after the timeout without progress."""

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all of `parts`, one after another; one thread at a time."""
        ...

    def receive_into(self, view: memoryview) -> int:
        """Fill some of `view`; 0 when the peer has ended its side."""
        ...

    def readable(self) -> bool:
        """Whether bytes of the peer, or its end, are there now."""
        ...

    def set_timeout(self, seconds: float) -> None:
        """How long a send or receive may make no progress."""
        ...

    def finish_sending(self) -> None:
        """Tell the peer that nothing more comes."""
        ...

    def hang_up(self) -> None:
        """End it both ways; whoever waits on it is woken."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class PlainStream:
    """A TCP connection without TLS."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all, gathered by the kernel."""
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            sent = self._socket.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]

    def receive_into(self, view: memoryview) -> int:
        """Fill some of `view`."""
        return self._socket.recv_into(view)

    def readable(self) -> bool:
        """Whether something is there."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def set_timeout(self, seconds: float) -> None:
        """The socket's."""
        self._socket.settimeout(seconds)

    def finish_sending(self) -> None:
        """Half a close."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Both halves."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class TlsStream:
    """A TLS connection whose handshake is done."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._lock = threading.Lock()
        self._ahead = b""
        self._ended = False
        self._seconds = 60.0

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all, small parts joined."""
        small = bytearray()
        for part in parts:
            if len(part) < _SMALL_BYTES:
                small += part
            else:
                self._send(memoryview(small))
                small = bytearray()
                self._send(memoryview(part))
        self._send(memoryview(small))

    def receive_into(self, view: memoryview) -> int:
        """Fill some of `view`."""
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            return count
        while not self._ended:
            count, awaited = self._read(view)
            if count or not awaited:
                return count
            self._wait(awaited)
        return 0

    def readable(self) -> bool:
        """Whether a byte of the peer's is there: a readable socket may hold no more than TLS's own messages."""
        if self._ahead or self._ended:
            return True
        try:
            with self._lock:
                self._ahead = self._socket.recv(_SMALL_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self._ended = not self._ahead
        return True

    def set_timeout(self, seconds: float) -> None:
        """Ours: the socket itself never waits."""
        self._seconds = seconds

    def finish_sending(self) -> None:
        """Half a close, beneath TLS: every frame says how long it is, so nothing can be cut off unnoticed.

        Not the TLS socket's own shutdown: that one goes on in plain text (ssl.SSLSocket.shutdown).
        """
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def hang_up(self) -> None:
        """Both halves."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; never between OpenSSL and another thread, which would go on in plain text."""
        with self._lock:
            self._socket.close()

    def _read(self, view: memoryview) -> tuple[int, int]:
        """As much as is there, a TLS record of 16 KiB at a time, and what to wait for where that is nothing."""
        done, length = 0, len(view)
        with self._lock:
            try:
                while done < length:
                    count = cast("int", self._socket.read(length - done, view[done:]))
                    if not count:
                        break
                    done += count
            except ssl.SSLWantReadError:
                return done, select.POLLIN
            except ssl.SSLWantWriteError:
                return done, select.POLLOUT
        return done, 0

    def _send(self, view: memoryview) -> None:
        """OpenSSL wants the same bytes again when it could not take them; a piece is one such call."""
        for start in range(0, len(view), _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            while len(piece):
                try:
                    with self._lock:
                        piece = piece[self._socket.send(piece) :]
                except ssl.SSLWantWriteError:
                    self._wait(select.POLLOUT)
                except ssl.SSLWantReadError:
                    self._wait(select.POLLIN)

    def _wait(self, event: int) -> None:
        """A peer that cannot take more but goes on talking is slow, not gone: what it said grows in our buffer."""
        number, said = self._socket.fileno(), 0
        if number < 0:
            raise ConnectionAbortedError("the connection was closed")
        poll = select.poll()
        poll.register(number, event)
        while not poll.poll(self._seconds * 1000):
            before, said = said, _unread(number)
            if said <= before:
                raise TimeoutError(f"no word for {self._seconds:.0f} s")


def _unread(descriptor: int) -> int:
    """How many bytes the kernel holds for us."""
    found = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, found)
    return found[0]
