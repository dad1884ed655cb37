"""The way to the receiver (the ReceiverLink port): a connection per log, and a network that keeps what it carried.

A connection carries every byte in order, or breaks.  What breaks it, and what a hostile or broken network does beside,
is planned per log (`Weather`).  When the sender goes away in the middle, or without waiting for the answer, the
receiver still gets some first part of what was sent: bytes in flight do not die with their sender.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Protocol, Self

from drill.errors import DrillError, Unknown, Unreachable
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.sim.process import Killed, Process

KEPT = 4


class Taker(Protocol):
    """The receiving process behind the connection; Unreachable while it is down."""

    def head(self, item: str) -> Point | None:
        """The newest sealed point."""
        ...

    def accept(self, header: LogHeader) -> None:
        """Look at a header; raise what the receiver answers."""
        ...

    def receive(self, header: LogHeader, source: Callable[[int], bytes | memoryview]) -> Point:
        """Take a log."""
        ...


@dataclass(slots=True)
class Weather:
    """What happens to the next log; None or False where nothing does.  Positions are parts of 1 of its bytes."""

    cut: int | None = None
    flip: float | None = None
    truncate: float | None = None
    lose_answer: bool = False
    duplicate: bool = False
    late: bool = False
    stale: int | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A log as it was sent."""

    header: LogHeader
    log: bytes


class SimNetwork:
    """Joins sources to a taker.  `attempts` are the headers of logs of which any byte reached it since last asked."""

    def __init__(self, taker: Taker, rng: Random, noted: Callable[[str], None]) -> None:
        self.taker = taker
        self.up = True
        self.weather = Weather()
        self.kept: deque[Letter] = deque(maxlen=KEPT)
        self.attempts: list[LogHeader] = []
        self.acknowledged: list[Point] = []
        self.flipped: list[LogHeader] = []
        self._rng = rng
        self._noted = noted

    def deliver(self, letter: Letter, sent: bytes, *, broken: bool) -> Point:
        """Hand bytes to the receiver; where they end the connection is lost (`broken`) or silent."""
        self.attempts.append(letter.header)
        at = 0

        def source(length: int) -> bytes:
            nonlocal at
            if at + length > len(sent):
                raise Unknown("receiving a log", "connection lost" if broken else "silence")
            at += length
            return sent[at - length : at]

        try:
            return self.taker.receive(letter.header, source)
        except Killed as error:
            raise Unknown("receive", "connection lost") from error

    def deliver_again(self, index: int) -> tuple[Letter, Point | DrillError] | None:
        """An old log arrives, of whatever epoch; None when none is kept."""
        if not self.kept:
            return None
        letter = self.kept[index % len(self.kept)]
        self._noted("stale log")
        try:
            return letter, self.deliver(letter, letter.log, broken=False)
        except DrillError as error:
            return letter, error

    def spoilt(self, log: bytes) -> bytes:
        """The log as it arrives."""
        weather = self.weather
        if weather.flip is not None and log:
            at = int(weather.flip * len(log))
            found = bytearray(log)
            found[at] ^= 1 << int(weather.flip * 8 * len(log)) % 8
            log = bytes(found)
            self._noted("flipped bit")
        if weather.truncate is not None:
            log = log[: int(weather.truncate * len(log))]
            self._noted("truncated log")
        return log

    def some(self, length: int) -> int:
        """How much of what was in flight still arrives."""
        return self._rng.choice((0, length, self._rng.randrange(length + 1)))

    def close(self) -> None:
        """Let go of whom it joins."""
        self.taker, self._noted = _NOBODY, _unnoted

    def note(self, kind: str) -> None:
        """A fault happened."""
        self._noted(kind)


class _Nobody:
    """A receiver that is not there."""

    def head(self, item: str) -> Point | None:
        raise Unreachable("the receiver", "nowhere", item)

    def accept(self, header: LogHeader) -> None:
        raise Unreachable("the receiver", "nowhere", header.item)

    def receive(self, header: LogHeader, source: Callable[[int], bytes | memoryview]) -> Point:  # noqa: ARG002 - Taker
        raise Unreachable("the receiver", "nowhere", header.item)


_NOBODY = _Nobody()


def _unnoted(_kind: str) -> None:
    """Nobody counts."""


class SimLink:
    """One source's end of the network."""

    def __init__(self, network: SimNetwork, process: Process) -> None:
        self._network = network
        self._process = process

    def head(self, item: str) -> Point | None:
        """Ask for the newest point."""
        self._ready("head")
        try:
            return self._network.taker.head(item)
        except Killed as error:
            raise Unknown("head", "connection lost") from error

    def send(self, header: LogHeader) -> SimStream:
        """Offer a log."""
        self._ready("offer")
        network = self._network
        if network.weather.stale is not None:
            index, network.weather.stale = network.weather.stale, None
            network.deliver_again(index)
        try:
            network.taker.accept(header)
        except Killed as error:
            raise Unknown("receive", "connection lost") from error
        return SimStream(network, header, self._process)

    def _ready(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"link {operation}", "")
        if not self._network.up:
            self._network.note("network down")
            raise Unreachable("the agent's receiver role", "peer:8084", "no route to host")


class SimStream:
    """A log on its way."""

    def __init__(self, network: SimNetwork, header: LogHeader, process: Process) -> None:
        self._network = network
        self._header = header
        self._process = process
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if self._process.armed:
            self._process.ask("link write", "")
        self._parts.append(bytes(data))
        self._size += len(data)
        cut = self._network.weather.cut
        if cut is not None and self._size > cut:
            self._network.note("connection cut")
            self._leave(b"".join(self._parts)[:cut])
            raise Unknown("sending a log", "connection reset")

    def seal(self) -> Point:
        """Wait for the acknowledgement."""
        if self._process.armed:
            self._process.ask("link seal", "")
        network, weather = self._network, self._network.weather
        letter = Letter(self._header, b"".join(self._parts))
        arriving = network.spoilt(letter.log)
        if arriving != letter.log:
            network.flipped.append(self._header)
        network.kept.append(letter)
        self._over = True
        if weather.late:
            network.note("late log")
            raise Unknown("receive", "no answer within 60 s")
        point = network.deliver(letter, arriving, broken=False)
        if weather.duplicate:
            network.note("duplicated log")
            again = network.deliver(letter, arriving, broken=False)
            if again != point:
                raise RuntimeError("the same log again was answered with another point")
        if weather.lose_answer:
            network.note("lost acknowledgement")
            raise Unknown("receive", "connection reset")
        if self._process.armed:
            self._process.ask("link acknowledged", "")
        network.acknowledged.append(point)
        return point

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._over:
            log = b"".join(self._parts)
            self._leave(log[: self._network.some(len(log))])

    def _leave(self, sent: bytes) -> None:
        """The connection is over without an answer; the receiver makes of it what it can."""
        self._over = True
        if not sent:
            return
        try:
            self._network.deliver(Letter(self._header, sent), sent, broken=True)
        except DrillError:
            self._network.note("log broken off")
