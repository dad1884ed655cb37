"""Pair keys: both sides prove one, for one connection, as one source and one receiver, and it is never seen."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drill.cli.main import main
from drill.errors import BadInput, DrillError, Refused, Untrusted
from drill.identity import pair_keys
from drill.identity.authority import utc_now
from drill.identity.pair_keys import PairFolder, PairKey, Session
from drill.model.cycle import LogHeader
from drill.model.estate import Policy
from drill.model.identity import Role, identity
from drill.transport import dial, paired
from drill.transport.client import AgentClient, ReceiverClient
from drill.transport.frames import Kind, Wire
from drill.transport.paired import Attempts, PairSecurity
from drill.transport.service import Service
from drill.transport.streams import TlsStream
from drill.wiring import controller
from drill.wiring.agent import SecondDoor
from tests import trusted
from tests.trusted import POINT, Asking, Paired, Vault, until
from tests.unit.test_cyclelog import header

BODY = bytes(range(256)) * 20_000
SESSION = Session(binding=b"b" * 48, source_nonce=b"s" * 32, receiver_nonce=b"r" * 32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault whose holders have certificates, and source/s and source/x a key each with receiver/r."""
    folder = tmp_path_factory.mktemp("template")
    vault = Vault(folder)
    for holder in ("source/s", "source/x", "source/q", "receiver/r", "controller/c"):
        vault.bundle(holder)
    made(vault, "source/x")
    made(vault)
    return folder


@pytest.fixture
def vault(template: Path, tmp_path: Path) -> Vault:
    return Vault(Path(shutil.copytree(template, tmp_path / "vault")))


@pytest.fixture
def pair(vault: Vault) -> Iterator[Paired]:
    with trusted.receiver(vault.folder) as made, trusted.paired(made) as found:
        yield found


@pytest.fixture
def key() -> PairKey:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    source, receiver = identity("source/s"), identity("receiver/r")
    ends = {"valid_from": begin, "valid_until": begin + timedelta(days=1)}
    return PairKey(id=b"0" * 16, secret=b"1" * 32, source=source, receiver=receiver, fingerprint=b"2" * 32, **ends)


def made(vault: Vault, source: str = "source/s", receiver: str = "receiver/r", **more: Any) -> PairKey:
    return pair_keys.make(vault.bundle(source), vault.bundle(receiver), timedelta(days=1), utc_now, **more)


def offered(size: int = len(BODY), **changed: Any) -> LogHeader:
    return header(sequence=size, **changed)


# ----------------------------------------------------------------------------------------------------------- the proof


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"binding": b"c" * 48}, id="another connection"),
        pytest.param({"source_nonce": b"t" * 32}, id="another nonce of the source"),
        pytest.param({"receiver_nonce": b"t" * 32}, id="another nonce of the receiver"),
        pytest.param({"source_nonce": b"r" * 32, "receiver_nonce": b"s" * 32}, id="nonces changed about"),
        pytest.param({"binding": b"b" * 47, "source_nonce": b"b" + b"s" * 32}, id="a border that moved"),
    ],
)
def test_a_proof_is_worth_nothing_in_another_session(key: PairKey, changed: dict[str, bytes]) -> None:
    proof = key.proof(Role.SOURCE, SESSION)
    assert key.proven(Role.SOURCE, SESSION, proof)
    assert not key.proven(Role.SOURCE, replace(SESSION, **changed), proof)


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": b"k" * 32},
        {"id": b"i" * 16},
        {"fingerprint": b"f" * 32},
        {"source": identity("source/x")},
        {"receiver": identity("receiver/x")},
    ],
    ids=lambda changed: str(next(iter(changed))),
)
def test_a_proof_is_worth_nothing_under_another_key(key: PairKey, changed: dict[str, Any]) -> None:
    assert not replace(key, **changed).proven(Role.SOURCE, SESSION, key.proof(Role.SOURCE, SESSION))


def test_the_proof_of_one_side_is_none_of_the_other(key: PairKey) -> None:
    assert not key.proven(Role.SOURCE, SESSION, key.proof(Role.RECEIVER, SESSION))


def test_a_proof_that_was_cut_off_is_none(key: PairKey) -> None:
    assert not key.proven(Role.SOURCE, SESSION, key.proof(Role.SOURCE, SESSION)[:-1])
    assert not key.proven(Role.SOURCE, SESSION, b"")


# ---------------------------------------------------------------------------------------------------------- the folder


def test_both_holders_have_the_key_and_nobody_else_can_read_it(vault: Vault) -> None:
    key = made(vault, "source/q")
    assert len(key.secret) == 32
    for holder in ("source-q", "receiver-r"):
        assert PairFolder(vault.folder / holder).read().keys[-1] == key
        assert stat.S_IMODE((vault.folder / holder / "pairs.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((vault.folder / "receiver-r" / "pairing.pem").stat().st_mode) == 0o600
    assert not (vault.folder / "source-q" / "pairing.pem").exists()


def test_the_key_before_stays_and_the_one_before_that_goes(vault: Vault) -> None:
    others = tuple(held(vault, "receiver-r"))[:1]
    keys = tuple(made(vault) for _ in range(3))
    assert held(vault, "receiver-r") == (*others, *keys[1:])
    assert held(vault, "source-s") == keys[1:]


def test_a_key_that_is_to_be_alone_ends_the_older_ones(vault: Vault) -> None:
    others = tuple(held(vault, "receiver-r"))[:1]
    key = made(vault, alone=True)
    assert held(vault, "receiver-r") == (*others, key)


def test_a_receiver_keeps_its_certificate_over_all_its_keys(vault: Vault) -> None:
    fingerprints = [key.fingerprint for key in (*held(vault, "receiver-r"), made(vault))]
    assert len(fingerprints) == 3
    assert len(set(fingerprints)) == 1


def held(vault: Vault, holder: str) -> tuple[PairKey, ...]:
    return PairFolder(vault.folder / holder).read().keys


@pytest.mark.parametrize(("source", "receiver"), [("receiver/r", "source/s"), ("controller/c", "receiver/r")])
def test_a_key_joins_a_source_and_a_receiver_only(vault: Vault, source: str, receiver: str) -> None:
    with pytest.raises(Refused, match="joins a source and a receiver"):
        made(vault, source, receiver)


@pytest.mark.parametrize("name", ["pairs.json", "pairing.pem"])
def test_a_file_that_others_can_read_is_refused(vault: Vault, name: str) -> None:
    (vault.folder / "receiver-r" / name).chmod(0o640)
    with pytest.raises(Refused, match="can be read by others"):
        PairSecurity(vault.folder / "receiver-r", identity("receiver/r"))


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda row: row.update(key=row["key"][:-2]), id="a short key"),
        pytest.param(lambda row: row.update(key=row["key"] + "zz"), id="no hexadecimal"),
        pytest.param(lambda row: row.update(key=int(row["key"], 16)), id="a number"),
        pytest.param(lambda row: row.update(id="00"), id="a short id"),
        pytest.param(lambda row: row.update(fingerprint=row["key"][:30]), id="a short fingerprint"),
        pytest.param(lambda row: row.update(source="controller/c"), id="another role"),
        pytest.param(lambda row: row.update(source=row["key"]), id="no identity"),
        pytest.param(lambda row: row.update(valid_until=row["key"]), id="no time"),
        pytest.param(lambda row: row.update(valid_until="2030-01-01T00:00:00"), id="a time without its zone"),
        pytest.param(lambda row: row.update({row["key"]: "x"}), id="another field"),
        pytest.param(lambda row: row.pop("id"), id="a field that is missing"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_a_word_of_the_key(vault: Vault, change: Change) -> None:
    (key,) = held(vault, "source-s")
    file = vault.folder / "source-s" / "pairs.json"
    document = json.loads(file.read_text())
    change(document["keys"][0])
    file.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="not what drill vault pair-key writes") as caught:
        PairFolder(file.parent).read()
    assert caught.value.__context__ is None, "it would be in a traceback"
    assert key.secret.hex()[:16] not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"noise", "not what", id="noise"),
        pytest.param(b"[" * 100_000, "not what", id="nested"),
        pytest.param(b'{"keys": 1}', "not what", id="no list"),
        pytest.param(b'{"keys": []}' + b" " * (1 << 20), "larger than", id="too long"),
        pytest.param(json.dumps({"keys": [1] * 1025}).encode(), "not what", id="too many"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "pairs.json"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(BadInput, match=says):
        PairFolder(tmp_path).read()


def test_two_keys_with_one_id_are_refused(tmp_path: Path, key: PairKey) -> None:
    PairFolder(tmp_path).write((key, replace(key, secret=b"k" * 32)))
    with pytest.raises(BadInput, match="one id"):
        PairFolder(tmp_path).read()


# ------------------------------------------------------------------------------------------------------ the connection


def test_a_source_with_a_key_sends_what_is_granted_to_it(pair: Paired) -> None:
    with pair.sender().send(offered()) as stream:
        stream.write(BODY)
        assert stream.seal() == POINT
    assert pair.of.role.taken == [BODY]
    assert pair.sender().head("item-1") is None


@pytest.mark.parametrize(
    ("holder", "changed", "says"),
    [
        pytest.param("source/x", {}, "source/x may not send item item-1", id="the key of another item's source"),
        pytest.param("source/s", {"item": "item-2"}, "source/s may not send item item-2", id="another item"),
        pytest.param("source/s", {"term": 2}, "in term 1, not 2", id="a term that was not granted"),
    ],
)
def test_a_key_is_good_for_what_its_source_is_granted_only(
    pair: Paired, holder: str, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught, pair.sender(holder).send(offered(**changed)):
        pytest.fail("it was accepted")
    assert caught.value.rule == "I11"
    assert pair.of.role.touched == 0


def test_a_key_makes_nobody_a_controller(pair: Paired) -> None:
    with pytest.raises(Refused, match="for controllers"):
        pair.asker().call("forget", type(None), item="item-1")
    assert pair.of.role.touched == 0


def test_a_source_without_a_key_says_which_is_missing(pair: Paired) -> None:
    with pytest.raises(Untrusted, match="source/q has no pair key with receiver/r"):
        pair.sender("source/q").head("item-1")
    stranger = AgentClient("127.0.0.1", pair.port, "receiver", (Asking,), pair.security(), "elsewhere")
    with pytest.raises(Untrusted, match="no pair key with receiver/elsewhere"):
        stranger.call("forget", type(None), item="item-1")


def test_a_certificate_opens_no_door_of_pair_keys_and_a_key_none_of_certificates(pair: Paired) -> None:
    with pytest.raises(Untrusted, match="not accepted"):
        pair.of.sender(port=pair.port).head("item-1")
    with pytest.raises(Untrusted, match="another certificate than the pair key names"):
        pair.sender(port=pair.of.port).head("item-1")
    assert pair.of.role.touched == 0


def test_a_source_whose_receiver_is_behind_goes_on_with_the_key_that_both_have(pair: Paired) -> None:
    before = (pair.folder("receiver/r") / "pairs.json").read_bytes()
    pair.key()
    (pair.folder("receiver/r") / "pairs.json").write_bytes(before)
    pair.sender().head("item-1")


def test_a_receiver_that_is_ahead_takes_the_key_that_both_have(pair: Paired) -> None:
    before = (pair.folder("source/s") / "pairs.json").read_bytes()
    pair.key()
    (pair.folder("source/s") / "pairs.json").write_bytes(before)
    until(lambda: took_up(pair, 1))
    pair.sender().head("item-1")


def test_a_log_goes_on_while_the_key_is_changed_twice(pair: Paired) -> None:
    """The key that it began with is gone by the second time."""
    sender = pair.sender()
    with sender.send(offered(64 << 20)) as stream:
        for number in range(64):
            if number in (20, 40):
                old = sender._client.serial
                pair.key()
                until(partial(took_up, pair, number // 20))
                until(partial(renewed, sender, old))
            stream.write(number.to_bytes(1, "big") * (1 << 20))
        assert stream.seal() == POINT
    assert pair.of.role.taken == [b"".join(number.to_bytes(1, "big") * (1 << 20) for number in range(64))]


def took_up(pair: Paired, times: int) -> None:
    assert pair.keys.serial >= times


def renewed(sender: ReceiverClient, old: int) -> None:
    """All that a log on its way asks is whether this has changed."""
    assert sender._client.serial != old


def test_a_key_that_is_taken_back_in_the_middle_of_a_log_ends_it(pair: Paired) -> None:
    def take_back(taken: int) -> None:
        if taken == 8 << 20:
            (pair.folder("receiver/r") / "pairs.json").unlink()
            until(lambda: gone(pair))

    pair.of.role.on_take = take_back

    def send() -> None:
        with pair.sender().send(offered(40 << 20)) as stream:
            for _ in range(40):
                stream.write(bytes(1 << 20))
            stream.seal()

    with pytest.raises(Untrusted, match="was taken back"):
        send()
    assert pair.of.role.taken == []


def gone(pair: Paired) -> None:
    assert not pair.keys._watched.now.keys


def test_a_file_that_became_unusable_changes_nothing(pair: Paired, caplog: pytest.LogCaptureFixture) -> None:
    pair.sender().head("item-1")
    (pair.folder("receiver/r") / "pairs.json").write_bytes(b"noise")

    def said() -> None:
        pair.sender().head("item-1")
        assert "pair keys not taken, the old ones stay" in caplog.text

    until(said)


def test_a_key_that_ends_is_refused_by_both_sides_with_its_date(pair: Paired) -> None:
    key = pair.key(days=-1, alone=True)
    with pytest.raises(Untrusted, match=f"expired on {key.valid_until:%Y-%m-%d}") as caught:
        pair.sender().head("item-1")
    assert "drill vault pair-key" in caught.value.remedy
    good = replace(key, valid_until=datetime.now(UTC) + timedelta(days=1))
    PairFolder(pair.folder("source/s")).write((good,))
    until(lambda: took_up(pair, 1))
    with pytest.raises(Untrusted, match="expired on"):
        pair.sender().head("item-1")


# ----------------------------------------------------------------------------------------------- whoever is in between


def relayed(pair: Paired, folder: Path) -> int:
    """The port of a relay that has stolen the receiver's certificate, and hands on whatever either side says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pairing.pem")
    listener = dial.listen("127.0.0.1", 0)

    def serve() -> None:
        with listener, suppress(OSError, DrillError):
            raw, _ = listener.accept()
            with raw, socket.create_connection(("127.0.0.1", pair.port)) as beyond:
                near = TlsStream(raw, context, server=True)
                far = TlsStream(beyond, paired._client_context(), server=False)
                near.handshake(10)
                far.handshake(10)
                one, other = Wire(near), Wire(far)
                other.send(*one.receive())
                one.send(*other.receive())
                other.send(*one.receive())  # the proof of the source
                other.send(*one.receive())  # its greeting
                one.send(*other.receive())
                other.send(*one.receive())
                one.send(*other.receive())

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def test_a_relay_with_the_stolen_certificate_is_seen_by_the_source(pair: Paired) -> None:
    with pytest.raises(Untrusted, match="does not prove the pair key"):
        pair.sender(port=relayed(pair, pair.folder("receiver/r"))).head("item-1")
    assert pair.of.role.touched == 0


def test_without_the_binding_that_relay_would_not_be_seen(pair: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect that the test before is there for."""
    monkeypatch.setattr(paired, "_binding", lambda _: b"")
    pair.sender(port=relayed(pair, pair.folder("receiver/r"))).head("item-1")
    assert pair.of.role.touched == 1


def test_whoever_has_the_certificate_but_not_the_key_learns_nothing(pair: Paired) -> None:
    """The source says nonce and ids, and no proof."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.folder("receiver/r") / "pairing.pem")
    heard: list[bytes] = []
    listener = dial.listen("127.0.0.1", 0)

    def serve() -> None:
        with listener, suppress(OSError):
            raw, _ = listener.accept()
            with raw:
                stream = TlsStream(raw, context, server=True)
                stream.handshake(10)
                wire = Wire(stream)
                heard.append(bytes(wire.receive()[1]))
                wire.send(Kind.PROOF, heard[0][32:48], bytes(64))
                heard.append(bytes(wire.receive()[1]))

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(Untrusted, match="does not prove"):
        pair.sender(port=int(listener.getsockname()[1])).head("item-1")
    thread.join()
    assert [len(one) for one in heard] == [48]


# ---------------------------------------------------------------------------------------------------------- rate limit


def test_an_address_that_fails_too_often_waits_and_is_then_forgiven() -> None:
    now = [1000.0]
    attempts = Attempts(clock=lambda: now[0])
    for _ in range(paired.FAILURES_MAX):
        attempts.admit("a")
        attempts.failed("a")
    with pytest.raises(Refused, match="too often") as caught:
        attempts.admit("a")
    assert caught.value.remedy == "try again in 6 s"
    attempts.admit("b")
    now[0] += 6.1
    attempts.admit("a")
    attempts.failed("a")
    with pytest.raises(Refused):
        attempts.admit("a")


def test_of_many_addresses_those_that_failed_longest_ago_are_forgotten() -> None:
    attempts = Attempts()
    for number in range(paired.ADDRESSES_MAX + 10):
        attempts.failed(str(number))
    assert len(attempts._failed) == paired.ADDRESSES_MAX
    assert "0" not in attempts._failed


def test_wrong_keys_are_untrusted_and_after_a_while_not_listened_to(pair: Paired) -> None:
    key = PairFolder(pair.folder("source/s")).read().keys[0]
    stranger = replace(key, id=b"i" * 16)
    PairFolder(pair.folder("source/s")).write((stranger,))
    for _ in range(paired.FAILURES_MAX):
        with pytest.raises(Untrusted, match="the pair key 69696969 is not known to receiver/r"):
            pair.sender().head("item-1")
    with pytest.raises(Refused, match="too often"):
        pair.sender().head("item-1")
    assert pair.of.role.touched == 0


def test_those_who_prove_their_key_are_never_counted(pair: Paired) -> None:
    sender = pair.sender()
    for _ in range(paired.FAILURES_MAX + 2):
        sender.head("item-1")


# ------------------------------------------------------------------------------------------- the agent, and the secret


def test_an_agent_listens_for_pair_keys_once_there_is_one(vault: Vault) -> None:
    role = trusted.Role(POINT)
    (vault.folder / "receiver-r" / "pairs.json").unlink()
    keys = PairSecurity(vault.bundle("receiver/r"), identity("receiver/r"))
    service = Service("receiver", (Asking,), role, grants=dict, security=vault.security("receiver/r"))
    with dial.listen("127.0.0.1", 0) as taken:
        port = int(taken.getsockname()[1])
    SecondDoor(service, keys, f"127.0.0.1:{port}").start()
    made(vault)
    client = PairSecurity(vault.bundle("source/s"), identity("source/s"))
    try:
        asker = AgentClient("127.0.0.1", port, "receiver", (Asking,), client, "r")

        def asked() -> None:
            with pytest.raises(Refused, match="for controllers"):
                asker.call("forget", type(None), item="item-1")

        until(asked)
    finally:
        service.close()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "10.77.0.21:8084"),
        ({"authentication": "pair-key"}, "10.77.0.21:8083"),
        ({"authentication": "pair-key", "port": 9000}, "10.77.0.21:9000"),
        ({"port": 9001}, "10.77.0.21:9001"),
    ],
    ids=["by certificate", "by pair key", "by pair key elsewhere", "by certificate elsewhere"],
)
def test_a_source_is_sent_to_the_port_of_its_policy(changed: dict[str, Any], expected: str) -> None:
    policy = Policy(name="gold", copy_frequency_seconds=30, witness=False, **changed)
    assert controller._receiver("10.77.0.21:8084", policy) == expected
    assert controller._receiver("[fd00::21]:8084", policy) == expected.replace("10.77.0.21", "[fd00::21]")


def test_the_key_is_in_no_log_no_error_and_no_output(
    pair: Paired, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted secret: everything that is said while keys are made, used, refused, garbled and taken back."""
    caplog.set_level(logging.DEBUG)
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            pair.sender().head("item-1")
        except DrillError as error:
            errors.append(error)

    folders = [str(pair.folder(one)) for one in ("source/s", "receiver/r")]
    secrets = []
    for arguments in (["--json"], ["--alone"], ["--days", "3"]):
        main(["vault", "pair-key", *folders, *arguments])
        keys = PairFolder(Path(folders[0])).read().keys
        secrets += [key.secret for key in keys]
        attempt()
    file = Path(folders[0]) / "pairs.json"
    wrong = [replace(keys[-1], secret=bytes(reversed(keys[-1].secret)))]
    PairFolder(file.parent).write(tuple(wrong))
    attempt()
    file.write_text(file.read_text().replace('"receiver/r"', f'"{secrets[0].hex()}"'))
    attempt()
    said = capsys.readouterr()
    everything = "\n".join(
        [caplog.text, said.out, said.err, *map(repr, errors), *map(str, errors), repr(keys), str(wrong)]
    )
    assert [type(error) for error in errors[-2:]] == [Untrusted, BadInput]
    assert "no proof of a pair key" in caplog.text
    assert "share key" in said.out
    assert not [one for one in secrets if one.hex() in everything or repr(one)[2:-1] in everything]
