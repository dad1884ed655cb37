"""Named credentials: secrets in files that only their owner can read, known everywhere else by their names (spec B7).

An estate, the vault, an argument and the log name a credential; its secret is read where it is used, and only then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drill.core.registration import check_name
from drill.errors import BadInput, Refused, Usage
from drill.identity.bundle import write_private

SECRET_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials in a folder."""

    folder: Path

    def set(self, name: str, secret: bytes) -> None:
        """Keep a secret under a name; one of that name is replaced.  A newline at its end is no part of it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file(name), _checked(secret.removesuffix(b"\n"), f"credential {name}"))

    def get(self, name: str) -> str:
        """The secret; Usage when there is none of that name, Refused when others can read it."""
        file = self._file(name)
        try:
            if file.stat().st_mode & 0o077:
                raise Refused(f"the credential {name} can be read by others", "B7", f"chmod 600 {file}, and change it")
            with file.open("rb") as opened:
                content = opened.read(SECRET_BYTES_MAX + 1)
        except FileNotFoundError:
            raise Usage(f"there is no credential {name}", f"drill vault credential set {name}") from None
        return _checked(content, f"credential {name}").decode()

    def remove(self, name: str) -> None:
        """Forget a secret; Usage when there is none of that name."""
        try:
            self._file(name).unlink()
        except FileNotFoundError:
            raise Usage(f"there is no credential {name}", "drill vault credential list shows them") from None

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(file.name for file in self.folder.iterdir() if not file.name.startswith(".")))

    def _file(self, name: str) -> Path:
        check_name(name, "credential")
        return self.folder / name


def _checked(secret: bytes, where: str) -> bytes:
    """The secret, when it is one line of text; the error never repeats it."""
    if not 1 <= len(secret) <= SECRET_BYTES_MAX:
        raise BadInput(where, f"a secret has 1 to {SECRET_BYTES_MAX} bytes")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        raise BadInput(where, "a secret is text in UTF-8") from None
    if not text.isprintable():
        raise BadInput(where, "a secret is one line without control characters")
    return secret
