"""The newest result of every look at whether a connection can be made (spec A9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from drill.model.vault import Probe
from drill.vault.book import Book
from drill.vault.schema import probes


@dataclass(frozen=True, slots=True)
class Probes:
    """What was looked at, by the machine that will need the connection."""

    book: Book

    def note(self, looked: Iterable[Probe]) -> None:
        """Keep results, each over the one before it of the same connection."""
        with self.book.writing() as change:
            for one in looked:
                same = (probes.c.looker == one.looker) & (probes.c.purpose == one.purpose) & (probes.c.at == one.at)
                change.connection.execute(sa.delete(probes).where(same))
                change.connection.execute(probes.insert().values(**asdict(one)))

    def all(self) -> tuple[Probe, ...]:
        """The newest result of every connection, sorted by who looked."""
        order = (probes.c.looker, probes.c.purpose, probes.c.at)
        with self.book.reading() as connection:
            found = connection.execute(sa.select(probes).order_by(*order))
            return tuple(
                Probe(
                    looker=row.looker,
                    purpose=row.purpose,
                    at=row.at,
                    at_us=row.at_us,
                    reached=row.reached,
                    cause=row.cause,
                )
                for row in found
            )
