"""Logs on their way into this receiver, each of which may outlive its connection.

The engine reads a log as if it came from one connection (`Arrival.take`).  When that breaks, the engine's thread waits
here for the sender to come back with the log's token, and goes on at the byte after the last whole frame: whatever was
taken before lies where the engine has put it.  Nobody waits for long: not for a sender that does not come back, and
less where another request about the item is waiting.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from drill.errors import BadInput, Refused, Unknown
from drill.model.identity import Identity
from drill.transport.frames import CREDIT, CREDIT_BYTES, READY, SILENCE_SECONDS, Kind, Wire
from drill.transport.secure import Guest

RETURN_SECONDS = 30.0
"""A sender may be away for this long.  The guest's writes meanwhile fill the scratch of its backup job."""
PATIENCE_SECONDS = 5.0
"""A controller that asks about the item waits this long for a sender that is away."""


class Arrival:
    """One log; `token` is what its sender comes back with.  `take` is called by one thread, the rest by others."""

    def __init__(self, item: str, sender: Identity | None) -> None:
        self.item = item
        self.sender = sender
        self.token = secrets.token_bytes(16)
        self._changed = threading.Condition()
        self._line: tuple[Wire, Guest] | None = None
        self._next: tuple[Wire, Guest] | None = None
        self._turn = 0
        self._left = memoryview(b"")
        self._received = self._credited = 0
        self._outcome: tuple[Kind, bytes] | None = None
        self._waiting: list[tuple[float, float]] = []
        self._since, self._cause = 0.0, ""

    def begin(self, wire: Wire, guest: Guest) -> None:
        """The engine has accepted the header: tell the sender to begin."""
        self._next = (wire, guest)
        self._switch()

    def take(self, length: int) -> bytes | memoryview:
        """The next bytes; Unknown when the sender is gone for good, BadInput when it says something else."""
        if len(self._left) >= length:
            found, self._left = self._left[:length], self._left[length:]
            return found
        parts, missing = [], length
        while missing:
            if not self._left:
                self._left = self._data()
            part = self._left[:missing]
            parts.append(part)
            self._left, missing = self._left[len(part) :], missing - len(part)
        return b"".join(parts)

    def come_back(self, wire: Wire, guest: Guest) -> tuple[Kind, bytes]:
        """Go on over another connection; returns the answer once there is one.

        ConnectionAbortedError when the sender came back yet again over a third one.
        """
        with self._changed:
            self._turn += 1
            turn, self._next = self._turn, (wire, guest)
            if self._line is not None:
                self._line[0].hang_up()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._outcome is not None or self._turn != turn)
            if self._outcome is None or self._turn != turn:
                raise ConnectionAbortedError("the sender has come back over another connection")
            return self._outcome

    def end(self, kind: Kind, answer: bytes) -> None:
        """The engine is done with it; whoever comes back later gets this answer."""
        with self._changed:
            self._outcome = (kind, answer)
            self._line = self._next = None
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether it has its answer."""
        return self._outcome is not None

    @contextmanager
    def waited_for(self, patience: float) -> Iterator[None]:
        """While another request about the item waits for this log to end: a sender that is away has less time."""
        mine = (time.monotonic(), patience)
        with self._changed:
            self._waiting.append(mine)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.remove(mine)

    def _data(self) -> memoryview:
        """The next DATA frame, over whichever connection it comes."""
        while True:
            if self._next is not None:
                self._switch()
            if self._line is None:
                self._await_sender()
                continue
            wire, guest = self._line
            try:
                kind, payload = wire.receive()
            except OSError as error:
                self._lost(str(error))
                continue
            if kind is Kind.DATA:
                self._count(len(payload), wire, guest)
                return payload
            if kind is Kind.ERROR:
                raise Unknown("receiving a log", "its sender gave it up")
            if kind is not Kind.WORKING:
                raise BadInput("cycle log", f"{kind.name} before its end")

    def _count(self, length: int, wire: Wire, guest: Guest) -> None:
        """Only a whole frame counts; a certificate that ended or was revoked meanwhile ends the log."""
        self._received += length
        if self._received - self._credited >= CREDIT_BYTES:
            guest.check()
            self._credited = self._received
            with suppress(OSError):  # it is lost: the next receive says so
                wire.send(Kind.CREDIT, CREDIT.pack(self._received))

    def _switch(self) -> None:
        """Take the new connection and say where to go on; by the engine's thread alone, between two frames."""
        with self._changed:
            line, self._next = self._next, None
            self._line = line
        if line is None:
            return
        wire, guest = line
        guest.check()
        wire.set_timeout(SILENCE_SECONDS)
        self._credited = self._received
        try:
            wire.send(Kind.READY, READY.pack(self.token, self._received))
        except OSError as error:
            self._lost(str(error))

    def _lost(self, cause: str) -> None:
        with self._changed:
            self._line = None
            self._cause = cause
            self._since = time.monotonic()

    def _await_sender(self) -> None:
        """Wait for `come_back`; Unknown when it takes too long."""
        with self._changed:
            while self._next is None:
                until = self._since + RETURN_SECONDS
                for asked, patience in self._waiting:
                    until = min(until, max(asked, self._since) + patience)
                left = until - time.monotonic()
                if left <= 0:
                    raise Unknown("receiving a log", self._cause)
                self._changed.wait(left)


class Arrivals:
    """The logs of one service: those on their way, and for each item the last that ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, list[Arrival]] = {}

    def add(self, arrival: Arrival) -> None:
        """A log that was accepted; those of its item that ended before it are forgotten."""
        with self._lock:
            others = [one for one in self._known.get(arrival.item, []) if not one.is_over]
            self._known[arrival.item] = [*others, arrival]

    def find(self, item: str, token: str, sender: Identity | None) -> Arrival:
        """The log that a sender comes back with; Refused where it is not known any more, or is another's."""
        with self._lock:
            for one in self._known.get(item, ()):
                if secrets.compare_digest(one.token.hex().encode(), token.encode()) and one.sender == sender:
                    return one
        raise Refused(f"no log of item {item} waits for its sender", cure="the next cycle sends it again")

    @contextmanager
    def waiting(self, item: str | None, patience: float) -> Iterator[None]:
        """Hold while a request about `item` is performed that a log on its way may keep waiting."""
        with self._lock:
            open_ = [one for one in self._known.get(item or "", ()) if not one.is_over]
        if not open_:
            yield
            return
        with open_[-1].waited_for(patience):
            yield
