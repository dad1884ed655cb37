"""What one process proves itself by and whom it trusts: a folder of three files, read again when one changes.

    identity.pem    certificate and private key in one file (0600), so that a renewal replaces both at once
    authority.pem   certificates of the authorities that are trusted
    revoked.pem     the revocation list

A file is replaced by renaming, so that a reader sees the old one or the new one.  A change that cannot be used is said
once and the last good state stays in force: a slip of the operator must not end a replication.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from drill.errors import BadInput, DrillError, Refused, Untrusted, Usage
from drill.identity import certificate
from drill.identity.certificate import Passport

IDENTITY = "identity.pem"
AUTHORITY = "authority.pem"
REVOKED = "revoked.pem"
LOOK_SECONDS = 0.5
log = logging.getLogger("drill.identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A folder's content at one moment.  `stamp` differs when any file does; `identity_file` holds the key."""

    stamp: tuple[tuple[int, int, int], ...]
    own: Passport
    identity_file: Path
    authority_file: Path
    list_number: int
    revoked: frozenset[int]


class Bundle:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, key: bytes, made: x509.Certificate, authority: Path) -> None:
        """Fill the folder; the key's file comes last and at once."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (AUTHORITY, REVOKED):
            write_private(self.folder / name, (authority / name).read_bytes())
        write_private(self.folder / IDENTITY, made.public_bytes(serialization.Encoding.PEM) + key)

    def passport(self) -> Passport:
        """What its own certificate says."""
        path = self.folder / IDENTITY
        try:
            if path.stat().st_mode & 0o077:
                raise Refused(f"{path} can be read by others", "", f"chmod 600 {path}")
            return certificate.passport(x509.load_pem_x509_certificate(path.read_bytes()))
        except FileNotFoundError as error:
            cure = f"drill vault issue DIR --to ROLE/NAME --into {self.folder}; ROLE is controller, source or receiver"
            raise Usage(f"there is no certificate in {self.folder}", cure) from error
        except ValueError as error:
            raise Untrusted(str(path), f"holds no certificate ({error})", certificate.RENEW) from error

    def read(self) -> Trust:
        """Everything in it; raises what is wrong with it."""
        stamp = self.stamp()
        own = self.passport()
        try:
            authorities = x509.load_pem_x509_certificates((self.folder / AUTHORITY).read_bytes())
            number, revoked = certificate.revoked_serials((self.folder / REVOKED).read_bytes(), authorities)
        except (OSError, ValueError) as error:
            raise BadInput(str(self.folder), str(error)) from error
        return Trust(
            stamp=stamp,
            own=own,
            identity_file=self.folder / IDENTITY,
            authority_file=self.folder / AUTHORITY,
            list_number=number,
            revoked=revoked,
        )

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Differs when a file was replaced."""
        return file_stamp(self.folder, IDENTITY, AUTHORITY, REVOKED)


class Watched:
    """A bundle for a process that goes on while its files are replaced; `now` looks at most twice a second."""

    def __init__(self, folder: Path) -> None:
        self._bundle = Bundle(folder)
        self._lock = threading.Lock()
        self._trust = self._bundle.read()
        self._looked = time.monotonic()
        self._rejected: tuple[tuple[int, int, int], ...] = ()

    @property
    def now(self) -> Trust:
        """What is in force."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                stamp = self._bundle.stamp()
                if stamp not in (self._trust.stamp, self._rejected):
                    self._take(stamp)
            return self._trust

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self._bundle.folder

    def _take(self, stamp: tuple[tuple[int, int, int], ...]) -> None:
        try:
            found = self._bundle.read()
            if found.list_number < self._trust.list_number:
                raise BadInput(REVOKED, f"list {found.list_number} is older than {self._trust.list_number}")
        except DrillError as error:
            self._rejected = stamp
            log.error("certificates not taken, the old ones stay: folder=%s message=%s", self._bundle.folder, error)
            return
        self._trust = found
        log.info("certificates read: identity=%s valid_until=%s", found.own.identity, found.own.valid_until)


def file_stamp(folder: Path, *names: str) -> tuple[tuple[int, int, int], ...]:
    """Differs when one of the files was replaced; zeros for one that is not there."""
    found = []
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once and durably; it is for its owner only from the first byte on."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
