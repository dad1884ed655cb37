"""Where a vault is: `sqlite:///FILE`, or a PostgreSQL URL.  A location never holds a password.

    sqlite:////var/lib/drill/vault.sqlite
    postgresql://drill@db.example:5432/vault?credential=vault-db&sslmode=verify-full

`credential` names the credential with the password (drill/vault/credentials.py); what else follows `?` is libpq's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from drill.errors import Usage

PORT: Final = 5432
_LIBPQ: Final = frozenset(
    {"host", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "application_name"}
)
_EXAMPLE: Final = "for example sqlite:////var/lib/drill/vault.sqlite or postgresql://USER@HOST/DATABASE?credential=NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A vault's place; `file` is None for PostgreSQL.  `shown` is the whole of it, as a text."""

    url: sa.URL
    shown: str
    file: Path | None
    credential: str = ""

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port that must be reached; None for a file or a socket in the file system."""
        host = self.url.host
        return (host, self.url.port or PORT) if self.file is None and host else None


def location(text: str) -> Location:
    """The location that a text means; Usage, which never repeats the text's password, for anything else."""
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        raise Usage("the vault's location is no URL", _EXAMPLE) from None
    if url.password is not None or "password" in url.query:
        cure = "put it into a credential (drill vault credential set NAME) and add ?credential=NAME"
        raise Usage("a password stands in the vault's location, where others can see it", cure)
    if url.drivername == "sqlite":
        return _file(url)
    if url.drivername != "postgresql":
        raise Usage(f"a vault cannot be in {url.drivername[:40]!r}", _EXAMPLE)
    unknown = sorted(url.query.keys() - _LIBPQ - {"credential"})
    if unknown or not url.database:
        raise Usage(f"the vault's location: {f'unknown {unknown[0][:40]!r}' if unknown else 'no database'}", _EXAMPLE)
    credential = url.query.get("credential", "")
    bare = url.difference_update_query(["credential"])
    shown = url.render_as_string(hide_password=True)
    return Location(url=bare, shown=shown, file=None, credential=str(credential))


def _file(url: sa.URL) -> Location:
    if not url.database or not Path(url.database).is_absolute() or url.query or url.host:
        raise Usage("the file of a vault is named by its absolute path, and nothing else", _EXAMPLE)
    return Location(url=url, shown=f"sqlite:///{url.database}", file=Path(url.database))


def in_file(file: Path) -> Location:
    """The location of a vault in a file."""
    return location(f"sqlite:///{file.absolute()}")
