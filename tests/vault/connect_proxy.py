"""An HTTP proxy that knows CONNECT alone, asks for a user and leads `vault.example:5432` to a socket file."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

NAME = "vault.example"


@dataclass(slots=True)
class Proxy:
    """A running proxy; `asked` are the heads that it was sent, `answer` what it says instead of leading anywhere."""

    leads_to: Path
    password: str
    answer: bytes = b""
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(near,), daemon=True).start()

    def _attend(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            self.asked.append(head.decode())
            if self.answer:
                near.sendall(self.answer)
                return
            shown = base64.b64encode(f"drill:{self.password}".encode()).decode()
            if f"Proxy-Authorization: Basic {shown}" not in head.decode():
                near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            if not head.startswith(f"CONNECT {NAME}:5432 ".encode()):
                near.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            with socket.socket(socket.AF_UNIX) as far:
                far.connect(str(self.leads_to))
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def running(leads_to: Path, password: str) -> Iterator[Proxy]:
    """The proxy, on a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(leads_to=leads_to, password=password)
        proxy.port = listener.getsockname()[1]
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
