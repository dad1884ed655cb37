"""Certificates, identities and handshakes that must be refused, by a real receiver and by the production client."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drill.errors import DrillError, Unreachable, Untrusted
from drill.identity import pair_keys
from drill.identity.authority import Issued, utc_now
from drill.identity.bundle import REVOKED
from drill.identity.certificate import Usage
from drill.identity.pair_keys import PAIRING, PAIRS, PairFolder, PairKey, Session
from drill.model.cycle import LogHeader
from drill.model.identity import Identity, Role, identity
from drill.replication import plainjson
from drill.transport import dial, paired, secure, service
from drill.transport.client import ReceiverClient
from drill.transport.frames import Kind, Wire
from drill.transport.operations import decode_error
from drill.transport.paired import Attempts, PairSecurity
from drill.transport.secure import Security
from drill.transport.service import Hello, Resume
from drill.transport.streams import TlsStream
from drill.wiring.receiving import receiver_role, receiver_service
from tests.bad.cases import Case, check_refused, parameters, tree
from tests.trusted import Vault
from tests.unit.test_cyclelog import header

ITEM = "item-1"
USUAL = {"client": ["CLIENT_AUTH", "SERVER_AUTH"], "own": ["CLIENT_AUTH", "SERVER_AUTH"], "server": ["SERVER_AUTH"]}
HOLDER = {"client": "source/s", "own": "source/s", "server": "receiver/r"}


@dataclass
class Site:
    """A vault, and the real receiver over an empty store; `item-1` is source/s's in term 2, `item-2` source/x's.

    On `paired` it listens for pair keys, of which both have one.
    """

    vault: Vault
    port: int
    store: Path
    paired: int
    keys: PairSecurity

    def as_controller(self) -> ReceiverClient:
        return ReceiverClient("127.0.0.1", self.port, self.vault.security("controller/c"), "r")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    vault, store = Vault(folder / "vault"), folder / "store"
    (folder / "runs").mkdir()
    store.mkdir()
    role = receiver_role(str(store), str(folder / "runs"))
    for holder in ("source/s", "source/x"):
        pair_keys.make(vault.bundle(holder), vault.bundle("receiver/r"), timedelta(days=1), utc_now)
    keys = PairSecurity(vault.bundle("receiver/r"), identity("receiver/r"))
    served = receiver_service(role, vault.security("receiver/r"))
    with serving(served) as port, serving(served, keys) as second:
        found = Site(vault, port, store, second, keys)
        found.as_controller().allow(ITEM, identity("source/s"), 2)
        found.as_controller().allow("item-2", identity("source/x"), 1)
        yield found


@contextmanager
def serving(served: service.Service, keys: PairSecurity | None = None) -> Iterator[int]:
    listener = dial.listen("127.0.0.1", 0)
    thread = threading.Thread(target=served.serve, args=(listener, keys))
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        served.close()
        thread.join()


@parameters("tls-and-identity")
def test_it_is_refused_and_nothing_has_changed(
    case: Case, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dict(case.recipe)
    if case.through == "plain" or "stall" in recipe:
        monkeypatch.setattr(secure, "HANDSHAKE_SECONDS", 0.5)
        monkeypatch.setattr(service, "GREETING_SECONDS", 0.5)
    monkeypatch.setattr(site.keys, "_attempts", Attempts())
    ways = {"client": as_client, "plain": as_stranger, "server": as_server, "own": as_ourselves}
    ways |= {"pair-client": as_paired_client, "pair-server": as_paired_server, "pair-own": with_our_own_key}
    begun = time.monotonic()
    check_refused(case, lambda: ways[case.through](site, recipe, tmp_path), lambda: tree(site.store))
    assert time.monotonic() - begun < 15, "a peer that does nothing was waited for"


@pytest.mark.parametrize("through", ["client", "server", "own", "pair-client", "pair-server", "pair-own"])
def test_the_sound_certificate_or_key_of_the_same_recipe_is_accepted(site: Site, tmp_path: Path, through: str) -> None:
    """No case is refused for a mistake of its recipe."""
    ways = {"client": as_client, "server": as_server, "own": as_ourselves}
    ways |= {"pair-client": as_paired_client, "pair-server": as_paired_server, "pair-own": with_our_own_key}
    ways[through](site, {"ask": "head"} if through.endswith("client") else {}, tmp_path)


@pytest.mark.parametrize("proof", ["of another key", "replayed", "reflected", "cut off"])
def test_a_proof_that_is_not_looked_at_turns_its_case_red(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    monkeypatch.setattr(PairKey, "proven", lambda *_: True)
    as_paired_client(site, {"proof": proof, "ask": "head"}, tmp_path)


def test_a_pin_that_is_not_looked_at_turns_its_case_red(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "fingerprint", lambda _: held_by(site, "source/s").fingerprint)
    as_paired_server(site, {"certificate": "another"}, tmp_path)


def test_a_check_of_usages_that_is_left_out_turns_its_case_red(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drill.identity.certificate._usages", lambda _: frozenset(Usage))
    as_client(site, {"usages": None, "ask": "head"}, tmp_path)


def test_an_allow_list_that_is_left_out_turns_its_case_red(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "refusal", lambda *_: None)
    as_client(site, {"holder": "source/x", "ask": "head"}, tmp_path)


# --------------------------------------------------------------------------------------------------------- four ways in


def as_client(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """A client that checks nothing of its own and shows what the recipe says."""
    context = client_context(site.vault, recipe, folder)
    holder = identity(recipe.get("holder", "source/s"))
    with dial.dial("127.0.0.1", site.port, "the agent") as raw:
        stream = TlsStream(raw, context, server=False)
        try:
            stream.handshake(10)
        except OSError as error:
            raise secure.told(error, holder) or Unreachable("the agent", "loopback", str(error)) from error
        wire = Wire(stream)
        wire.set_timeout(5)
        try:
            ask(wire, recipe)
        except OSError as error:
            raise secure.told(error, holder) or Unreachable("the agent", "loopback", f"closed: {error}") from error


def ask(wire: Wire, recipe: dict[str, Any]) -> None:
    hello = recipe.get("hello", {"protocol": 1, "role": "receiver"})
    if "after" in recipe:
        wire._stream.send([bytes.fromhex(recipe["after"])])
    else:
        wire.send(Kind.HELLO, json.dumps(hello).encode())
    answered(wire, Kind.HELLO)
    if "ask" in recipe:
        wire.send(Kind.REQUEST, request(recipe))
        answered(wire, Kind.READY if recipe["ask"] == "receive" else Kind.REPLY)


def answered(wire: Wire, wanted: Kind) -> bytes:
    kind, payload = wire.receive()
    if kind is Kind.ERROR:
        raise decode_error(payload)
    assert kind is wanted
    return bytes(payload)


def request(recipe: dict[str, Any]) -> bytes:
    item, name = recipe.get("item", ITEM), recipe["ask"]
    match name:
        case "receive":
            offered = header(item=item, sequence=1, parent_digest="", term=recipe.get("term", 2))
            asked = plainjson.encode(LogHeader, offered)
        case "resume":
            asked = plainjson.encode(Resume, Resume(item=item, token="00" * 16))
        case "allow":
            sender = {"role": "source", "name": "x"}
            asked = json.dumps({"item": item, "sender": sender, "term": recipe.get("term", 9)}).encode()
        case _:
            asked = json.dumps({"item": item}).encode()
    return str(name).encode() + b"\n" + asked


def as_stranger(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """Bytes on the port of TLS, and then silence."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(bytes.fromhex(recipe["bytes"]))
        with suppress(ConnectionResetError):
            while said := connection.recv(4096):
                assert said[0] == 0x15, "something else than an alert of TLS"
    raise Unreachable("the agent", "loopback", "it closed the connection")


def as_server(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """The production client meets an agent that shows what the recipe says."""
    listener = dial.listen("127.0.0.1", 0)
    context = None if recipe.get("tls", "") is None else server_context(site.vault, recipe, folder)
    trusting = site.vault.bundle("source/s")
    if recipe.get("revoked"):
        trusting = told_of_revocation(site.vault, folder)

    def answer() -> None:
        raw, _ = listener.accept()
        with raw, suppress(OSError, DrillError):
            if context is None:
                raw.sendall(b"220 ready\r\n")
                return
            stream = TlsStream(raw, context, server=True)
            stream.handshake(10)
            wire = Wire(stream)
            wire.receive()
            wire.send(Kind.HELLO, plainjson.encode(Hello, Hello(1, "receiver")))
            wire.receive()
            wire.send(Kind.REPLY, b"null")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        ReceiverClient("127.0.0.1", listener.getsockname()[1], Security(trusting), "r").head(ITEM)
    finally:
        listener.close()
        thread.join()


def as_ourselves(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """The production client with a folder of certificates as the recipe says."""
    own = folder / "own"
    site.vault.authority.issue(identity("source/s"), own)
    (own / "identity.pem").write_bytes(shown(site.vault, recipe, "own").read(folder))
    (own / "identity.pem").chmod(int(recipe.get("mode", "600"), 8))
    if not recipe.get("certificate", True):
        (own / "identity.pem").unlink()
    if "garble" in recipe:
        (own / recipe["garble"]).write_bytes(b"noise")
    if "remove" in recipe:
        (own / recipe["remove"]).unlink()
    if recipe.get("list") == "another":
        (own / REVOKED).write_bytes((Vault(folder / "other").folder / "authority" / REVOKED).read_bytes())
    ReceiverClient("127.0.0.1", site.port, Security(own), "r").head(ITEM)


# ------------------------------------------------------------------------------------------------------------ pair keys


def held_by(site: Site, holder: str) -> PairKey:
    return PairFolder(site.vault.bundle(holder)).read().keys[-1]


def changed(site: Site, recipe: dict[str, Any]) -> PairKey:
    """A source's key as the recipe says; `receiver_has` changes the receiver's in the same way."""
    key = held_by(site, recipe.get("holder", "source/s"))
    now = datetime.now(UTC)
    if "days" in recipe:
        begin, end = (now + timedelta(days=one) for one in recipe["days"])
        key = replace(key, valid_from=begin, valid_until=end)
    if "id" in recipe:
        key = replace(key, id=bytes.fromhex(recipe["id"]))
    if "receiver" in recipe:
        key = replace(key, receiver=identity(recipe["receiver"]))
    return key


@contextmanager
def told_to_the_receiver(site: Site, key: PairKey) -> Iterator[None]:
    """The receiver's own file says of that pair what the key says, until the block is left."""
    folder = PairFolder(site.vault.bundle("receiver/r"))
    before = folder.read().keys
    folder.write((*(one for one in before if one.source != key.source), key))
    time.sleep(0.6)  # agents look at their files twice a second
    try:
        yield
    finally:
        folder.write(before)
        time.sleep(0.6)


def as_paired_client(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """A client that checks nothing of its own and proves its key as the recipe says."""
    key = changed(site, recipe)
    with ExitStack() as stack:
        if recipe.get("receiver_has"):
            stack.enter_context(told_to_the_receiver(site, key))
        for _ in range(recipe.get("before", 0)):
            with suppress(Untrusted):
                prove(site, key, {"proof": "of another key"})
        prove(site, key, recipe)


def prove(site: Site, key: PairKey, recipe: dict[str, Any]) -> bytes:
    """One connection; returns the proof that was said on it."""
    context = paired._client_context()
    limit(context, recipe)
    with dial.dial("127.0.0.1", site.paired, "the agent") as raw:
        stream = TlsStream(raw, context, server=False)
        try:
            stream.handshake(10)
        except OSError as error:
            raise secure.told(error, key.source) or Unreachable("the agent", "loopback", str(error)) from error
        wire = Wire(stream)
        wire.set_timeout(5)
        try:
            proof = said_as_proof(site, wire, paired._binding(stream), key, recipe)
            ask(wire, recipe)
        except OSError as error:
            raise Unreachable("the agent", "loopback", f"closed: {error}") from error
    return proof


def said_as_proof(site: Site, wire: Wire, binding: bytes, key: PairKey, recipe: dict[str, Any]) -> bytes:
    if "raw" in recipe:
        wire._stream.send([bytes.fromhex(recipe["raw"])])
        answered(wire, Kind.PROOF)
    if recipe.get("first") == "hello":
        ask(wire, {})
    nonce = bytes.fromhex(recipe.get("nonce", "11" * 32))
    wire.send(Kind.PROOF, nonce, bytes.fromhex(recipe.get("ids", key.id.hex())))
    answer = answered(wire, Kind.PROOF)
    session = Session(binding=binding, source_nonce=nonce, receiver_nonce=answer[16:48])
    proof = as_the_source(site, key, session, answer, recipe.get("proof", "sound"))
    if proof:
        wire.send(Kind.PROOF, proof)
    return proof


def as_the_source(site: Site, key: PairKey, session: Session, answer: bytes, how: str) -> bytes:
    elsewhere = replace(session, binding=bytes(len(session.binding)))
    ways: dict[str, Callable[[], bytes]] = {
        "sound": lambda: key.proof(Role.SOURCE, session),
        "of another key": lambda: replace(key, secret=bytes(32)).proof(Role.SOURCE, session),
        "of another name": lambda: replace(key, source=identity("source/x")).proof(Role.SOURCE, session),
        "of another connection": lambda: key.proof(Role.SOURCE, elsewhere),
        "replayed": lambda: prove(site, key, {"ask": "head"}),
        "reflected": lambda: answer[48:],
        "cut off": lambda: key.proof(Role.SOURCE, session)[:-1],
        "none": lambda: b"",
    }
    return ways[how]()


def as_paired_server(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """The production client, with its sound key, meets a receiver that proves it as the recipe says."""
    listener = dial.listen("127.0.0.1", 0)
    key = held_by(site, "source/s")
    context = None if recipe.get("tls", "") is None else paired_context(site, recipe, folder)

    def answer() -> None:
        raw, _ = listener.accept()
        with raw, suppress(OSError, DrillError):
            if context is None:
                raw.sendall(b"220 ready\r\n")
                return
            stream = TlsStream(raw, context, server=True)
            stream.handshake(10)
            wire = Wire(stream)
            heard = bytes(wire.receive()[1])
            wire.send(Kind[recipe.get("kind", "PROOF")], *said_back(key, heard, paired._binding(stream), recipe))
            wire.receive()
            wire.receive()
            wire.send(Kind.HELLO, plainjson.encode(Hello, Hello(1, "receiver")))
            wire.receive()
            wire.send(Kind.REPLY, b"null")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        own = PairSecurity(site.vault.bundle("source/s"), identity("source/s"))
        ReceiverClient("127.0.0.1", listener.getsockname()[1], own, "r").head(ITEM)
    finally:
        listener.close()
        thread.join()


def said_back(key: PairKey, heard: bytes, binding: bytes, recipe: dict[str, Any]) -> tuple[bytes, ...]:
    nonce = bytes(32)
    session = Session(binding=binding, source_nonce=heard[:32], receiver_nonce=nonce)
    proof = key.proof(Role.RECEIVER, session)
    match recipe.get("proof"):
        case "of another key":
            proof = replace(key, secret=bytes(32)).proof(Role.RECEIVER, session)
        case "of another connection":
            proof = key.proof(Role.RECEIVER, replace(session, source_nonce=bytes(32)))
        case "as the source":
            proof = key.proof(Role.SOURCE, session)
        case "cut off":
            proof = proof[:-1]
        case "hello":
            return (plainjson.encode(Hello, Hello(1, "receiver")),)
    return (bytes.fromhex(recipe.get("id", key.id.hex())), nonce, proof)


def paired_context(site: Site, recipe: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = site.vault.bundle("receiver/r") / PAIRING
    if recipe.get("certificate") == "another":
        file = folder / "shown.pem"
        file.write_bytes(pair_keys._certificate(identity("receiver/r"), utc_now()))
    context.load_cert_chain(file)
    limit(context, recipe)
    return context


def with_our_own_key(site: Site, recipe: dict[str, Any], folder: Path) -> None:
    """The production client with a file of keys as the recipe says."""
    own = folder / "own"
    own.mkdir()
    PairFolder(own).write((changed(site, recipe),))
    file = own / PAIRS
    if "garble" in recipe:
        file.write_bytes(bytes.fromhex(recipe["garble"]))
    if "shorten" in recipe:
        document = json.loads(file.read_text())
        document["keys"][0][recipe["shorten"]] = document["keys"][0][recipe["shorten"]][:-2]
        file.write_text(json.dumps(document))
    if "remove" in recipe:
        file.unlink()
    else:
        file.chmod(int(recipe.get("mode", "600"), 8))
    ReceiverClient("127.0.0.1", site.paired, PairSecurity(own, identity("source/s")), "r").head(ITEM)


# --------------------------------------------------------------------------------------------------------- certificates


def client_context(vault: Vault, recipe: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(vault.bundle("controller/c") / "authority.pem")
    if recipe.get("certificate", True):
        dress(context, vault, recipe, "client", folder)
    limit(context, recipe)
    return context


def server_context(vault: Vault, recipe: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(vault.bundle("controller/c") / "authority.pem")
    dress(context, vault, recipe, "server", folder)
    limit(context, recipe)
    return context


def limit(context: ssl.SSLContext, recipe: dict[str, Any]) -> None:
    if recipe.get("tls"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[recipe["tls"]]


def dress(context: ssl.SSLContext, vault: Vault, recipe: dict[str, Any], through: str, folder: Path) -> None:
    file = folder / "shown.pem"
    file.write_bytes(shown(vault, recipe, through).read(folder))
    context.load_cert_chain(file)


@dataclass
class Shown:
    """A certificate as a recipe describes it, with its key, and whoever signed it."""

    vault: Vault
    recipe: dict[str, Any]
    through: str

    def read(self, folder: Path) -> bytes:
        holder = self.recipe.get("holder", HOLDER[self.through])
        sound = not self.recipe.keys() & {"days", "signed", "usages", "uris", "revoked"}
        if "holder" in self.recipe and sound:
            return (self.vault.bundle(holder) / "identity.pem").read_bytes()
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.certificate(key, holder, folder)
        if self.recipe.get("revoked") and self.through == "client":
            revoke(self.vault, made, identity(holder))
            self.vault.authority.publish(self.vault.bundle("receiver/r"))
            time.sleep(1.1)  # agents look at their files twice a second
        return pem(key, made)

    def certificate(self, key: ec.EllipticCurvePrivateKey, holder: str, folder: Path) -> x509.Certificate:
        issuer, signer = self.signer(key, folder)
        begin, end = self.recipe.get("days", [-1, 30])
        now = datetime.now(UTC)
        serial = 0x5EED if self.recipe.get("revoked") and self.through == "server" else x509.random_serial_number()
        builder = x509.CertificateBuilder(serial_number=serial).public_key(key.public_key()).issuer_name(issuer)
        builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, holder)]))
        builder = builder.not_valid_before(now + timedelta(days=begin)).not_valid_after(now + timedelta(days=end))
        usages = self.recipe.get("usages", USUAL[self.through])
        if usages is not None:
            found = [getattr(ExtendedKeyUsageOID, one) for one in usages]
            builder = builder.add_extension(x509.ExtendedKeyUsage(found), critical=False)
        uris = self.recipe.get("uris", [f"drill:{holder}"])
        if uris:
            names = [x509.UniformResourceIdentifier(one) for one in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    def signer(self, key: ec.EllipticCurvePrivateKey, folder: Path) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
        match self.recipe.get("signed"):
            case "self":
                return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")]), key
            case "another":
                return of_authority(Vault(folder / "another", "another").folder / "authority")
            case "namesake":
                return of_authority(Vault(folder / "namesake").folder / "authority")
            case "holder":
                content = (self.vault.bundle("source/s") / "identity.pem").read_bytes()
                return x509.load_pem_x509_certificate(content).subject, private(content)
            case _:
                return of_authority(self.vault.folder / "authority")


def shown(vault: Vault, recipe: dict[str, Any], through: str) -> Shown:
    return Shown(vault, recipe, through)


def of_authority(folder: Path) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
    own = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    return own.subject, private((folder / "authority.key").read_bytes())


def private(content: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(content, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def pem(key: ec.EllipticCurvePrivateKey, made: x509.Certificate) -> bytes:
    plain = serialization.NoEncryption()
    found = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(serialization.Encoding.PEM) + found


def revoke(vault: Vault, made: x509.Certificate, holder: Identity) -> None:
    """As the authority does with one that it issued."""
    vault.authority._note(Issued(serial=made.serial_number, identity=holder, valid_until="-"))
    vault.authority.revoke(frozenset({made.serial_number}))


def told_of_revocation(vault: Vault, folder: Path) -> Path:
    """A folder of source/s that knows that 5eed was revoked."""
    vault.authority._note(Issued(serial=0x5EED, identity=Identity(role=Role.RECEIVER, name="r"), valid_until="-"))
    vault.authority.revoke(frozenset({0x5EED}))
    vault.authority.issue(identity("source/s"), folder / "told")
    return folder / "told"
