"""A log whose connection breaks goes on where the receiver has it; one whose sender gave up or is gone is let go."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from drill.errors import BadInput, Refused, Unknown
from drill.identity.allowed import RESUME
from drill.model.identity import Grant
from drill.replication import plainjson
from drill.transport import arrivals, client, sending, service
from drill.transport.frames import CAPS, CREDIT, CREDIT_BYTES, WINDOW_BYTES, Kind, Wire
from drill.transport.sending import WireLogStream
from drill.transport.service import Resume
from tests import trusted
from tests.trusted import POINT, Receiver
from tests.unit.test_cyclelog import header

MIB = 1 << 20


def pieces(count: int) -> list[bytes]:
    return [number.to_bytes(2, "big") * (MIB // 2) for number in range(count)]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with trusted.receiver(tmp_path) as made:
        yield made


class Relay:
    """A connection between agents that can be cut: bytes go both ways until then, and nobody is let in meanwhile."""

    def __init__(self, port: int) -> None:
        self._towards = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.open = True
        self.passed = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset whatever stands; what is in the buffers is lost."""
        self.open = False
        found, self._sockets = self._sockets, []
        for one in found:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._towards))
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError), one:
            while data := one.recv(1 << 16):
                other.sendall(data)
                self.passed += len(data)
            other.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(receiver: Receiver) -> Iterator[Relay]:
    relay = Relay(receiver.port)
    try:
        yield relay
    finally:
        relay.close()


def heal_later(relay: Relay, seconds: float) -> None:
    def heal() -> None:
        time.sleep(seconds)
        relay.open = True

    threading.Thread(target=heal, daemon=True).start()


@pytest.mark.parametrize("cuts", [[10], [5, 6, 40], [63]], ids=["once", "again and again", "at the end"])
def test_a_log_whose_connection_breaks_goes_on_and_arrives_byte_for_byte(receiver: Receiver, cuts: list[int]) -> None:
    body = pieces(64)
    with relayed(receiver) as relay, receiver.sender(port=relay.port).send(header(sequence=64 * MIB)) as stream:
        for number, piece in enumerate(body):
            stream.write(piece)
            if number in cuts:
                relay.cut()
                heal_later(relay, 0.3)
        assert stream.seal() == POINT
        assert relay.passed < 2 * 64 * MIB
    assert receiver.role.taken == [b"".join(body)]
    assert receiver.role.touched == 1, "the log began again"


def test_an_acknowledgement_that_was_lost_is_asked_for_again(receiver: Receiver) -> None:
    with relayed(receiver) as relay, receiver.sender(port=relay.port).send(header(sequence=MIB)) as stream:
        receiver.role.on_take = lambda _: relay.cut()
        stream.write(bytes(MIB))
        heal_later(relay, 0.3)
        assert stream.seal() == POINT
    assert receiver.role.touched == 1


def test_what_the_receiver_has_not_taken_is_bounded_and_kept(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver takes nothing for a while, longer than a silence that would end the connection."""
    monkeypatch.setattr(service, "WORKING_SECONDS", 0.1)
    monkeypatch.setattr(sending, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.5)
    hold = threading.Event()

    def stall(_: int) -> None:
        hold.wait(20)

    receiver.role.on_take = stall
    with receiver.sender().send(header(sequence=100 * MIB)) as stream:

        def pour() -> None:
            for piece in pieces(100):
                stream.write(piece)

        thread = threading.Thread(target=pour)
        thread.start()
        thread.join(2)
        assert thread.is_alive(), "it took all"
        kept = sum(len(part) for _, parts in stream._window for part in parts)
        assert MIB <= kept <= WINDOW_BYTES + CAPS[Kind.DATA]
        hold.set()
        thread.join()
        assert stream.seal() == POINT
    assert receiver.role.taken == [b"".join(pieces(100))]
    assert receiver.role.touched == 1


def test_a_sender_that_gives_up_does_not_keep_the_item(receiver: Receiver) -> None:
    with receiver.sender().send(header(sequence=8 * MIB)) as stream:
        stream.write(bytes(4 * MIB))
    begun = time.monotonic()
    with receiver.sender().send(header(sequence=MIB)) as stream:
        stream.write(bytes(MIB))
        assert stream.seal() == POINT
    assert time.monotonic() - begun < arrivals.PATIENCE_SECONDS


def test_a_sender_that_is_gone_gives_way_to_its_own_next_question(receiver: Receiver) -> None:
    """Killed and started anew, a source asks for the head: it will not come back with the log's token."""
    arrival = arrivals.Arrival("item-1", None)
    known = arrivals.Arrivals()
    known.add(arrival)
    ended = broken_off(arrival)
    assert ended.is_alive()
    with known.waiting("item-1", 0.0):
        ended.join(5)
        assert not ended.is_alive()


def test_a_controller_waits_a_little_for_a_sender_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.5)
    arrival = arrivals.Arrival("item-1", None)
    known = arrivals.Arrivals()
    known.add(arrival)
    ended = broken_off(arrival)
    begun = time.monotonic()
    with known.waiting("item-1", arrivals.PATIENCE_SECONDS):
        ended.join(10)
    assert 0.4 < time.monotonic() - begun < 8


def broken_off(arrival: arrivals.Arrival) -> threading.Thread:
    """A thread that takes from an arrival whose connection is gone."""
    arrival._lost("reset")

    def take() -> None:
        with pytest.raises(Unknown, match="reset"):
            arrival.take(1)

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.1)
    return thread


def test_a_link_that_stays_cut_ends_the_log_on_both_sides(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETURN_SECONDS", 0.6)
    monkeypatch.setattr(sending, "RETURN_SECONDS", 0.6)
    with relayed(receiver) as relay:

        def send() -> None:
            with receiver.sender(port=relay.port).send(header(sequence=64 * MIB)) as stream:
                for piece in pieces(64):
                    stream.write(piece)
                    relay.cut()

        with pytest.raises(Unknown):
            send()
    assert receiver.sender().head("item-1") is None
    assert receiver.role.taken == []


def test_a_log_is_gone_on_with_only_by_its_own_sender(receiver: Receiver) -> None:
    """Another source that was granted the item meanwhile does not get at what is arriving."""
    with receiver.sender().send(header(sequence=4 * MIB)) as stream:
        stream.write(bytes(MIB))
        receiver.grants["item-1"] = Grant(item="item-1", sender=trusted.source("x"), term=2)
        asker = receiver.asker("source/x")
        with asker.connected() as wire:
            asked = Resume(item="item-1", token=stream._token.hex())
            asker.request(wire, RESUME, plainjson.encode(Resume, asked))
            with pytest.raises(Refused, match="no log of item item-1 waits"):
                asker.answer(wire, RESUME, Kind.REPLY, 5)


def test_credit_for_what_was_never_sent_is_refused() -> None:
    """A receiver that lies about what it has makes the sender stop, not forget."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = WireLogStream(Nobody(), Wire(ours), "item-1", bytes(24), None)
        Wire(theirs).send(Kind.CREDIT, CREDIT.pack(CREDIT_BYTES))
        with pytest.raises(BadInput, match="credit for"):
            stream.write(bytes(MIB))


class Nobody:
    serial = 0

    def connect(self) -> Wire:
        raise Unknown("connecting", "nobody is there")

    def request(self, wire: Wire, name: str, arguments: bytes) -> None:
        raise Unknown(name, "nobody is there")
