"""A way to the vault through a proxy (spec B7): a port of this machine's loopback that leads on by HTTP CONNECT.

    database driver ─ 127.0.0.1:N ─ tunnel ── CONNECT vault:5432 ── proxy ── vault

Only the driver's bytes pass; TLS, where the location asks for it, is between driver and server, and is checked against
the server's own name.  The password is read when the tunnel is made: a changed one counts from the next start.
"""

from __future__ import annotations

import base64
import logging
import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from drill.errors import BadInput, DrillError, Failed, Refused, Unreachable
from drill.model.vault import VaultProxy

CONNECT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 8192
_PIECE: Final = 1 << 16
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_LOG = logging.getLogger("drill.vault")


class Tunnel:
    """Open while it is used as a context manager; `address` is where it begins."""

    def __init__(self, proxy: VaultProxy, password: str, target: tuple[str, int]) -> None:
        self._proxy, self._password, self._target = proxy, password, target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._serve, name="vault tunnel", daemon=True).start()

    def close(self) -> None:
        """Let nothing more through; connections that stand end with their own sides."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), name="vault tunnel", daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near:
            try:
                far = dial(self._proxy, self._password, self._target)
            except DrillError as error:
                _LOG.warning("no way to the vault through the proxy: %s", error)
                return
            with far:
                back = threading.Thread(target=_pump, args=(far, near), name="vault tunnel", daemon=True)
                back.start()
                _pump(near, far)
                back.join()


def dial(proxy: VaultProxy, password: str, target: tuple[str, int]) -> socket.socket:
    """A connection to `target` through the proxy.

    Unreachable when the proxy does not answer, Refused when it wants another user or password, Failed when it does not
    lead there, BadInput when it is no proxy.
    """
    where = f"{proxy.address}:{proxy.port}"
    try:
        connection = socket.create_connection((proxy.address, proxy.port), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise Unreachable("the proxy", where, str(error)) from None
    try:
        connection.sendall(_request(proxy, password, target))
        _check_answer(_answer(connection, where), where, target)
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise Unreachable("the proxy", where, str(error)) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _request(proxy: VaultProxy, password: str, target: tuple[str, int]) -> bytes:
    host = f"{f'[{target[0]}]' if ':' in target[0] else target[0]}:{target[1]}"
    if not host.isascii() or not host.isprintable() or " " in host:
        raise BadInput("the vault's location", "its host is no name that a proxy could be asked for")
    lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
    if proxy.user:
        shown = base64.b64encode(f"{proxy.user}:{password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {shown}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _answer(connection: socket.socket, where: str) -> bytes:
    """The head of the proxy's answer, byte by byte so that none of the tunnel's is taken."""
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece or len(answer) >= ANSWER_BYTES_MAX:
            raise BadInput(f"the proxy {where}", "its answer is none of HTTP")
        answer += piece
    return bytes(answer)


def _check_answer(answer: bytes, where: str, target: tuple[str, int]) -> None:
    found = _STATUS.match(answer)
    if found is None:
        raise BadInput(f"the proxy {where}", "its answer is none of HTTP")
    status = int(found[1])
    if status == 407:
        raise Refused(f"the proxy {where} does not accept this user and password", "B7", "mend the credential")
    if status != 200:
        raise Failed(f"reaching {target[0]}:{target[1]} through the proxy {where}", f"it answers {status}")


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for side, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            side.shutdown(how)
