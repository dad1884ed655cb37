"""An authority with its holders, and a receiver behind mutual TLS that any test can talk to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from drill.errors import DrillError, Failed, Refused
from drill.identity import pair_keys
from drill.identity.authority import Authority, utc_now
from drill.identity.pair_keys import PairKey
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Identity, identity
from drill.model.point import Point
from drill.ports import ReceiverHead
from drill.transport import dial
from drill.transport.client import AgentClient, ReceiverClient
from drill.transport.paired import PairSecurity
from drill.transport.secure import Security
from drill.transport.service import Service
from drill.transport.throttle import Throttle


class Vault:
    """An authority and the folders of its holders, all below one folder."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.folder = folder
        made = (folder / "authority").exists()  # a copy of another one, which is quicker than making one
        own = folder / "authority"
        self.authority = Authority(own, utc_now) if made else Authority.make(own, name, utc_now)

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
    service: Service

    def asker(self, holder: str, name: str = "r") -> AgentClient:
        shapes = (Asking, ReceiverHead)
        return AgentClient("127.0.0.1", self.port, "receiver", shapes, self.vault.security(holder), name)

    def sender(self, holder: str = "source/s", port: int = 0, throttle: Throttle | None = None) -> ReceiverClient:
        return ReceiverClient("127.0.0.1", port or self.port, self.vault.security(holder), "r", throttle)


@dataclass
class Paired:
    """The same receiver on a second port, where source/s and source/x prove a pair key."""

    of: Receiver
    keys: PairSecurity
    port: int

    def folder(self, holder: str) -> Path:
        return self.of.vault.bundle(holder)

    def key(self, holder: str = "source/s", days: float = 1, *, alone: bool = False) -> PairKey:
        """A new key of a source with the receiver."""
        into = self.folder(holder), self.folder("receiver/r")
        return pair_keys.make(*into, timedelta(days=days), utc_now, alone=alone)

    def security(self, holder: str = "source/s") -> PairSecurity:
        return PairSecurity(self.folder(holder), identity(holder))

    def sender(self, holder: str = "source/s", port: int = 0) -> ReceiverClient:
        return ReceiverClient("127.0.0.1", port or self.port, self.security(holder), "r")

    def asker(self, holder: str = "source/s") -> AgentClient:
        return AgentClient("127.0.0.1", self.port, "receiver", (Asking, ReceiverHead), self.security(holder), "r")


@contextmanager
def paired(of: Receiver) -> Iterator[Paired]:
    """Serve pair keys until the receiver is closed, which is done at the end."""
    for holder in ("source/s", "source/x"):
        if not (of.vault.bundle(holder) / pair_keys.PAIRS).exists():
            pair_keys.make(of.vault.bundle(holder), of.vault.bundle("receiver/r"), timedelta(days=1), utc_now)
    listener = dial.listen("127.0.0.1", 0)
    keys = PairSecurity(of.vault.bundle("receiver/r"), identity("receiver/r"))
    thread = threading.Thread(target=of.service.serve, args=(listener, keys))
    thread.start()
    try:
        yield Paired(of, keys, int(listener.getsockname()[1]))
    finally:
        of.service.close()
        thread.join()


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
        yield Receiver(vault, role, grants, int(listener.getsockname()[1]), served)
    finally:
        served.close()
        thread.join()


def source(name: str) -> Identity:
    return identity(f"source/{name}")
