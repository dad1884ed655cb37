"""Mutual TLS between agents: proven, authorised before anything is touched, renewed and revoked while it stands."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill.errors import Refused, Unreachable, Untrusted
from drill.model.cycle import LogHeader
from drill.transport import service
from drill.transport.client import AgentClient, ReceiverClient
from drill.transport.secure import Security
from tests import trusted
from tests.trusted import POINT, Receiver, Vault, until
from tests.unit.test_cyclelog import header

BODY = bytes(range(256)) * 20_000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with trusted.receiver(tmp_path) as made:
        yield made


def offered(size: int = len(BODY), **changed: Any) -> LogHeader:
    return header(sequence=size, **changed)


def test_a_granted_source_sends_and_a_controller_asks(receiver: Receiver) -> None:
    with receiver.sender().send(offered()) as stream:
        stream.write(BODY)
        assert stream.seal() == POINT
    assert receiver.role.taken == [BODY]
    assert receiver.sender().head("item-1") is None
    receiver.asker("controller/c").call("forget", type(None), item="item-1")
    assert receiver.role.touched == 3


@pytest.mark.parametrize(
    ("holder", "changed", "says"),
    [
        pytest.param("source/x", {}, "source/x may not send item item-1", id="another source"),
        pytest.param("source/s", {"item": "item-2"}, "source/s may not send item item-2", id="another item"),
        pytest.param("source/s", {"term": 2}, "in term 1, not 2", id="a term that was not granted"),
        pytest.param("source/s", {"term": 0}, "in term 1, not 0", id="an old term"),
        pytest.param("controller/c", {}, "only sources send logs", id="a controller"),
    ],
)
def test_a_log_of_the_wrong_sender_is_refused_and_the_store_is_never_asked(
    receiver: Receiver, holder: str, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught, receiver.sender(holder).send(offered(**changed)):
        pytest.fail("it was accepted")
    assert caught.value.rule == "I11"
    assert receiver.role.touched == 0


@pytest.mark.parametrize("operation", ["forget", "head"])
def test_a_source_asks_nothing_about_items_that_are_not_its_own(receiver: Receiver, operation: str) -> None:
    with pytest.raises(Refused):
        receiver.asker("source/x").call(operation, type(None), item="item-1")
    assert receiver.role.touched == 0


def test_a_source_may_not_do_what_is_for_controllers(receiver: Receiver) -> None:
    with pytest.raises(Refused, match="for controllers"):
        receiver.asker("source/s").call("forget", type(None), item="item-1")
    assert receiver.role.touched == 0


def test_an_agent_of_another_name_is_not_asked(receiver: Receiver) -> None:
    with pytest.raises(Untrusted, match="receiver/r, not receiver/q"):
        receiver.asker("controller/c", name="q").call("head", type(None), item="item-1")


def test_a_controller_of_another_vault_is_not_let_in(receiver: Receiver, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other", "another")
    asker = AgentClient("127.0.0.1", receiver.port, "receiver", (trusted.Asking,), other.security("controller/c"))
    with pytest.raises(Untrusted):
        asker.call("forget", type(None), item="item-1")
    assert receiver.role.touched == 0


def test_plain_tcp_is_not_answered(receiver: Receiver) -> None:
    with pytest.raises(Unreachable):
        AgentClient("127.0.0.1", receiver.port, "receiver", (trusted.Asking,)).call("forget", type(None), item="item-1")
    assert receiver.role.touched == 0


def test_a_revoked_certificate_is_refused_at_once_and_says_so(receiver: Receiver) -> None:
    receiver.vault.bundle("source/s")
    receiver.vault.revoke("source/s", tell="receiver/r")

    def refused() -> None:
        with pytest.raises(Untrusted, match="source/s was revoked"):
            receiver.sender().head("item-1")

    until(refused)
    touched = receiver.role.touched
    refused()
    assert receiver.role.touched == touched


def test_a_certificate_revoked_in_the_middle_of_a_log_ends_it(receiver: Receiver) -> None:
    def revoke(taken: int) -> None:
        if taken == 8 << 20:
            receiver.vault.revoke("source/s", tell="receiver/r")
            time.sleep(0.6)  # an agent looks at its files twice a second

    receiver.role.on_take = revoke

    def send() -> None:
        with receiver.sender().send(offered(40 << 20)) as stream:
            for _ in range(40):
                stream.write(bytes(1 << 20))
            stream.seal()

    with pytest.raises(Untrusted, match="revoked"):
        send()
    assert receiver.role.taken == []


def renewed(sender: ReceiverClient, old: int) -> None:
    assert sender._client.serial != old


def test_a_log_goes_on_under_a_certificate_that_was_renewed_meanwhile(
    receiver: Receiver,
) -> None:
    sender = receiver.sender()
    old = sender._client.serial
    with sender.send(offered(64 << 20)) as stream:
        for number in range(64):
            if number == 20:
                receiver.vault.authority.renew(receiver.vault.bundle("source/s"))
                until(lambda: renewed(sender, old))
            stream.write(number.to_bytes(1, "big") * (1 << 20))
        assert stream.seal() == POINT
    assert receiver.role.taken == [b"".join(number.to_bytes(1, "big") * (1 << 20) for number in range(64))]


def test_an_agent_takes_a_renewed_certificate_without_being_started_again(receiver: Receiver) -> None:
    receiver.vault.authority.renew(receiver.vault.bundle("receiver/r"))
    serials = [one.serial for one in receiver.vault.authority.issued() if str(one.identity) == "receiver/r"]
    receiver.vault.authority.revoke(frozenset(serials[:1]))
    receiver.vault.authority.publish(receiver.vault.bundle("controller/c"))
    until(lambda: receiver.asker("controller/c").call("forget", type(None), item="item-1"))


def test_strangers_that_say_nothing_do_not_keep_others_out(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there are places for strangers; the oldest of them gives way."""
    monkeypatch.setattr(service, "STRANGERS_MAX", 4)
    silent = [socket.create_connection(("127.0.0.1", receiver.port), timeout=5) for _ in range(6)]
    try:
        receiver.asker("controller/c").call("forget", type(None), item="item-1")
    finally:
        for one in silent:
            one.close()


def test_reading_and_writing_at_once_do_not_disturb_each_other(receiver: Receiver) -> None:
    """Several logs at the same time, each with its pulse and its credit crossing it."""
    results: list[object] = []
    sender = receiver.sender()

    def send() -> None:
        with sender.send(offered()) as stream:
            for start in range(0, len(BODY), 70_001):
                stream.write(BODY[start : start + 70_001])
                stream.say_working()
            results.append(stream.seal())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results == [POINT] * 4
    assert receiver.role.taken == [BODY] * 4


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = Vault(tmp_path).bundle("source/s")
    (folder / "identity.pem").chmod(0o640)
    with pytest.raises(Refused, match="can be read by others"):
        Security(folder)
