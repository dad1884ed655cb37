"""The private authority of a vault: it issues, renews and revokes the certificates of controllers and agents.

    DIR/authority.key   its private key (0600), never shown and never leaving this folder
    DIR/authority.pem   its certificate
    DIR/revoked.pem     the list of revoked serials, signed; its number rises with every change
    DIR/issued.jsonl    one line per certificate: serial, identity, end

Keys are EC P-256.  A certificate lasts a year, the authority ten; a list has no end that would stop a replication.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drill.errors import BadInput, Refused, Usage
from drill.identity import certificate
from drill.identity.bundle import AUTHORITY, REVOKED, Bundle, write_private
from drill.model.identity import Identity, identity

KEY = "authority.key"
ISSUED = "issued.jsonl"
YEARS = timedelta(days=3652)
VALID = timedelta(days=365)
SKEW = timedelta(minutes=10)
"""A certificate begins this long before it is made: hosts whose clocks differ a little accept it at once."""

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One certificate as the authority remembers it; `valid_until` is ISO 8601 in UTC."""

    serial: int
    identity: Identity
    valid_until: str


class Authority:
    """An authority in its folder; one process at a time works on it."""

    def __init__(self, folder: Path, now: Now) -> None:
        self._folder = folder
        self._now = now
        key = folder / KEY
        if not key.is_file():
            raise Usage(f"{folder} holds no authority", f"make one: drill vault init {folder}")
        found = serialization.load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise BadInput(str(key), "it is no EC key")
        self._key = found
        self._certificate = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())

    @classmethod
    def make(cls, folder: Path, name: str, now: Now) -> Authority:
        """A new authority; Refused where one is already."""
        if (folder / KEY).exists():
            raise Refused(f"{folder} holds an authority already", cure="name another folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"drill authority {name}"[:64])])
        begin = now() - SKEW
        made = (
            _begun(subject, subject, key.public_key(), begin, begin + YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / AUTHORITY, made.public_bytes(serialization.Encoding.PEM))
        write_private(folder / REVOKED, _revocation_list(made, key, 1, (), begin))
        write_private(folder / KEY, _pem(key))  # last: with it the folder counts as an authority
        return cls(folder, now)

    def issue(self, to: Identity, into: Path, valid: timedelta = VALID) -> Issued:
        """A new key and certificate in the folder `into`, with what its holder must know to trust others."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = self._now() - SKEW
        end = min(self._now() + valid, self._certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(to)[:64])])
        made = (
            _begun(subject, self._certificate.subject, key.public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([one.value for one in certificate.USAGES[to.role]]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(to.uri)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        issued = Issued(serial=made.serial_number, identity=to, valid_until=end.isoformat(timespec="seconds"))
        self._note(issued)
        Bundle(into).write(_pem(key), made, self._folder)
        return issued

    def renew(self, into: Path, valid: timedelta = VALID) -> Issued:
        """A new key and certificate for whom the one in `into` names; the old one stays good until it ends."""
        return self.issue(Bundle(into).passport().identity, into, valid)

    def revoke(self, serials: frozenset[int]) -> int:
        """Put serials on the list; returns the list's number.  Usage for serials that were never issued."""
        if unknown := serials - {one.serial for one in self.issued()}:
            raise Usage(f"serial {min(unknown):x} was not issued here", "drill vault list shows them")
        number, known = certificate.revoked_serials((self._folder / REVOKED).read_bytes(), [self._certificate])
        if serials <= known:
            return number
        fresh = _revocation_list(self._certificate, self._key, number + 1, sorted(known | serials), self._now())
        write_private(self._folder / REVOKED, fresh)
        return number + 1

    def publish(self, into: Path) -> None:
        """Give a holder's folder the newest list."""
        write_private(into / REVOKED, (self._folder / REVOKED).read_bytes())

    def issued(self) -> tuple[Issued, ...]:
        """Everything that was issued, oldest first."""
        try:
            lines = (self._folder / ISSUED).read_text("ascii").splitlines()
        except FileNotFoundError:
            return ()
        found = [json.loads(line) for line in lines]
        return tuple(
            Issued(serial=int(one["serial"], 16), identity=identity(one["identity"]), valid_until=one["valid_until"])
            for one in found
        )

    def revoked(self) -> frozenset[int]:
        """The serials on the list."""
        return certificate.revoked_serials((self._folder / REVOKED).read_bytes(), [self._certificate])[1]

    def _note(self, issued: Issued) -> None:
        line = {"serial": f"{issued.serial:x}", "identity": issued.identity.uri, "valid_until": issued.valid_until}
        path = self._folder / ISSUED
        before = path.read_bytes() if path.exists() else b""
        write_private(path, before + json.dumps(line).encode() + b"\n")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(serial).not_valid_before(begin).not_valid_after(end)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _revocation_list(
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    number: int,
    serials: tuple[int, ...] | list[int],
    now: datetime,
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
    builder = builder.last_update(now).next_update(now + YEARS).add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
