"""An authority with its holders, and a receiver behind mutual TLS that any test can talk to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from drill.errors import DrillError, Failed, Refused
from drill.identity.authority import Authority, utc_now
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Identity, identity
from drill.model.point import Point
from drill.ports import ReceiverHead
from drill.transport import dial
from drill.transport.client import AgentClient, ReceiverClient
from drill.transport.secure import Security
from drill.transport.service import Service
from drill.transport.throttle import Throttle


class Vault:
    """An authority and the folders of its holders, all below one folder."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.folder = folder
        self.authority = Authority.make(folder / "authority", name, utc_now)

    def bundle(self, holder: str) -> Path:
        """The folder of a holder, with a certificate; made when first asked for."""
        into = self.folder / holder.replace("/", "-")
        if not into.exists():
            self.authority.issue(identity(holder), into)
        return into

    def security(self, holder: str) -> Security:
        return Security(self.bundle(holder))

    def revoke(self, holder: str, tell: str) -> None:
        """Revoke all that a holder has, and tell another one."""
        serials = frozenset(one.serial for one in self.authority.issued() if str(one.identity) == holder)
        self.authority.revoke(serials)
        self.authority.publish(self.bundle(tell))


class Asking(Protocol):
    """What controllers may ask of the role below."""

    def forget(self, item: str) -> None: ...


@dataclass
class Role:
    """Takes logs: as many bytes as the header's sequence says.  `touched` tells whether anybody got through to it."""

    point: Point
    touched: int = 0
    taken: list[bytes] = field(default_factory=list)
    on_take: Callable[[int], None] = lambda _: None

    def head(self, item: str) -> Point | None:
        self.touched += 1
        return None

    def forget(self, item: str) -> None:
        self.touched += 1

    def receive(
        self, header: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]
    ) -> Point:
        self.touched += 1
        if header.epoch == "refused1":
            raise Refused("another log is expected")
        ready()
        parts, left = [], header.sequence
        while left:
            part = bytes(source(min(left, 1 << 20)))
            parts.append(part)
            left -= len(part)
            self.on_take(header.sequence - left)
        if header.epoch == "full1":
            raise Failed("storing a cycle", "no space")
        self.taken.append(b"".join(parts))
        return self.point


POINT = Point(
    item="item-1",
    epoch="e",
    sequence=1,
    begun_us=1,
    taken_us=2,
    sealed_us=3,
    full=True,
    application_consistent=False,
    disks=(),
    log_digest="l",
    parent_digest="",
    sent_bytes=9,
)


def until(act: Callable[[], object], seconds: float = 20.0) -> None:
    """Repeat `act` until it raises neither one of drill's errors nor an AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
            return
        except (DrillError, AssertionError, pytest.fail.Exception):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@dataclass
class Receiver:
    """A receiver that listens on loopback; `item-1` is granted to source/s in term 1."""

    vault: Vault
    role: Role
    grants: dict[str, Grant]
    port: int

    def asker(self, holder: str, name: str = "r") -> AgentClient:
        shapes = (Asking, ReceiverHead)
        return AgentClient("127.0.0.1", self.port, "receiver", shapes, self.vault.security(holder), name)

    def sender(self, holder: str = "source/s", port: int = 0, throttle: Throttle | None = None) -> ReceiverClient:
        return ReceiverClient("127.0.0.1", port or self.port, self.vault.security(holder), "r", throttle)


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    vault = Vault(folder)
    grants = {"item-1": Grant(item="item-1", sender=source("s"))}
    role = Role(POINT)
    listener = dial.listen("127.0.0.1", 0)
    served = Service(
        "receiver",
        (Asking,),
        role,
        role,
        for_sources=(ReceiverHead,),
        grants=lambda: grants,
        security=vault.security("receiver/r"),
    )
    thread = threading.Thread(target=served.serve, args=(listener,))
    thread.start()
    try:
        yield Receiver(vault, role, grants, int(listener.getsockname()[1]))
    finally:
        served.close()
        thread.join()


def source(name: str) -> Identity:
    return identity(f"source/{name}")
