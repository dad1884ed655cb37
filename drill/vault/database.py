"""The vault's database: SQLite in a file that only its owner can read, or PostgreSQL by URL.

Both are used alike: a transaction that only looks, or one that writes, of which there is one at a time (SQLite's
IMMEDIATE; an advisory lock in PostgreSQL).  So nothing is decided on what another writer is about to change, and the
audit log has one order.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from drill.errors import Damaged, DrillError, Failed, Refused, Unknown, Unreachable, Unsupported, Usage
from drill.vault.location import Location

BUSY_SECONDS: Final = 30
CONNECT_SECONDS: Final = 10
_WRITER_LOCK: Final = 0x6472696C6C  # "drill", the number of the advisory lock
_RUINED: Final = ("file is not a database", "database disk image is malformed")  # SQLite's own words
_POSTGRES_OPTIONS: Final = f"-c lock_timeout={BUSY_SECONDS}s -c statement_timeout=60s -c timezone=UTC"


class Database:
    """An open database; its schema is not looked at here (drill/vault/migrate.py).

    Opening makes no connection.  Errors of both transactions: Unreachable when nothing answers, Failed when the
    database refuses (nothing was written), Unknown when the connection was lost while it was committing, Damaged for
    a file that is no database.
    """

    def __init__(self, location: Location, *, through: tuple[str, int] | None = None, password: str = "") -> None:
        self.location = location
        if location.file is not None:
            self.engine = _sqlite(location.file)
        else:
            self.engine = _postgresql(location, through, password)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state and writes nothing."""
        with self._begun(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """The only transaction that writes, committed at the end of the block and undone by whatever it raises."""
        with self._begun(writes=True) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITER_LOCK})
            yield connection

    @contextmanager
    def rebuilding(self) -> Iterator[sa.Connection]:
        """As `writing`, for a migration: SQLite rebuilds a table by dropping it, which must take no other rows along.

        Foreign keys are checked at the end instead.
        """
        is_file = self.location.file is not None
        if is_file:
            self.engine.dispose()
            event.listen(self.engine, "connect", _unchecked)
        try:
            with self.writing() as connection:
                yield connection
                if is_file and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise Damaged("the vault", "a row refers to one that is not there")
        finally:
            if is_file:
                event.remove(self.engine, "connect", _unchecked)
                self.engine.dispose()

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    @contextmanager
    def _begun(self, *, writes: bool) -> Iterator[sa.Connection]:
        if self.location.file is not None:
            check_private(self.location.file)
        try:
            raw = self.engine.connect()
        except exc.DBAPIError as error:
            raise self._unreachable(error) from None
        committing = False
        with raw, self._with_options(raw, writes=writes) as connection:
            try:
                transaction = connection.begin()
                try:
                    yield connection
                    committing = True
                    transaction.commit()
                except BaseException:
                    if transaction.is_active:
                        transaction.rollback()
                    raise
            except exc.DBAPIError as error:
                raise self._meaning(error, lost=committing and writes) from None

    def _with_options(self, connection: sa.Connection, *, writes: bool) -> sa.Connection:
        """A writer of PostgreSQL must not see the state of before it had the lock, as REPEATABLE READ would show it."""
        if self.location.file is not None:
            return connection.execution_options(drill_writes=writes)
        return connection.execution_options(isolation_level="READ COMMITTED" if writes else "REPEATABLE READ")

    def _unreachable(self, error: exc.DBAPIError) -> DrillError:
        if self.location.file is not None:
            return self._meaning(error, lost=False)
        return Unreachable("the vault", self.location.shown, _first_line(error))

    def _meaning(self, error: exc.DBAPIError, *, lost: bool) -> DrillError:
        """What a database's error means; its words may quote values, so they are cut to the first line."""
        said = _first_line(error)
        if any(word in said for word in _RUINED):
            return Damaged("the vault", f"{self.location.shown}: {said}")
        if lost and error.connection_invalidated:
            return Unknown("writing to the vault", said)
        if error.connection_invalidated and self.location.file is None:
            return self._unreachable(error)
        return Failed("working with the vault", said, "mend the database, then do it again")


def _unchecked(connection: sqlite3.Connection, record: object) -> None:
    del record
    connection.execute("PRAGMA foreign_keys=OFF")


def check_private(file: Path) -> None:
    """Refused when somebody else could read the vault or its journals; Usage when there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        raise Usage(f"there is no vault in {file}", "drill vault create NAME --region REGION") from None
    if status.st_mode & 0o077:
        raise Refused(f"{file} can be read by others", cure=f"chmod 600 {file}")


def make_private(file: Path) -> None:
    """Make the file of a new vault, for its owner only; Refused when there is one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        raise Refused(f"{file} exists", cure="drill vault show tells what is in it") from None
    except OSError as error:
        raise Failed(f"making {file}", str(error)) from error


def _sqlite(file: Path) -> sa.Engine:
    """WAL, foreign keys, a patient lock; the driver begins no transaction by itself, so that ours say which kind."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(file)),
        connect_args={"timeout": float(BUSY_SECONDS), "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, record: object) -> None:
        del record
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("drill_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(location: Location, through: tuple[str, int] | None, password: str) -> sa.Engine:
    """`through` is where a tunnel to the server begins; TLS is still checked against the server's own name."""
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "options": _POSTGRES_OPTIONS}
    if password:
        arguments["password"] = password
    if through is not None:
        arguments |= {"hostaddr": through[0], "port": through[1]}
    try:
        return sa.create_engine(
            location.url.set(drivername="postgresql+psycopg"),
            connect_args=arguments,
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise Unsupported("psycopg", "a vault in PostgreSQL needs it", "pip install 'dr-drill[postgresql]'") from error


def _first_line(error: exc.DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0][:300] if lines else type(error.orig).__name__
