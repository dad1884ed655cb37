"""Certificates as drill reads them: one identity, explicit usages, a time span, and a list of revoked serials.

The TLS library proves the chain and the possession of the key.  What it lets pass is checked here, after the handshake
and before the greeting is acknowledged: a certificate without extended key usage, one that names no identity or two,
one that was revoked, one that ended while its connection stood (facts: OpenSSL takes a certificate without usages).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from drill.errors import BadInput, Untrusted
from drill.model.identity import Identity, Role, identity

RENEW = "issue it anew: drill vault renew"


class Usage(Enum):
    """What a certificate may be used for; both sides of a connection must say so explicitly."""

    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
    SERVER = ExtendedKeyUsageOID.SERVER_AUTH


USAGES = {
    Role.CONTROLLER: frozenset({Usage.CLIENT}),
    Role.SOURCE: frozenset({Usage.CLIENT, Usage.SERVER}),
    Role.RECEIVER: frozenset({Usage.SERVER}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """What a certificate says of its holder; times are UTC."""

    identity: Identity
    serial: int
    usages: frozenset[Usage]
    valid_from: datetime
    valid_until: datetime

    def check(self, usage: Usage, now_us: int, revoked: frozenset[int]) -> None:
        """Raise Untrusted, with what to do, unless the certificate is good for `usage` now."""
        now, who = datetime.fromtimestamp(now_us / 1e6, UTC), f"the certificate of {self.identity}"
        if now < self.valid_from:
            raise Untrusted(who, f"is not valid before {self.valid_from:%Y-%m-%d %H:%M} UTC", "set the hosts' clocks")
        if now > self.valid_until:
            raise Untrusted(who, f"expired on {self.valid_until:%Y-%m-%d %H:%M} UTC", RENEW)
        if self.serial in revoked:
            raise Untrusted(who, "was revoked", f"if its holder is trusted again, {RENEW}")
        if usage not in self.usages:
            wanted = f"is not for {usage.name.lower()}s (extended key usage)"
            raise Untrusted(who, wanted, "use a certificate that drill vault issued for this role")


def read(der: bytes) -> Passport:
    """The passport in a certificate; Untrusted when it is none of drill's."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return passport(certificate)
    except (ValueError, x509.DuplicateExtension) as error:
        raise Untrusted("a certificate", f"cannot be read ({error})", RENEW) from error


def passport(certificate: x509.Certificate) -> Passport:
    """The passport in a certificate that was read already."""
    return Passport(
        identity=_identity(certificate),
        serial=certificate.serial_number,
        usages=_usages(certificate),
        valid_from=certificate.not_valid_before_utc,
        valid_until=certificate.not_valid_after_utc,
    )


def revoked_serials(list_pem: bytes, authorities: list[x509.Certificate]) -> tuple[int, frozenset[int]]:
    """The number and the serials of a revocation list; BadInput unless one of the authorities signed it."""
    try:
        found = x509.load_pem_x509_crl(list_pem)
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound) as error:
        raise BadInput("the revocation list", str(error)) from error
    keys = [one.public_key() for one in authorities if one.subject == found.issuer]
    if not any(isinstance(key, ec.EllipticCurvePublicKey) and found.is_signature_valid(key) for key in keys):
        raise BadInput("the revocation list", "it is not signed by the authority")
    return number, frozenset(entry.serial_number for entry in found)


def _identity(certificate: x509.Certificate) -> Identity:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith("drill:")]
    if len(uris) != 1:
        raise Untrusted("a certificate", f"names {len(uris)} identities of drill where one must stand", RENEW)
    try:
        return identity(uris[0])
    except BadInput as error:
        raise Untrusted("a certificate", str(error), RENEW) from error


def _usages(certificate: x509.Certificate) -> frozenset[Usage]:
    """What is stated; nothing where nothing is stated."""
    try:
        stated = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(usage for usage in Usage if usage.value in stated)
