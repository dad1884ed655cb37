"""Registration keys (spec B2): made, revoked, listed, and compared when a server shows one.

A key is 256 random bits, bound to the name of one server, good once and for five days.  The vault has its hash alone:
SHA-256 over vault, server, key id and secret.  A slow hash would add nothing to 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from drill.core import registration
from drill.errors import Refused, Usage
from drill.model.vault import RegistrationKey
from drill.vault.book import Book, Change, facts
from drill.vault.keyfile import KeyFile
from drill.vault.schema import failed_registrations, registration_keys

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """The registration keys of a vault."""

    book: Book

    def make(self, server: str) -> KeyFile:
        """A new key for a server; what is returned holds its secret, which is kept nowhere else."""
        registration.check_name(server, "server")
        with self.book.change("make a registration key", f"server {server}") as change:
            vault = facts(change.connection)
            key, secret = secrets.token_hex(8), secrets.token_hex(SECRET_BYTES)
            made = KeyFile(
                vault=vault.name,
                vault_id=vault.id,
                location=self.book.database.location.shown,
                server=server,
                key=key,
                secret=secret,
                made_us=change.now_us,
                expires_us=change.now_us + registration.KEY_US,
            )
            change.note(f"key {key}")
            row = {"id": key, "server": server, "made_us": made.made_us, "expires_us": made.expires_us}
            digest = hashed(vault.id, server, key, secret)
            change.connection.execute(registration_keys.insert().values(**row, secret_hash=digest))
        return made

    def revoke(self, id: str) -> RegistrationKey:
        """End a key that was not used; Usage for one that does not exist, Refused for one that was used."""
        with self.book.change("revoke a registration key", f"key {id[:40]}") as change:
            found = {key.id: key for key in _keys(change.connection)}.get(id)
            if found is None:
                raise Usage(f"there is no registration key {id[:40]!r}", "drill vault key list shows them")
            if found.used_us is not None:
                cure = f"drill vault unregister {found.server}"
                raise Refused(f"key {id} was used already", "B2", cure)
            ended = sa.update(registration_keys).where(registration_keys.c.id == id)
            change.connection.execute(ended.values(revoked_us=found.revoked_us or change.now_us))
            return found

    def all(self) -> tuple[RegistrationKey, ...]:
        """All keys, oldest first, without their secrets."""
        with self.book.reading() as connection:
            return _keys(connection)


def hashed(vault_id: str, server: str, key: str, secret: str) -> str:
    """What the vault keeps of a key."""
    text = f"drill registration key, version 1\n{vault_id}\n{server}\n{key}\n{secret}"
    return hashlib.sha256(text.encode()).hexdigest()


def use(change: Change, server: str, key: str, secret: str) -> bool:
    """Use a key up for a server; False where it is the wrong one, which the caller notes once this is undone.

    Refused for a key that is right and cannot be used any more, and after too many wrong ones.
    """
    connection = change.connection
    failed = connection.execute(sa.select(failed_registrations.c.server, failed_registrations.c.at_us))
    registration.check_attempts(server, [(row.server, row.at_us) for row in failed], change.now_us)
    row = connection.execute(sa.select(registration_keys).where(registration_keys.c.id == key)).first()
    shown = hashed(facts(connection).id, server, key, secret)
    is_right = hmac.compare_digest(shown, row.secret_hash if row is not None else "0" * 64)
    if row is None or not is_right:
        return False
    registration.check_key(_key(row), change.now_us)
    spent = sa.update(registration_keys).where(registration_keys.c.id == key)
    connection.execute(spent.values(used_us=change.now_us))
    change.note(f"key {key}")
    return True


def note_failure(change: Change, server: str) -> None:
    """Remember a wrong key, and forget those that no longer count."""
    table, connection = failed_registrations, change.connection
    old = (table.c.at_us < change.now_us - registration.ATTEMPTS_US) | (
        table.c.at_us > change.now_us + registration.ATTEMPTS_US
    )
    connection.execute(sa.delete(table).where(old))
    number = connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.n), 0) + 1)).scalar_one()
    connection.execute(table.insert().values(n=number, server=server, at_us=change.now_us))


def _keys(connection: sa.Connection) -> tuple[RegistrationKey, ...]:
    order = (registration_keys.c.made_us, registration_keys.c.id)
    return tuple(_key(row) for row in connection.execute(sa.select(registration_keys).order_by(*order)))


def _key(row: sa.Row[tuple[object, ...]]) -> RegistrationKey:
    return RegistrationKey(
        id=row.id,
        server=row.server,
        made_us=row.made_us,
        expires_us=row.expires_us,
        used_us=row.used_us,
        revoked_us=row.revoked_us,
    )
