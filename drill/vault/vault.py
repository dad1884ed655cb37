"""The vault: the record of an estate and the orchestrator's state (spec B1), opened or made.

vault = Vault.open(location, clock, actor)
vault.servers.register(…)    vault.desired.read()    vault.jobs.begin(…)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from drill.core import registration
from drill.errors import DrillError, Refused
from drill.model.vault import AuditEntry, Goal, VaultFacts
from drill.ports import Clock
from drill.vault import audit, migrate, rows, schema
from drill.vault.book import Book, facts
from drill.vault.clouds import Clouds
from drill.vault.database import Database, make_private
from drill.vault.desired import DesiredObjects
from drill.vault.jobs import JobRecords
from drill.vault.keys import Keys
from drill.vault.probes import Probes
from drill.vault.servers import Servers

ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Vault:
    """An open vault; use as a context manager, or close it."""

    book: Book

    @classmethod
    def make(
        cls, database: Database, clock: Clock, actor: str, *, name: str, region: str, goal: Goal = Goal.SECOND_SERVER
    ) -> Self:
        """A new vault; it is active from then on.  Refused where there is one; then the database is closed.

        A making that was cut short is gone on with.
        """
        registration.check_name(name, "vault")
        registration.check_name(region, "region")
        book = Book(database, clock, actor)
        file = database.location.file
        try:
            if file is not None and not file.exists():
                make_private(file)
            _begin(book, name, region, goal)
        except DrillError:
            database.close()
            raise
        return cls(book)

    @classmethod
    def open(cls, database: Database, clock: Clock, actor: str) -> Self:
        """The vault in a database; Refused where there is none, or one of another version of the schema.

        Then the database is closed.
        """
        try:
            with database.reading() as connection:
                migrate.check(connection, database.location.shown)
                facts(connection)
        except DrillError:
            database.close()
            raise
        return cls(Book(database, clock, actor))

    @property
    def keys(self) -> Keys:
        """Registration keys."""
        return Keys(self.book)

    @property
    def servers(self) -> Servers:
        """Servers."""
        return Servers(self.book)

    @property
    def clouds(self) -> Clouds:
        """Clouds of servers."""
        return Clouds(self.book)

    @property
    def desired(self) -> DesiredObjects:
        """How the estate's objects are to be."""
        return DesiredObjects(self.book)

    @property
    def jobs(self) -> JobRecords:
        """Records of jobs."""
        return JobRecords(self.book)

    @property
    def probes(self) -> Probes:
        """Results of probes."""
        return Probes(self.book)

    def facts(self) -> VaultFacts:
        """Name, region, goal, state."""
        with self.book.reading() as connection:
            return facts(connection)

    def advice(self) -> tuple[str, ...]:
        """What should be known of it (spec A1)."""
        with self.book.reading() as connection:
            return registration.advice(facts(connection).goal, len(rows.servers(connection)))

    @contextmanager
    def audit(self) -> Iterator[Iterator[tuple[int, str, AuditEntry]]]:
        """Number, hash and entry of the audit log, oldest first; Damaged where its chain does not hold."""
        with self.book.reading() as connection:
            yield audit.entries(connection)

    def verify_audit(self, noted: tuple[int, str] | None = None) -> tuple[int, str]:
        """Number and hash of the newest entry, after all were proven; Damaged otherwise."""
        with self.book.reading() as connection:
            audit.verify(connection, noted)
            return audit.head(connection)

    def close(self) -> None:
        """Let go of the database."""
        self.book.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_vault(connection: sa.Connection) -> bool:
    """Whether a vault was made there; tables without its name are a making that was cut short."""
    tables = bool(migrate.revision(connection))
    return tables and connection.execute(sa.select(schema.vault.c.id)).first() is not None


def _begin(book: Book, name: str, region: str, goal: Goal) -> None:
    with book.database.reading() as connection:
        if _is_vault(connection):
            shown = book.database.location.shown
            raise Refused(f"there is a vault in {shown} already", "B1", "drill vault show tells what is in it")
    migrate.forward(book.database)
    with book.change("make the vault", f"vault {name}") as change:
        row = {"singleton": 1, "id": secrets.token_hex(16), "name": name, "region": region, "goal": goal.value}
        made = {"state": ACTIVE, "made_us": change.now_us, "generation": 0}
        change.connection.execute(schema.vault.insert().values(**row, **made))
        change.note(f"region {region}, goal {goal.value}")
