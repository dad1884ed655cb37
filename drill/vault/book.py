"""What every part of the vault shares: the database, the clock, who acts, and changes that are audited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from drill.errors import Damaged, DrillError
from drill.model.vault import AuditEntry, Goal, VaultFacts
from drill.ports import Clock
from drill.vault import audit, schema
from drill.vault.database import Database


@dataclass(slots=True)
class Change:
    """A change under way: its transaction, its instant, and words for the audit log (never a secret)."""

    connection: sa.Connection
    now_us: int
    detail: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say more in the audit log."""
        self.detail.append(text)


@dataclass(frozen=True, slots=True)
class Book:
    """`actor` is who acts, such as `root@ny-controller`."""

    database: Database
    clock: Clock
    actor: str

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only looks."""
        with self.database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Change]:
        """A transaction that is not audited: progress of jobs, results of probes."""
        with self.database.writing() as connection:
            yield Change(connection, self.clock.now_us())

    @contextmanager
    def change(self, action: str, subject: str) -> Iterator[Change]:
        """A transaction with its entry in the audit log; one that is refused leaves nothing but such an entry."""
        try:
            with self.writing() as change:
                yield change
                audit.append(change.connection, self._entry(action, subject, "done", "; ".join(change.detail)))
        except DrillError as error:
            self._note_refusal(action, subject, error)
            raise

    def _note_refusal(self, action: str, subject: str, error: DrillError) -> None:
        with self.writing() as change:
            audit.append(change.connection, self._entry(action, subject, error.id, str(error)))

    def _entry(self, action: str, subject: str, outcome: str, detail: str) -> AuditEntry:
        return AuditEntry(
            at_us=self.clock.now_us(),
            actor=self.actor,
            action=action,
            subject=subject,
            outcome=outcome,
            detail=detail,
        )


def facts(connection: sa.Connection) -> VaultFacts:
    """The vault itself."""
    row = connection.execute(sa.select(schema.vault)).first()
    if row is None:
        raise Damaged("the vault", "its tables are there, but its name is not")
    return VaultFacts(
        id=row.id,
        name=row.name,
        region=row.region,
        goal=Goal(row.goal),
        state=row.state,
        made_us=row.made_us,
        generation=row.generation,
    )
