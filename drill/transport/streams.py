"""A connected socket as frames need it, plain or under TLS: one thread may receive while others send.

OpenSSL's state is not made for two threads at once, and a read that waits must not keep a writer waiting.  So every
call to OpenSSL is made under a lock, works on memory and returns at once; the socket never blocks, and whoever has to
wait polls it outside of the lock.  The socket's own timeout stays for plain connections.
"""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import termios
import threading
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

_PIECE_BYTES = 1 << 17
"""What is encrypted and sent at once, and is still in the processor's cache by then."""
_READ_BYTES = 1 << 18
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
    """TLS over a connected socket; nothing may be sent or received before `handshake`.

    OpenSSL works on memory, and the socket is read and written beside it, in long pieces: with a socket of its own it
    asks the kernel twice for every record of 16 KiB (`drill bench stream`: 2.4 GB/s, 1.8 GB/s before).
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=server)
        self._lock = threading.Lock()
        self._raw = memoryview(bytearray(_READ_BYTES))
        self._ahead = b""
        self._ended = False
        self._seconds = 60.0

    def handshake(self, seconds: float) -> bytes:
        """Greet the peer, within so many seconds however slowly it sends; returns its certificate (DER).

        OSError when chain or key is not right; the peer has been told by then.  Empty where it showed none.
        """
        until = time.monotonic() + seconds
        while not self._greeted():
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no greeting within {seconds:.0f} s")
            self._seconds = left
            self._fetch()
            if self._ended:
                raise ConnectionResetError("the peer closed the connection instead of greeting")
        return self._tls.getpeercert(binary_form=True) or b""

    def binding(self) -> bytes:
        """What both ends know of this connection and of no other: the client's Finished; empty before the handshake."""
        return self._tls.get_channel_binding("tls-unique") or b""

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
        while not (count := self._read(view)) and not self._ended:
            self._fetch()
        return count

    def readable(self) -> bool:
        """Whether a byte of the peer's is there: a readable socket may hold no more than TLS's own messages."""
        if self._ahead or self._ended:
            return True
        self._take_in()
        found = bytearray(_SMALL_BYTES)
        self._ahead = bytes(found[: self._read(memoryview(found))])
        return bool(self._ahead) or self._ended

    def set_timeout(self, seconds: float) -> None:
        """Ours: the socket itself never waits."""
        self._seconds = seconds

    def finish_sending(self) -> None:
        """Half a close, beneath TLS: every frame says how long it is, so nothing can be cut off unnoticed."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Both halves."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _greeted(self) -> bool:
        """Go on with the handshake as far as what has arrived reaches; what it gives is sent, an alert too."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._push(self._leaving.read())
        return True

    def _read(self, view: memoryview) -> int:
        """As much as has arrived, a TLS record of 16 KiB at a time."""
        done, length = 0, len(view)
        with self._lock, suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while done < length and (count := cast("int", self._tls.read(length - done, view[done:]))):
                done += count
        return done

    def _fetch(self) -> None:
        """Wait for the peer, and take in what it has sent."""
        while not self._take_in():
            self._wait(select.POLLIN)

    def _take_in(self) -> bool:
        """Whether there was something on the socket, if only its end."""
        try:
            count = self._socket.recv_into(self._raw)
        except BlockingIOError:
            return False
        if count:
            with self._lock:
                self._arrived.write(self._raw[:count])
        else:
            self._ended = True
        return True

    def _send(self, view: memoryview) -> None:
        """Only the one thread that sends takes what leaves: the order on the wire is OpenSSL's."""
        for start in range(0, len(view), _PIECE_BYTES):
            with self._lock:
                self._tls.write(view[start : start + _PIECE_BYTES])
                leaving = self._leaving.read()
            self._push(leaving)

    def _push(self, leaving: bytes) -> None:
        view = memoryview(leaving)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)

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
