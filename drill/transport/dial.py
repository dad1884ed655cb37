"""Connections between agents: the one place where a socket is made; drill/transport/secure.py puts TLS upon it."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from drill.errors import Unreachable, Usage

CONNECT_SECONDS = 5.0
"""Between two sites a connection takes one round trip; five seconds are a lost host or a cut link."""
_BUFFER_BYTES = 4 << 20
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33
"""Of <asm-generic/socket.h>; the socket module does not name them."""


def address(text: str) -> tuple[str, int]:
    """`host:port` as a pair; Usage when it is none."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Usage(f"{text!r} is not of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def dial(host: str, port: int, what: str) -> socket.socket:
    """A connection to an agent; Unreachable when there is none within the deadline."""
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise Unreachable(what, f"{host}:{port}", str(error)) from error
    return prepared(connection)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; a name counts only where it is `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=64)
    _enlarge(listener, _RCVBUFFORCE)
    return listener


def prepared(connection: socket.socket) -> socket.socket:
    """A connected socket as both sides use it: no delay for small frames, dead peers noticed within a minute."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
    _enlarge(connection, _SNDBUFFORCE)
    return connection


def _enlarge(one: socket.socket, option: int) -> None:
    """Room for what a long line holds (at 40 ms, 100 MB/s), whatever a host's limits are for everybody.

    Who is not root leaves it to the kernel, which begins small and grows: a size that is asked for without this right
    is cut to the host's limit (208 KiB on a fresh Debian, 5 MB/s at 40 ms) and never grows again.
    """
    with suppress(PermissionError):
        one.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
