"""How the objects of an estate are to be: documents by kind and name, and the state that rules speak of (D2-D4, B8).

A document is canonical JSON in the shape of its kind, which is its writer's business, but for a pair: its `source`,
`target`, `region` and `store` are names, and the rules about them are asked in the transaction that writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from drill.core import registration
from drill.core.canonical import canonical, parse
from drill.errors import BadInput, Refused
from drill.model.vault import CloudPair, Desired, DesiredState, Kind
from drill.vault import rows, schema
from drill.vault.book import Book, Change, facts

SECRETS: Final = frozenset({"password", "passphrase", "secret", "private_key", "token"})
"""Keys that no document has: a secret is a credential's, and an estate names the credential."""


@dataclass(frozen=True, slots=True)
class DesiredObjects:
    """The port `DesiredObjects` over the vault's database."""

    book: Book

    def read(self) -> DesiredState:
        """All of them, and the generation to write against."""
        with self.book.reading() as connection:
            found = _objects(connection)
            objects = tuple(Desired(kind=k, name=n, document=text) for (k, n), text in sorted(found.items()))
            return DesiredState(generation=facts(connection).generation, objects=objects)

    def write(self, changed: Iterable[Desired], removed: Iterable[tuple[Kind, str]], *, read_at: int) -> int:
        """Put and take away objects; the new generation."""
        put = {(one.kind, one.name): _checked(one) for one in changed}
        gone = set(removed)
        with self.book.change("write the estate", "desired objects") as change:
            known, generation = _objects(change.connection), facts(change.connection).generation
            if generation != read_at:
                raise Refused(
                    f"the estate was written by somebody else meanwhile (generation {generation}, not {read_at})",
                    cure="look at the differences again: drill diff",
                )
            gone = {key for key in gone if key in known and key not in put}
            put = {key: text for key, text in put.items() if known.get(key) != text}
            if not put and not gone:
                change.note("nothing to do")
                return generation
            _remove(change, gone)
            _put(change, put, known)
            change.connection.execute(sa.update(schema.vault).values(generation=generation + 1))
            change.note(_told(put.keys(), gone))
            return generation + 1

    def pairs(self) -> tuple[CloudPair, ...]:
        """The pairs that stand, sorted by name."""
        with self.book.reading() as connection:
            return tuple(rows.pairs(connection).values())

    def store_at(self, pair: str, enabled_us: int) -> str:
        """The store of an item that was enabled then: a newer one holds for items enabled afterwards (spec D4)."""
        table = schema.pair_stores
        wanted = sa.select(table.c.store).where(table.c.pair == pair, table.c.since_us <= enabled_us)
        with self.book.reading() as connection:
            found = connection.execute(wanted.order_by(table.c.since_us.desc()).limit(1)).scalar_one_or_none()
        return found or ""


def _objects(connection: sa.Connection) -> dict[tuple[Kind, str], str]:
    return {(Kind(row.kind), row.name): row.document for row in connection.execute(sa.select(schema.desired))}


def _checked(one: Desired) -> str:
    """The document in its canonical form; BadInput for one with a secret in it."""
    where = f"{one.kind.value} {one.name[:80]}"
    if not 1 <= len(one.name) <= 255:
        raise BadInput(where, "a name has 1 to 255 characters")
    value = parse(one.document.encode("ascii", "backslashreplace"), where)
    if found := _secret(value):
        raise BadInput(where, f"{found!r} stands in it: a secret belongs into a credential, which the estate names")
    return canonical(value, where).decode("ascii")


def _secret(value: object) -> str:
    level = [value]
    while level:
        one = level.pop()
        if isinstance(one, dict):
            if named := sorted(SECRETS & {str(key).lower() for key in one}):
                return named[0]
            level.extend(one.values())
        elif isinstance(one, list):
            level.extend(one)
    return ""


def _remove(change: Change, gone: Iterable[tuple[Kind, str]]) -> None:
    table = schema.desired
    for kind, name in gone:
        change.connection.execute(sa.delete(table).where(table.c.kind == kind.value, table.c.name == name))
        if kind is Kind.PAIR:
            change.connection.execute(sa.delete(schema.pairs).where(schema.pairs.c.name == name))


def _put(change: Change, put: dict[tuple[Kind, str], str], known: dict[tuple[Kind, str], str]) -> None:
    table = schema.desired
    for (kind, name), text in put.items():
        if kind is Kind.PAIR:
            _save_pair(change, _pair(name, text))
        values = {"document": text, "changed_us": change.now_us}
        if (kind, name) in known:
            same = (table.c.kind == kind.value) & (table.c.name == name)
            change.connection.execute(sa.update(table).where(same).values(**values))
        else:
            change.connection.execute(table.insert().values(kind=kind.value, name=name, **values))


def _pair(name: str, text: str) -> CloudPair:
    registration.check_name(name, "pair")
    value = parse(text.encode(), f"pair {name}")
    told = {
        key: value.get(key) or "" if isinstance(value, dict) else "" for key in ("source", "target", "region", "store")
    }
    if not all(isinstance(one, str) for one in told.values()):
        raise BadInput(f"pair {name}", "source, target, region and store are names")
    return CloudPair(name=name, **told)


def _save_pair(change: Change, pair: CloudPair) -> None:
    connection = change.connection
    known = rows.pairs(connection)
    registration.check_pair(pair, rows.clouds(connection), rows.servers(connection), known)
    if pair.name not in known:
        connection.execute(schema.pairs.insert().values(name=pair.name, region=pair.region, made_us=change.now_us))
        sides = [{"cloud": pair.source, "pair": pair.name, "side": "source"}]
        sides += [{"cloud": pair.target, "pair": pair.name, "side": "target"}] if pair.target else []
        connection.execute(schema.pair_clouds.insert(), sides)
    if pair.store and (pair.name not in known or known[pair.name].store != pair.store):
        row = {"pair": pair.name, "since_us": change.now_us, "store": pair.store}
        connection.execute(schema.pair_stores.insert().values(**row))


def _told(put: Iterable[tuple[Kind, str]], gone: Iterable[tuple[Kind, str]]) -> str:
    said = [f"put {kind.value} {name}" for kind, name in sorted(put)]
    said += [f"removed {kind.value} {name}" for kind, name in sorted(gone)]
    more = f" and {len(said) - 20} more" if len(said) > 20 else ""
    return ", ".join(said[:20]) + more
