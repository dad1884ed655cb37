"""TLS 1.3 with a pinned certificate, and both sides prove a pair key (drill/identity/pair_keys.py): port 8083.

    source                                    receiver
    TLS: the certificate has the fingerprint that the key names, or nothing is said
    PROOF nonce, ids of its keys, newest first →
                                              ← PROOF id that it has, nonce, its proof; or ERROR
    PROOF its proof, and at once HELLO        →
                                              ← HELLO, or ERROR

The receiver proves first: a source says nothing of what it knows to whoever only has the certificate.  What it gives
away thereby is an HMAC under 256 random bits, over nonces and a binding that never come again.  Whoever fails is told
so, and an address that fails too often is not listened to for a while.
"""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from drill.errors import BadInput, DrillError, Refused, Untrusted
from drill.identity.pair_keys import ANEW, ID_BYTES, PairKey, Session, WatchedPairs, fingerprint
from drill.model.identity import Identity, Role
from drill.transport import secure
from drill.transport.frames import Kind, Wire
from drill.transport.operations import decode_error
from drill.transport.secure import Guest, Meeting
from drill.transport.streams import Stream, TlsStream

PAIR_KEY_PORT = 8083
NONCE_BYTES = 32
PROOF_BYTES = 32
FAILURES_MAX = 10
FORGIVEN_SECONDS = 6.0
"""One failure of an address is forgotten after so long; with the limit, ten at once and then ten a minute."""
ADDRESSES_MAX = 1024
log = logging.getLogger("drill.identity")


class PairSecurity:
    """One process's side of pair keys: `own` is who it is, its keys lie in `folder`."""

    def __init__(self, folder: Path, own: Identity) -> None:
        self._own = own
        self._watched = WatchedPairs(folder)
        self._attempts = Attempts()
        self._lock = threading.Lock()
        self._shown: tuple[bytes, ssl.SSLContext] | None = None
        self._stamp: tuple[tuple[int, int, int], ...] = ()

    @property
    def identity(self) -> Identity:
        """Who this process is."""
        return self._own

    @property
    def serial(self) -> int:
        """Another number means that keys were changed."""
        return self._watched.edition

    @property
    def has_keys(self) -> bool:
        """Whether a receiver has what it takes to be reached this way."""
        pairs = self._watched.now
        return pairs.certificate is not None and bool(pairs.keys)

    def check_key(self, receiver: str) -> None:
        """Untrusted unless this source has a good key with the receiver of that name."""
        self._watched.now.between(self._own, receiver, time.time_ns() // 1000)

    def client(self, connection: socket.socket, role: Role, name: str, address: str) -> tuple[Stream, Guest]:
        """Reach the receiver of that name.  Untrusted unless both sides prove a key that this one has."""
        if role is not Role.RECEIVER:
            raise Refused(f"a {role.value} is not asked by pair key", "", "only logs are sent to port 8083")
        keys = self._watched.now.between(self._own, name, time.time_ns() // 1000)
        stream = TlsStream(connection, _client_context(), server=False)
        pin = fingerprint(stream.handshake(secure.HANDSHAKE_SECONDS))
        offered = tuple(key for key in keys if key.fingerprint == pin)
        if not offered:
            raise Untrusted(address, "shows another certificate than the pair key names", ANEW)
        key = _prove(Wire(stream), offered, _binding(stream), address)
        return stream, Guest(key.receiver, lambda: self._check(key))

    def server(self, connection: socket.socket) -> tuple[Stream, Meeting]:
        """Take a client in; who it is, is for the meeting to find out."""
        address = str(connection.getpeername()[0])
        own, context = self._certificate()
        stream, _ = secure.accepted(connection, context)
        binding = _binding(stream)
        return stream, lambda wire: self._meet(wire, binding, own, address)

    def _meet(self, wire: Wire, binding: bytes, own: bytes, address: str) -> Guest:
        """Prove a key that the client has too, and let it do the same."""
        self._attempts.admit(address)
        try:
            key = self._met(wire, binding, own)
        except (DrillError, OSError) as error:
            self._attempts.failed(address)
            log.warning("no proof of a pair key: peer=%s cause=%s", address, error)
            raise
        return Guest(key.source, lambda: self._check(key))

    def _met(self, wire: Wire, binding: bytes, own: bytes) -> PairKey:
        nonce, ids = _opening(_said(wire))
        key = self._chosen(ids, own)
        session = Session(binding=binding, source_nonce=nonce, receiver_nonce=secrets.token_bytes(NONCE_BYTES))
        wire.send(Kind.PROOF, key.id, session.receiver_nonce, key.proof(Role.RECEIVER, session))
        if not key.proven(Role.SOURCE, session, _said(wire)):
            raise Untrusted(str(key), "was not proven: the peer has another key of that id", ANEW)
        return key

    def _chosen(self, ids: tuple[bytes, ...], own: bytes) -> PairKey:
        """The first of a client's keys that is ours too and good now; Untrusted when there is none."""
        pairs, now_us = self._watched.now, time.time_ns() // 1000
        known = [key for key in map(pairs.of, ids) if key and (key.receiver, key.fingerprint) == (self._own, own)]
        good = [key for key in known if key.is_good(now_us)]
        if known and not good:
            known[0].check(now_us)
        if not good:
            raise Untrusted(f"the pair key {ids[0].hex()[:8]}", f"is not known to {self._own}", ANEW)
        return good[0]

    def _check(self, key: PairKey) -> None:
        """Raise Untrusted when a key that was good at the greeting no longer is."""
        if self._watched.now.of(key.id) != key:
            raise Untrusted(str(key), "was taken back", ANEW)
        key.check(time.time_ns() // 1000)

    def _certificate(self) -> tuple[bytes, ssl.SSLContext]:
        """The fingerprint of what a receiver shows now, and TLS with it."""
        pairs = self._watched.now
        if pairs.certificate is None:
            raise Untrusted(str(self._own), "has no certificate for pair keys", ANEW)
        with self._lock:
            if self._shown is None or self._stamp != pairs.stamp:
                pem = pairs.certificate.read_text("ascii")
                own = fingerprint(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----BEGIN PRIVATE")]))
                self._shown, self._stamp = (own, _server_context(pairs.certificate)), pairs.stamp
            return self._shown


@dataclass(slots=True)
class Attempts:
    """How often each address failed of late.  The time of failures is monotonic; `clock` is theirs."""

    clock: Callable[[], float] = time.monotonic
    _failed: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, address: str) -> None:
        """Refused while an address has failed too often."""
        with self._lock:
            if (count := self._count(address)) <= FAILURES_MAX - 1:
                return
        wait = (count - FAILURES_MAX + 1) * FORGIVEN_SECONDS
        raise Refused(f"{address} failed to prove a pair key too often", cure=f"try again in {wait:.0f} s")

    def failed(self, address: str) -> None:
        """One more; of too many addresses those that failed longest ago are forgotten."""
        with self._lock:
            count = self._count(address) + 1
            self._failed.pop(address, None)
            self._failed[address] = (count, self.clock())
            while len(self._failed) > ADDRESSES_MAX:
                del self._failed[next(iter(self._failed))]

    def _count(self, address: str) -> float:
        count, since = self._failed.get(address, (0.0, 0.0))
        return max(0.0, count - (self.clock() - since) / FORGIVEN_SECONDS)


def _prove(wire: Wire, keys: tuple[PairKey, ...], binding: bytes, address: str) -> PairKey:
    """As a source: have the receiver prove one of the keys, then prove it too."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    wire.send(Kind.PROOF, nonce, *(key.id for key in keys))
    answer = _said(wire)
    if len(answer) != ID_BYTES + NONCE_BYTES + PROOF_BYTES:
        raise BadInput(address, f"a proof of {len(answer)} bytes")
    chosen, theirs, proof = answer[:ID_BYTES], answer[ID_BYTES:-PROOF_BYTES], answer[-PROOF_BYTES:]
    key = next((one for one in keys if one.id == chosen), None)
    session = Session(binding=binding, source_nonce=nonce, receiver_nonce=theirs)
    if key is None or not key.proven(Role.RECEIVER, session, proof):
        raise Untrusted(address, "does not prove the pair key", ANEW)
    wire.send(Kind.PROOF, key.proof(Role.SOURCE, session))
    return key


def _said(wire: Wire) -> bytes:
    kind, payload = wire.receive(secure.HANDSHAKE_SECONDS)
    if kind is Kind.ERROR:
        raise decode_error(payload)
    if kind is not Kind.PROOF:
        raise BadInput("incoming frame", f"{kind.name} where the proof of a pair key must stand")
    return bytes(payload)


def _opening(said: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """The nonce and the ids in a client's first word."""
    nonce, rest = said[:NONCE_BYTES], said[NONCE_BYTES:]
    if not rest or len(rest) % ID_BYTES:
        raise BadInput("incoming frame", f"PROOF of {len(said)} bytes where nonce and ids must stand")
    return nonce, tuple(rest[start : start + ID_BYTES] for start in range(0, len(rest), ID_BYTES))


def _binding(stream: TlsStream) -> bytes:
    """The client's Finished, which both ends have and which is that of this connection alone."""
    found = stream.binding()
    if not found:
        raise Untrusted("the connection", "has no binding of TLS")
    return found


def _client_context() -> ssl.SSLContext:
    """No authority counts, only the fingerprint; that the peer has the certificate's key, TLS proves all the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # no session is taken up again: every connection proves itself anew
    context.load_cert_chain(certificate)
    return context
