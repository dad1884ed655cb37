"""Frames, operations and errors on a real connection: bounded, ordered, and honest about silence."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Protocol

import pytest

from drill import errors
from drill.errors import BadInput, DrillError, Failed, Refused, Unknown, Unreachable, Usage
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.ports import ReceiverAgent, ReceiverHead, SourceAgent
from drill.transport import arrivals, client, dial, frames, sending, service
from drill.transport.client import AgentClient, ReceiverClient, SourceClient
from drill.transport.frames import CAPS, Kind, Wire
from drill.transport.operations import decode_error, encode_error, operations
from drill.transport.service import Service
from tests.unit.test_cyclelog import header

POINT = Point(
    item="i",
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


@contextmanager
def wires() -> Iterator[tuple[Wire, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(2)
        other.settimeout(2)
        yield Wire(one), other


def test_a_frame_arrives_as_it_was_sent() -> None:
    with wires() as (wire, other):
        wire.send(Kind.DATA, b"abc", memoryview(b"def"), b"")
        kind, payload = Wire(other).receive()
        assert (kind, bytes(payload)) == (Kind.DATA, b"abcdef")


def test_a_frame_larger_than_any_buffer_arrives_whole() -> None:
    with wires() as (wire, other):
        body = bytes(range(256)) * 8192
        thread = threading.Thread(target=wire.send, args=(Kind.DATA, body[:100], memoryview(body)[100:]))
        thread.start()
        kind, payload = Wire(other).receive()
        assert (kind, bytes(payload)) == (Kind.DATA, body)
        thread.join()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_length_beyond_the_cap_is_refused_before_it_is_read(kind: Kind) -> None:
    with wires() as (wire, other):
        other.sendall(struct.pack(">BI", kind, CAPS[kind] + 1))
        with pytest.raises(BadInput):
            wire.receive()
        with pytest.raises(BadInput):
            wire.send(kind, bytes(CAPS[kind] + 1))


def test_an_unknown_kind_is_refused() -> None:
    with wires() as (wire, other):
        other.sendall(struct.pack(">BI", 99, 0))
        with pytest.raises(BadInput):
            wire.receive()


@pytest.mark.parametrize("sent", [b"", b"\x07\0\0", struct.pack(">BI", 7, 10) + b"abc"])
def test_a_connection_that_ends_in_a_frame_is_no_frame(sent: bytes) -> None:
    with wires() as (wire, other):
        other.sendall(sent)
        other.close()
        with pytest.raises(ConnectionError):
            wire.receive()


def every_error() -> list[DrillError]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DrillError)]
    return [kind(**{field.name: f"the {field.name}" for field in fields(kind)}) for kind in kinds]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.id)
def test_every_error_crosses_as_the_class_it_is(error: DrillError) -> None:
    found = decode_error(encode_error(error))
    assert type(found) is type(error)
    assert (str(found), found.exit_code, found.remedy) == (str(error), error.exit_code, error.remedy)


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": "Refused", "fields": {"reason": "x", "rule": "", "cure": "", "more": ""}}',
        b'{"id": "Refused", "fields": {"reason": 1}}',
        b'{"id": "Refused"}',
        b"nonsense",
    ],
)
def test_an_error_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput):
        decode_error(text)


def test_an_error_of_a_newer_agent_is_still_an_error() -> None:
    assert isinstance(decode_error(b'{"id": "Novel", "fields": {"what": "x"}}'), Failed)
    assert isinstance(decode_error(b'{"id": "dataclass", "fields": {}}'), Failed)


def test_every_method_of_a_role_is_an_operation_of_its_client() -> None:
    for shape, kind in ((SourceAgent, SourceClient), (ReceiverAgent, ReceiverClient)):
        assert set(operations(shape)) <= set(vars(kind))


class Toy(Protocol):
    def add(self, one: int, other: int) -> int: ...

    def fail(self, how: str) -> None: ...

    def think(self, pause: float) -> str: ...


class ToyRole:
    """Also takes logs: as many bytes as the header's sequence says."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.taken: list[bytes] = []

    def add(self, one: int, other: int) -> int:
        return one + other

    def fail(self, how: str) -> None:
        if how == "defect":
            raise ZeroDivisionError(how)
        raise Refused(how, "I9", "do otherwise")

    def think(self, pause: float) -> str:
        self.woken.wait(pause)
        return "done"

    def receive(self, head: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]) -> Point:
        if head.epoch == "refused1":
            raise Refused("another log is expected")
        ready()
        if head.epoch == "full1":
            source(10)
            raise Failed("storing a cycle", "no space")
        self.taken.append(bytes(source(head.sequence)))
        return POINT


@pytest.fixture
def role() -> ToyRole:
    return ToyRole()


@pytest.fixture
def port(role: ToyRole) -> Iterator[int]:
    listener = dial.listen("127.0.0.1", 0)
    served = Service("receiver", (Toy, ReceiverHead), role, role)
    thread = threading.Thread(target=served.serve, args=(listener,))
    thread.start()
    yield int(listener.getsockname()[1])
    served.close()
    thread.join()


@pytest.fixture
def toy(port: int) -> AgentClient:
    return AgentClient("127.0.0.1", port, "receiver", (Toy,))


def test_a_call_returns_what_the_role_returned(toy: AgentClient) -> None:
    assert toy.call("add", int, one=2, other=3) == 5


def test_an_error_is_raised_as_the_role_raised_it(toy: AgentClient) -> None:
    with pytest.raises(Refused, match="so it is") as caught:
        toy.call("fail", type(None), how="so it is")
    assert (caught.value.rule, caught.value.remedy) == ("I9", "do otherwise")


def test_a_defect_of_the_agent_is_unknown_and_does_not_end_it(toy: AgentClient) -> None:
    with pytest.raises(Unknown, match="ZeroDivisionError"):
        toy.call("fail", type(None), how="defect")
    assert toy.call("add", int, one=1, other=1) == 2


def test_an_answer_that_takes_its_time_is_waited_for(
    toy: AgentClient, role: ToyRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence ends a request after four times WORKING_SECONDS; work that says so does not."""
    monkeypatch.setattr(service, "WORKING_SECONDS", 0.05)
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.3)
    assert toy.call("think", str, pause=0.8) == "done"


def test_a_silent_agent_makes_the_outcome_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.2)
    with dial.listen("127.0.0.1", 0) as listener:
        mute = AgentClient("127.0.0.1", listener.getsockname()[1], "receiver", (Toy,))

        def greet() -> None:
            connection, _ = listener.accept()
            wire = Wire(connection)
            _, hello = wire.receive()
            wire.send(Kind.HELLO, hello)
            wire.receive()
            time.sleep(0.5)
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(Unknown):
            mute.call("add", int, one=1, other=1)
        thread.join()


def test_nobody_there_is_unreachable() -> None:
    with dial.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable):
        AgentClient("127.0.0.1", port, "receiver", (Toy,)).call("add", int, one=1, other=1)


def test_another_role_is_refused_before_anything_is_asked(port: int) -> None:
    with pytest.raises(Refused, match="receiver"):
        AgentClient("127.0.0.1", port, "source", (Toy,)).call("add", int, one=1, other=1)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"remove\n{}", id="an operation that is none"),
        pytest.param(b"_secret\n{}", id="a private one"),
        pytest.param(b"add\n{}", id="missing arguments"),
        pytest.param(b'add\n{"one": 1, "other": 2, "more": 3}', id="an argument too many"),
        pytest.param(b'add\n{"one": "1", "other": 2}', id="another type"),
        pytest.param(b'add\n{"one": 1, "one": 1, "other": 2}', id="an argument twice"),
        pytest.param(b"add", id="no arguments at all"),
        pytest.param(b"\xff\n{}", id="bytes"),
        pytest.param(b"receive\n{}", id="a log without a header"),
    ],
)
def test_a_request_that_is_none_is_refused_and_the_agent_goes_on(toy: AgentClient, request_: bytes) -> None:
    with toy.connected() as wire:
        wire.send(Kind.REQUEST, request_)
        with pytest.raises(BadInput):
            toy.answer(wire, "it", Kind.REPLY, 5)
    assert toy.call("add", int, one=1, other=1) == 2


def test_garbage_instead_of_a_greeting_ends_the_connection_only(port: int, toy: AgentClient) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0" * 50, bytes(1000)):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(garbage)
            with suppress(OSError):  # whether the end is an end or a reset is a matter of timing
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
    assert toy.call("add", int, one=1, other=1) == 2


def receiver(port: int) -> ReceiverClient:
    return ReceiverClient("127.0.0.1", port)


def test_a_log_arrives_byte_for_byte_and_is_acknowledged(port: int, role: ToyRole) -> None:
    body = bytes(range(256)) * 20_000
    with receiver(port).send(header(sequence=len(body))) as stream:
        for start in range(0, len(body), 300_001):
            stream.write(body[start : start + 300_001])
        assert stream.seal() == POINT
    assert role.taken == [body]


def test_a_log_that_is_refused_sends_nothing(port: int, role: ToyRole) -> None:
    with pytest.raises(Refused, match="another log"), receiver(port).send(header(epoch="refused1")):
        pytest.fail("the log was accepted")


def test_a_receiver_that_gives_up_in_the_middle_is_heard(port: int) -> None:
    """The sender is told why, although it is still sending."""

    def pour() -> None:
        with receiver(port).send(header(epoch="full1")) as stream:
            for _ in range(400):
                stream.write(bytes(1 << 20))
            stream.seal()

    with pytest.raises(Failed, match="no space"):
        pour()


def test_a_source_that_is_slow_but_says_so_is_waited_for(
    port: int, role: ToyRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WORKING_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "SILENCE_SECONDS", 0.3)
    with receiver(port).send(header(sequence=4)) as stream:
        stream.write(b"ab")
        time.sleep(0.6)  # twice the silence that would end it
        stream.write(b"cd")
        assert stream.seal() == POINT


def test_a_source_that_goes_away_leaves_the_agent_well(port: int, toy: AgentClient, role: ToyRole) -> None:
    with receiver(port).send(header(sequence=100)) as stream:
        stream.write(b"half" * 20)
    assert toy.call("add", int, one=1, other=1) == 2
    assert role.taken == []


def test_connections_beyond_the_limit_are_closed(toy: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CONNECTIONS_MAX", 2)
    listener = dial.listen("127.0.0.1", 0)
    served = Service("receiver", (Toy,), ToyRole())
    thread = threading.Thread(target=served.serve, args=(listener,))
    thread.start()
    small = AgentClient("127.0.0.1", listener.getsockname()[1], "receiver", (Toy,))
    with small.connected(), small.connected(), pytest.raises(DrillError), small.connected():
        pytest.fail("a third connection was served")
    served.close()
    thread.join()


@pytest.mark.parametrize("text", ["host", "host:", ":80", "host:0", "host:65536", "host:x", ""])
def test_an_address_without_host_and_port_is_a_wrong_request(text: str) -> None:
    with pytest.raises(Usage):
        dial.address(text)


def test_addresses_of_both_families_are_understood() -> None:
    assert dial.address("10.0.0.1:80") == ("10.0.0.1", 80)
    assert dial.address("[fe80::1]:80") == ("fe80::1", 80)


def test_the_silence_that_ends_a_request_is_longer_than_the_pause_between_two_words() -> None:
    assert frames.SILENCE_SECONDS >= 3 * frames.WORKING_SECONDS
