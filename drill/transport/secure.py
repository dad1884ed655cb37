"""Mutual TLS 1.3 between controllers and agents: both prove an identity before the greeting.

TLS 1.3 rejects late: a client's handshake succeeds before the server has looked at its certificate, and the refusal
arrives at the first read (facts).  So nothing is asked before the server has answered the greeting, and a server that
refuses waits for the client's last words before it closes, for else a reset would swallow the reason.

The library proves the chain and the keys; usages, revocation and identity are looked at by `drill.identity` once the
handshake is done, on both sides, and again for as long as the connection stands.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drill.errors import Untrusted
from drill.identity import certificate
from drill.identity.bundle import Trust, Watched
from drill.identity.certificate import RENEW, Usage
from drill.model.identity import Identity, Role
from drill.transport.frames import Wire
from drill.transport.streams import PlainStream, Stream, TlsStream

HANDSHAKE_SECONDS = 10.0
"""From the first byte to the last, however slowly a peer sends; two round trips take far less."""
_LAST_WORDS_SECONDS = 1.0
_ALERTS = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("has expired", RENEW),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": ("was revoked", RENEW),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "is of an authority that the peer does not trust",
        "use a certificate of the peer's vault: drill vault issue",
    ),
    "TLSV1_ALERT_DECRYPT_ERROR": (
        "is of an authority that the peer does not trust, though its name is the same",
        "use a certificate of the peer's vault: drill vault issue",
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ("is missing", "name its folder with --identity"),
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        "is not accepted: it is not valid yet or was not made by drill",
        "compare the hosts' clocks; drill vault renew",
    ),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": ("is for another use", "drill vault issue one for this role"),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("is not reached: the peer wants TLS 1.3", "use the same drill on both sides"),
}
"""What a server says of our certificate, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The peer of a connection.  `identity` is None on a plain one, whose peer is nobody in particular; `check` raises
    Untrusted when what was good at the greeting no longer is."""

    identity: Identity | None
    check: Callable[[], None]


NOBODY = Guest(None, lambda: None)
Meeting = Callable[[Wire], Guest]
"""Finds out who a client is, by what it says or has shown; Untrusted when that is not good enough."""


class Secured(Protocol):
    """One way to know the other side: certificates (`Security`) or pair keys (drill.transport.paired)."""

    @property
    def identity(self) -> Identity:
        """Who this process is."""
        ...

    @property
    def serial(self) -> int:
        """Another number means that what we prove ourselves by was renewed."""
        ...

    def client(self, connection: socket.socket, role: Role, name: str, address: str) -> tuple[Stream, Guest]:
        """Greet an agent.  Untrusted unless it has that role, and that name."""
        ...

    def server(self, connection: socket.socket) -> tuple[Stream, Meeting]:
        """Take a client in, as far as TLS goes."""
        ...


class Security:
    """One process's side of TLS: its folder of certificates, and the contexts made from what lies there now."""

    def __init__(self, folder: Path) -> None:
        self.watched = Watched(folder)
        self._lock = threading.Lock()
        self._contexts: dict[bool, tuple[Trust, ssl.SSLContext]] = {}

    @property
    def identity(self) -> Identity:
        """Who this process is."""
        return self.watched.now.own.identity

    @property
    def serial(self) -> int:
        """Of the certificate in force; another one means that it was renewed."""
        return self.watched.now.own.serial

    def client(self, connection: socket.socket, role: Role, name: str, address: str) -> tuple[Stream, Guest]:
        """Greet an agent.  Untrusted unless it has that role, and that name (any, where it is empty)."""
        trust = self.watched.now
        trust.own.check(Usage.CLIENT, time.time_ns() // 1000, trust.revoked)
        stream = TlsStream(connection, self._context(server=False), server=False)
        try:
            der = stream.handshake(HANDSHAKE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(
                f"the certificate at {address}", f"is not accepted: {error.verify_message}", RENEW
            ) from error
        guest = self.meet(_must_show(der), Usage.SERVER)
        found = guest.identity
        if found is None or found.role is not role or name not in ("", found.name):
            expected = f"{role.value}/{name}" if name else f"a {role.value}"
            raise Untrusted(address, f"is {found}, not {expected}", "check the address, or the estate's names")
        return stream, guest

    def server(self, connection: socket.socket) -> tuple[Stream, Meeting]:
        """Take a client in; OSError when the chain or key of its certificate is not right.

        Takes ten seconds at most.  Whether the certificate will do is for the meeting to say.
        """
        stream, der = accepted(connection, self._context(server=True))
        _must_show(der)
        return stream, lambda _: self.meet(der, Usage.CLIENT)

    def meet(self, der: bytes, usage: Usage) -> Guest:
        """Whose certificate it is; Untrusted unless it is good for `usage` now."""
        passport = certificate.read(der)

        def check() -> None:
            passport.check(usage, time.time_ns() // 1000, self.watched.now.revoked)

        check()
        return Guest(passport.identity, check)

    def _context(self, *, server: bool) -> ssl.SSLContext:
        trust = self.watched.now
        with self._lock:
            known = self._contexts.get(server)
            if known is None or known[0] != trust:
                known = self._contexts[server] = (trust, _made(trust, server=server))
            return known[1]


def plain(connection: socket.socket) -> tuple[Stream, Guest]:
    """A connection without TLS, whose peer may be anybody."""
    return PlainStream(connection), NOBODY


def told(error: OSError, own: Identity) -> Untrusted | None:
    """What a server's alert means for `own`; None for another error."""
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str) or reason not in _ALERTS:
        return None
    problem, cure = _ALERTS[reason]
    return Untrusted(f"the certificate of {own}", problem, cure)


def last_words(connection: socket.socket) -> None:
    """End our side and read what the peer still says, a little and not for long, so that it reads ours."""
    until = time.monotonic() + _LAST_WORDS_SECONDS
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        for _ in range(64):
            left = until - time.monotonic()
            if left <= 0:
                return
            connection.settimeout(left)
            if not connection.recv(1 << 14):
                return


def accepted(connection: socket.socket, context: ssl.SSLContext) -> tuple[TlsStream, bytes]:
    """A client's connection under TLS and the certificate that it showed, if any; OSError without agreement.

    Takes ten seconds at most.
    """
    stream = TlsStream(connection, context, server=True)
    try:
        return stream, stream.handshake(HANDSHAKE_SECONDS)
    except OSError:
        last_words(connection)
        raise


def _must_show(der: bytes) -> bytes:
    """The peer's certificate; Untrusted where it has none."""
    if not der:
        raise Untrusted("the peer", "showed no certificate", "name its folder with --identity")
    return der


def _made(trust: Trust, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the identity in the certificate counts, not the name of an address
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(trust.identity_file)
    context.load_verify_locations(trust.authority_file)
    if server:
        context.num_tickets = 0  # no session is taken up again: every connection proves itself anew
    return context
