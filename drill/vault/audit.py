"""The audit log: who did what, or was refused; in the transaction of what was done, chained by hashes, only growing.

The database refuses to change or delete an entry (a trigger); what is done to its file behind its back breaks the
chain, which is the run record's (drill/core/chain.py).  Entries cut off at the end show against a number and hash that
somebody noted elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from drill.core import chain
from drill.core.canonical import canonical
from drill.errors import BadInput, Damaged
from drill.model.vault import AuditEntry
from drill.vault.schema import audit

GENESIS: Final = chain.genesis("drill audit log, version 1")
TEXT_MAX: Final = 1000
_ADAPTER: Final = TypeAdapter(AuditEntry)
_KEYS: Final = frozenset(AuditEntry.__dataclass_fields__)


def append(connection: sa.Connection, entry: AuditEntry) -> None:
    """Add an entry within a transaction that writes."""
    number, previous = head(connection)
    body = {key: value[:TEXT_MAX] if isinstance(value, str) else value for key, value in asdict(entry).items()}
    line, digest = chain.sealed(body, number + 1, previous, "the audit log")
    connection.execute(audit.insert().values(n=number + 1, line=line.decode("ascii"), hash=digest))


def head(connection: sa.Connection) -> tuple[int, str]:
    """Number and hash of the newest entry; what somebody notes elsewhere who wants to find out about a cut."""
    found = connection.execute(sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
    return (found.n, found.hash) if found is not None else (0, GENESIS)


def entries(connection: sa.Connection) -> Iterator[tuple[int, str, AuditEntry]]:
    """Number, hash and entry, oldest first.  Damaged or BadInput at the first that does not hold."""
    previous = GENESIS
    rows = connection.execute(sa.select(audit).order_by(audit.c.n))
    for number, row in enumerate(rows, 1):
        where = f"the audit log, entry {number}"
        entry, digest = _opened(row.line, number, previous, where)
        if row.hash != digest or row.n != number:
            raise Damaged(where, "its number or hash is not that of its line")
        previous = digest
        yield number, digest, entry


def _opened(line: str, number: int, previous: str, where: str) -> tuple[AuditEntry, str]:
    body, digest = chain.opened(line.encode(), _KEYS, number, previous, where, "an audit log")
    try:
        return _ADAPTER.validate_json(canonical(body, where), strict=True), digest
    except ValidationError:
        raise BadInput(where, "its fields are not those of an entry") from None


def verify(connection: sa.Connection, noted: tuple[int, str] | None = None) -> int:
    """How many entries there are, all of them whole; Damaged otherwise, or when a noted one is not among them."""
    hashes = {number: digest for number, digest, _ in entries(connection)}
    if noted is not None and hashes.get(noted[0], GENESIS if noted[0] == 0 else "") != noted[1]:
        raise Damaged(
            "the audit log", f"entry {noted[0]} is not the one that was noted: entries were cut off or rewritten"
        )
    return len(hashes)
