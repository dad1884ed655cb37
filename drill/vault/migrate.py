"""The vault's schema, brought forward: from nothing, from an older version; a newer one is refused.

A migration is one transaction: it happens wholly or not at all.  Opening a vault migrates nothing, since a controller
of an older version may be at work on it; `drill vault upgrade` does.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from drill.errors import Damaged, Refused
from drill.vault.database import Database

REVISIONS: Final = ("0001", "0002")
"""All versions of the schema, oldest first; each has its file in migrations/versions."""
NEWEST: Final = REVISIONS[-1]
_FOLDER: Final = Path(__file__).parent / "migrations"


def revision(connection: sa.Connection) -> str:
    """The version of the schema that stands there; empty where there is no vault."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    if len(found) != 1:
        raise Damaged("the vault", f"it names {len(found)} versions of its schema")
    return str(found[0])


def check(connection: sa.Connection, shown: str) -> None:
    """Refused unless the schema is this version's; Refused names what to do about an older, a newer or no vault."""
    found = revision(connection)
    if not found:
        raise Refused(f"there is no vault in {shown}", cure="drill vault create NAME --region REGION")
    if found not in REVISIONS:
        raise Refused(
            f"the vault in {shown} was written by a newer drill (schema {found[:40]!r}, this one knows {NEWEST})",
            cure="use the newer drill on every controller",
        )
    if found != NEWEST:
        raise Refused(
            f"the vault in {shown} has schema {found}, this drill needs {NEWEST}",
            cure="stop the other controllers, then: drill vault upgrade",
        )


def forward(database: Database, to: str = NEWEST) -> str:
    """Bring the schema to version `to`; the version it had.  Refused for one that is newer than this drill's.

    A file is copied beside itself first, as `NAME.before-VERSION`, where it held a vault.
    """
    with database.reading() as connection:
        found = revision(connection)
        if found and found not in REVISIONS:
            check(connection, database.location.shown)
    if found and REVISIONS.index(found) >= REVISIONS.index(to):
        return found
    if found and database.location.file is not None:
        _copy(database.location.file, to)
    _migrate(database, to)
    return found


def _migrate(database: Database, to: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    with database.rebuilding() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _copy(file: Path, to: str) -> None:
    """A whole copy of a database that others may have open, for its owner only."""
    target = file.with_name(f"{file.name}.before-{to}")
    target.touch(mode=0o600, exist_ok=True)
    target.chmod(0o600)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
