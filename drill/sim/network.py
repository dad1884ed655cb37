"""The way to the receiver (the ReceiverLink port): a connection per log, and a network that keeps what it carried.

A connection carries every byte in order, or breaks.  What breaks it, and what a hostile or broken network does beside,
is planned per log (`Weather`).  When the sender goes away in the middle, or without waiting for the answer, the
receiver still gets some first part of what was sent: bytes in flight do not die with their sender.
"""

from __future__ import annotations

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

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests of chunks of a disk of the head."""
        ...

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests of chunks of a disk of the head."""
        ...

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Pages of a disk of the head that rotted."""
        ...

    def accept(self, header: LogHeader) -> None:
        """Look at a header; raise what the receiver answers."""
        ...

    def receive(self, header: LogHeader, source: Callable[[int], bytes | memoryview]) -> Point:
        """Take a log."""
        ...


@dataclass(slots=True)
class Weather:
    """What happens to the next log; None or False where nothing does.  Positions are parts of 1 of its bytes.

    `midway`: after so many reads of the receiver somebody else looks at what it has.  `spoil` changes the log.
    """

    cut: int | None = None
    flip: float | None = None
    truncate: float | None = None
    lose_answer: bool = False
    duplicate: bool = False
    late: bool = False
    stale: int | None = None
    reorder: float | None = None
    half_open: bool = False
    late_answer: bool = False
    slow: bool = False
    midway: int | None = None
    spoil: Callable[[bytes], bytes] | None = None
    certificate: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A log as it was sent."""

    header: LogHeader
    log: bytes


class SimNetwork:
    """Joins sources to a taker.  `attempts` are the headers of logs of which any byte reached it since last asked.

    `up`: whether anything passes; `deaf`: whether questions pass and answers do not (an asymmetric partition).
    `wait` lets time pass; `on_midway` is called while a log arrives, `on_certificate` with what befalls its sender's.
    """

    def __init__(
        self,
        taker: Taker,
        rng: Random,
        noted: Callable[[str], None],
        wait: Callable[[float], None],
        on_certificate: Callable[[str], None],
    ) -> None:
        self.taker = taker
        self.up = True
        self.deaf = False
        self.on_midway: Callable[[], None] = _nobody_looks
        self.on_certificate = on_certificate
        self.weather = Weather()
        self.kept: list[Letter] = []
        self.attempts: list[LogHeader] = []
        self.acknowledged: list[Point] = []
        self.flipped: list[LogHeader] = []
        self.doubled: list[tuple[Point, Point]] = []
        self._rng = rng
        self._noted = noted
        self.wait = wait

    def deliver(self, letter: Letter, sent: bytes, *, broken: bool) -> Point:
        """Hand bytes to the receiver; where they end the connection is lost (`broken`) or silent."""
        self.attempts.append(letter.header)
        at = reads = 0

        def source(length: int) -> bytes:
            nonlocal at, reads
            reads += 1
            if reads == self.weather.midway:
                self._noted("looked at in the middle of a log")
                self.on_midway()
            if self.weather.certificate is not None:
                self._certificate(reads, *self.weather.certificate)
            if at + length > len(sent):
                raise Unknown("receiving a log", "connection lost" if broken else "silence")
            at += length
            return sent[at - length : at]

        try:
            return self.taker.receive(letter.header, source)
        except Killed as error:
            raise Unknown("receive", "connection lost") from error

    def _certificate(self, reads: int, when: int, kind: str) -> None:
        """From some read on the sender's certificate is another; the receiver looks at it while the log arrives."""
        if reads >= when:
            self.on_certificate(kind if reads == when else "")

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

    def keep(self, letter: Letter) -> None:
        """Remember a log, and forget the oldest of more than a few."""
        self.kept.append(letter)
        del self.kept[:-KEPT]

    def spoilt(self, log: bytes) -> bytes:
        """The log as it arrives."""
        weather = self.weather
        if weather.flip is not None and log:
            at = int(weather.flip * len(log))
            found = bytearray(log)
            found[at] ^= 1 << int(weather.flip * 8 * len(log)) % 8
            log = bytes(found)
            self._noted("flipped bit")
        if weather.spoil is not None:
            log = weather.spoil(log)
        if weather.reorder is not None:
            at = int(weather.reorder * len(log))
            log = log[at:] + log[:at]
            self._noted("reordered log")
        if weather.truncate is not None:
            log = log[: int(weather.truncate * len(log))]
            self._noted("truncated log")
        return log

    def some(self, length: int) -> int:
        """How much of what was in flight still arrives."""
        return self._rng.choice((0, length, self._rng.randrange(length + 1)))

    def close(self) -> None:
        """Let go of whom it joins."""
        self.taker, self._noted, self.on_midway = _NOBODY, _unnoted, _nobody_looks

    def note(self, kind: str) -> None:
        """A fault happened."""
        self._noted(kind)


class _Nobody:
    """A receiver that is not there."""

    def head(self, item: str) -> Point | None:
        raise Unreachable("the receiver", "nowhere", item)

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:  # noqa: ARG002
        raise Unreachable("the receiver", "nowhere", item)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:  # noqa: ARG002
        raise Unreachable("the receiver", "nowhere", item)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:  # noqa: ARG002
        raise Unreachable("the receiver", "nowhere", item)

    def accept(self, header: LogHeader) -> None:
        raise Unreachable("the receiver", "nowhere", header.item)

    def receive(self, header: LogHeader, source: Callable[[int], bytes | memoryview]) -> Point:  # noqa: ARG002 - Taker
        raise Unreachable("the receiver", "nowhere", header.item)


_NOBODY = _Nobody()


def _unnoted(_kind: str) -> None:
    """Nobody counts."""


def _nobody_looks() -> None:
    """Nobody looks."""


class SimLink:
    """One source's end of the network."""

    def __init__(self, network: SimNetwork, process: Process) -> None:
        self._network = network
        self._process = process

    def head(self, item: str) -> Point | None:
        """Ask for the newest point."""
        self._ready("head")
        try:
            found = self._network.taker.head(item)
        except Killed as error:
            raise Unknown("head", "connection lost") from error
        self._heard("head")
        return found

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Ask for digests of chunks."""
        self._ready("chunks")
        try:
            return self._network.taker.chunks(item, epoch, sequence, disk, first, count)
        except Killed as error:
            raise Unknown("chunks", "connection lost") from error

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Ask for page digests."""
        self._ready("leaves")
        try:
            return self._network.taker.leaves(item, epoch, sequence, disk, chunks)
        except Killed as error:
            raise Unknown("leaves", "connection lost") from error

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Ask for pages that rotted."""
        self._ready("rotten")
        try:
            return self._network.taker.rotten(item, epoch, sequence, disk)
        except Killed as error:
            raise Unknown("rotten", "connection lost") from error

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
        self._heard("receive")
        return SimStream(network, header, self._process)

    def _heard(self, operation: str) -> None:
        if self._network.deaf:
            self._network.note("asymmetric partition")
            self._network.wait(20.0)
            raise Unknown(operation, "no answer within 20 s")

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
        if self._network.weather.slow:
            self._network.note("slow network")
            self._network.wait(5.0)
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
        letter, arriving = self._arriving()
        point = network.deliver(letter, arriving, broken=False)
        if weather.duplicate:
            network.note("duplicated log")
            network.doubled.append((point, network.deliver(letter, arriving, broken=False)))
        if weather.late_answer:
            network.note("late acknowledgement")
            network.wait(50.0)
        if weather.lose_answer:
            network.note("lost acknowledgement")
            raise Unknown("receive", "connection reset")
        if self._process.armed:
            self._process.ask("link acknowledged", "")
        network.acknowledged.append(point)
        return point

    def _arriving(self) -> tuple[Letter, bytes]:
        """The log as it was sent and as it arrives; Unknown when it does not, or not yet."""
        network, weather = self._network, self._network.weather
        letter = Letter(self._header, b"".join(self._parts))
        self._over = True
        if weather.half_open:
            network.note("half-open connection")
            raise Unknown("receive", "no answer within 60 s")
        arriving = network.spoilt(letter.log)
        if arriving != letter.log:
            network.flipped.append(self._header)
        network.keep(letter)
        if weather.late:
            network.note("late log")
            raise Unknown("receive", "no answer within 60 s")
        return letter, arriving

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
