"""Pair keys: 256 random bits that a source and a receiver share, for pairs that certificates do not join (spec E2).

    pairs.json    every key that its holder knows (0600)
    pairing.pem   receivers only: the certificate that they show, and its private key in the same file (0600)

Both lie in a holder's folder of certificates and are read again when they change.  A key names the source and the
receiver that it joins, the fingerprint (SHA-256) of the receiver's certificate, and its end.  Two keys of a pair are
good at once, so that they can be changed without a pause; whoever has only the older one goes on with that.

Each side proves its key by an HMAC that only it can have made, for this connection and no other:

    HMAC-SHA256(key, side · binding · fingerprint · nonce of the source · nonce of the receiver · key id · both names)

The binding is TLS's own Finished of the client: a relay between two connections, even one that stole the receiver's
certificate, has two of them, and what one side proved is worth nothing on the other.  The side is part of it, so that
no proof can be sent back to whoever made it.  A key is never shown, logged, or part of an error.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drill.errors import BadInput, DrillError, Refused, Untrusted
from drill.identity.bundle import LOOK_SECONDS, Bundle, file_stamp, log, write_private
from drill.model.identity import Identity, Role, identity

PAIRS: Final = "pairs.json"
PAIRING: Final = "pairing.pem"
KEY_BYTES: Final = 32
ID_BYTES: Final = 16
KEYS_OF_A_PAIR: Final = 2
KEYS_MAX: Final = 1024
ANEW: Final = "make one: drill vault pair-key"
_FILE_BYTES_MAX: Final = 1 << 20
_LABEL: Final = b"drill pair key 1"
_SKEW: Final = timedelta(minutes=10)
_YEARS: Final = timedelta(days=3652)
_FIELDS: Final = ("id", "key", "source", "receiver", "fingerprint", "valid_from", "valid_until")

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is new with every connection: TLS's binding, and a nonce of 32 bytes of either side."""

    binding: bytes
    source_nonce: bytes
    receiver_nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PairKey:
    """One key.  `id` is 16 bytes and no secret; times are UTC."""

    id: bytes
    secret: bytes = field(repr=False)
    source: Identity
    receiver: Identity
    fingerprint: bytes
    valid_from: datetime
    valid_until: datetime

    def __str__(self) -> str:
        return f"the pair key {self.id.hex()[:8]} of {self.source} and {self.receiver}"

    def check(self, now_us: int) -> None:
        """Raise Untrusted, with what to do, unless the key is good now."""
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        if now < self.valid_from:
            raise Untrusted(str(self), f"is not valid before {self.valid_from:%Y-%m-%d %H:%M} UTC", "set the clocks")
        if now > self.valid_until:
            raise Untrusted(str(self), f"expired on {self.valid_until:%Y-%m-%d %H:%M} UTC", ANEW)

    def is_good(self, now_us: int) -> bool:
        """Whether `check` would pass."""
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        return self.valid_from <= now <= self.valid_until

    def proof(self, of: Role, session: Session) -> bytes:
        """What only a holder of the key can say, as that side of that connection; 32 bytes."""
        parts = (
            _LABEL,
            of.value.encode(),
            session.binding,
            self.fingerprint,
            session.source_nonce,
            session.receiver_nonce,
            self.id,
            self.source.uri.encode(),
            self.receiver.uri.encode(),
        )
        said = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
        return hmac.digest(self.secret, said, "sha256")

    def proven(self, of: Role, session: Session, proof: bytes) -> bool:
        """Whether `proof` is that side's; takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(self.proof(of, session), proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A folder's keys at one moment, oldest first; `certificate` is the file that a receiver shows, None elsewhere."""

    stamp: tuple[tuple[int, int, int], ...]
    keys: tuple[PairKey, ...]
    certificate: Path | None

    def of(self, number: bytes) -> PairKey | None:
        """The key with that id."""
        return next((key for key in self.keys if key.id == number), None)

    def between(self, source: Identity, receiver: str, now_us: int) -> tuple[PairKey, ...]:
        """The good keys of a source with the receiver of that name, newest first; Untrusted when there is none."""
        mine = [key for key in self.keys if key.source == source and key.receiver.name == receiver]
        good = tuple(key for key in reversed(mine) if key.is_good(now_us))
        if not good and mine:
            mine[-1].check(now_us)
        if not good:
            raise Untrusted(f"{source}", f"has no pair key with receiver/{receiver}", ANEW)
        return good[:KEYS_OF_A_PAIR]


class PairFolder:
    """The two files in a holder's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> Pairs:
        """All keys, none where there is no file; raises what is wrong with them, without a word of their content."""
        stamp, file, shown = self.stamp(), self.folder / PAIRS, self.folder / PAIRING
        keys = _keys(_private(file), str(file)) if file.exists() else ()
        return Pairs(stamp=stamp, keys=keys, certificate=shown if shown.exists() and _private(shown) else None)

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Differs when a file was replaced."""
        return file_stamp(self.folder, PAIRS, PAIRING)

    def write(self, keys: tuple[PairKey, ...]) -> None:
        """Replace the keys at once."""
        rows = [dict(zip(_FIELDS, _told(key), strict=True)) for key in keys]
        write_private(self.folder / PAIRS, json.dumps({"keys": rows}, indent=1).encode() + b"\n")


class WatchedPairs:
    """The keys of a process that goes on while the files are replaced; `now` looks at most twice a second.

    A file that cannot be read is said once, and the keys that were good before stay; a file that is gone takes them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = PairFolder(folder)
        self._lock = threading.Lock()
        self._pairs = self._folder.read()
        self._looked = time.monotonic()
        self._rejected: tuple[tuple[int, int, int], ...] = ()
        self._edition = 0

    @property
    def edition(self) -> int:
        """How often other keys were taken up, a look at the files included."""
        _ = self.now
        return self._edition

    @property
    def now(self) -> Pairs:
        """What is in force."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                stamp = self._folder.stamp()
                if stamp not in (self._pairs.stamp, self._rejected):
                    self._take(stamp)
            return self._pairs

    def _take(self, stamp: tuple[tuple[int, int, int], ...]) -> None:
        try:
            self._pairs = self._folder.read()
        except DrillError as error:
            self._rejected = stamp
            log.error("pair keys not taken, the old ones stay: folder=%s message=%s", self._folder.folder, error)
            return
        self._edition += 1
        log.info("pair keys read: folder=%s keys=%d", self._folder.folder, len(self._pairs.keys))


def fingerprint(der: bytes) -> bytes:
    """By which a certificate is pinned."""
    return sha256(der).digest()


def make(source: Path, receiver: Path, valid: timedelta, now: Now, *, alone: bool = False) -> PairKey:
    """A new key in the folders of a source and a receiver, the receiver's first.

    The newest key that the pair had stays good beside it until its own end, unless the new one is to be `alone`.
    """
    sender, taker = Bundle(source).passport().identity, Bundle(receiver).passport().identity
    if sender.role is not Role.SOURCE or taker.role is not Role.RECEIVER:
        raise Refused(f"a pair key joins a source and a receiver, not {sender} and {taker}", "", "change the folders")
    if not (receiver / PAIRING).exists():
        write_private(receiver / PAIRING, _certificate(taker, now()))
    shown = x509.load_pem_x509_certificate(_private(receiver / PAIRING))
    made = PairKey(
        id=secrets.token_bytes(ID_BYTES),
        secret=secrets.token_bytes(KEY_BYTES),
        source=sender,
        receiver=taker,
        fingerprint=fingerprint(shown.public_bytes(serialization.Encoding.DER)),
        valid_from=(now() - _SKEW).replace(microsecond=0),
        valid_until=(now() + valid).replace(microsecond=0),
    )
    for holder in (receiver, source):
        folder = PairFolder(holder)
        folder.write(_with(folder.read().keys, made, 0 if alone else KEYS_OF_A_PAIR - 1))
    return made


def _with(keys: tuple[PairKey, ...], made: PairKey, beside: int) -> tuple[PairKey, ...]:
    """The new key last; of its pair so many of the newest others stay, of other pairs all."""
    pair = (made.source, made.receiver)
    same = [key for key in keys if (key.source, key.receiver) == pair]
    kept = same[len(same) - beside :] if beside else []
    return (*(key for key in keys if (key.source, key.receiver) != pair or key in kept), made)


def _certificate(holder: Identity, now: datetime) -> bytes:
    """A certificate that nobody but its holder signed, for it is known by its fingerprint; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(holder)[:64])])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    made = builder.not_valid_before(now - _SKEW).not_valid_after(now + _YEARS).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(serialization.Encoding.PEM) + secret


def _private(file: Path) -> bytes:
    """A file's content; Refused when others than its owner can read it."""
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_mode & 0o077:
            raise Refused(f"{file} can be read by others", "", f"chmod 600 {file}")
        return opened.read(_FILE_BYTES_MAX + 1)


def _told(key: PairKey) -> tuple[str, ...]:
    ends = (key.valid_from.isoformat(), key.valid_until.isoformat())
    return (key.id.hex(), key.secret.hex(), str(key.source), str(key.receiver), key.fingerprint.hex(), *ends)


def _keys(content: bytes, where: str) -> tuple[PairKey, ...]:
    """The keys in a file; the causes of errors are dropped, for they quote what stands there."""
    problem = f"larger than {_FILE_BYTES_MAX} bytes" if len(content) > _FILE_BYTES_MAX else ""
    rows: list[object] = []
    if not problem:
        try:
            rows = _rows(content)
        except (ValueError, RecursionError):
            problem = "it is not what drill vault pair-key writes"
    found: list[PairKey] = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_key(row))
        except (ValueError, DrillError):
            problem = problem or f"key {number} is not what drill vault pair-key writes"
    if len({key.id for key in found}) < len(found):
        problem = "two keys have one id"
    if problem:
        raise BadInput(where, problem)
    return tuple(found)


def _rows(content: bytes) -> list[object]:
    document = json.loads(content.decode("ascii"))
    if not isinstance(document, dict) or document.keys() != {"keys"} or not isinstance(document["keys"], list):
        raise ValueError("no list of keys")
    if len(document["keys"]) > KEYS_MAX:
        raise ValueError("too many keys")
    return list(document["keys"])


def _key(row: object) -> PairKey:
    if not isinstance(row, dict) or sorted(row) != sorted(_FIELDS) or not all(isinstance(row[one], str) for one in row):
        raise ValueError("other fields")
    begin, end = (datetime.fromisoformat(row[name]) for name in ("valid_from", "valid_until"))
    source, receiver = identity(row["source"]), identity(row["receiver"])
    if begin.tzinfo is None or end.tzinfo is None:
        raise ValueError("a time without its zone")
    if source.role is not Role.SOURCE or receiver.role is not Role.RECEIVER:
        raise ValueError("other roles")
    return PairKey(
        id=_exactly(ID_BYTES, row["id"]),
        secret=_exactly(KEY_BYTES, row["key"]),
        source=source,
        receiver=receiver,
        fingerprint=_exactly(32, row["fingerprint"]),
        valid_from=begin,
        valid_until=end,
    )


def _exactly(length: int, text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != length:
        raise ValueError("another length")
    return found
