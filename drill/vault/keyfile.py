"""The file in which a registration key travels: clear text for its reader, and the key (docs/formats.md).

    drill registration key 1
    # It registers the server ny-controller with the vault shop, once, until 2026-11-26 03:15:00 UTC.
    vault: shop
    …
    check: 5e0c…

Every line but those that begin with `#` counts; the last one is the SHA-256 of all before it, so that a file that was
cut, mangled on its way or edited is refused before anything is asked.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from drill.core.instants import instant
from drill.core.registration import ANOTHER_KEY
from drill.errors import BadInput, Refused, Usage
from drill.identity.bundle import write_private

FIRST_LINE: Final = "drill registration key 1"
FILE_BYTES_MAX: Final = 4096
_TEXTS: Final = {
    "vault": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
    "vault_id": re.compile(r"[0-9a-f]{32}"),
    "location": re.compile(r"[\x21-\x7e]{1,500}"),
    "server": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
    "key": re.compile(r"[0-9a-f]{16}"),
    "secret": re.compile(r"[0-9a-f]{64}"),
    "made_us": re.compile(r"[1-9][0-9]{0,16}"),
    "expires_us": re.compile(r"[1-9][0-9]{0,16}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """What a key file holds; `secret` is shown by nothing but `text`."""

    vault: str
    vault_id: str
    location: str
    server: str
    key: str
    secret: str
    made_us: int
    expires_us: int

    def __repr__(self) -> str:
        return f"KeyFile(server={self.server!r}, key={self.key!r})"

    def text(self) -> str:
        """The file's content."""
        head = (
            f"{FIRST_LINE}\n"
            f"# It registers the server {self.server} with the vault {self.vault}, once, until "
            f"{instant(self.expires_us)}.\n"
            "# Whoever has it can register: keep it for yourself, and delete it afterwards.  If it has expired,\n"
            f"# {ANOTHER_KEY.format(server=self.server)}\n"
        )
        body = head + "".join(f"{one.name}: {getattr(self, one.name)}\n" for one in fields(self))
        return f"{body}check: {hashlib.sha256(body.encode()).hexdigest()}\n"


def check_absent(file: Path) -> None:
    """Refused where a file is already, Usage where none can be."""
    if file.is_symlink() or file.exists():
        raise Refused(f"{file} exists", cure="name a file that does not exist yet")
    if not file.parent.is_dir():
        raise Usage(f"there is no folder {file.parent}", "name a file in a folder that exists")


def write(file: Path, key: KeyFile) -> None:
    """Write a key where only its owner can read it; Refused where a file is already."""
    check_absent(file)
    write_private(file, key.text().encode())


def read(file: Path) -> KeyFile:
    """The key in a file.  Refused for one that others can read, BadInput for what is no key, Usage for no file."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Usage(f"there is no key file {file}", "drill vault key make, on the vault") from None
    except OSError as error:
        raise BadInput(str(file), f"cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as opened:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(str(file), "not a plain file")
        if status.st_mode & 0o077:
            raise Refused(f"{file} can be read by others", "B2", f"chmod 600 {file}, if nobody has read it")
        content = opened.read(FILE_BYTES_MAX + 1)
    return parse(content, str(file))


def parse(content: bytes, where: str) -> KeyFile:
    """The key in a file's content; BadInput, which never repeats what stands there, for anything else."""
    if len(content) > FILE_BYTES_MAX:
        raise BadInput(where, f"longer than {FILE_BYTES_MAX} bytes, which no registration key is")
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise BadInput(where, "not ASCII, so no registration key") from None
    if not text.startswith(f"{FIRST_LINE}\n"):
        raise BadInput(where, f"not a registration key of this version: its first line is not {FIRST_LINE!r}")
    body, _, check = text.rpartition("check: ")
    if check != f"{hashlib.sha256(body.encode()).hexdigest()}\n":
        raise BadInput(where, "it was cut or changed: its check does not match")
    return _key(body.split("\n")[1:-1], where)


def _key(lines: list[str], where: str) -> KeyFile:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(": ")
        if not colon or name not in _TEXTS or name in found:
            raise BadInput(f"{where}:{number}", "not a line of a registration key, or one that stands there twice")
        if not _TEXTS[name].fullmatch(value):
            raise BadInput(f"{where}:{number}", f"not a {name} as a registration key has it")
        found[name] = value
    if missing := sorted(_TEXTS.keys() - found.keys()):
        raise BadInput(where, f"it says nothing of {', '.join(missing)}")
    made_us, expires_us = int(found.pop("made_us")), int(found.pop("expires_us"))
    if expires_us <= made_us:
        raise BadInput(where, "it expires before it was made")
    return KeyFile(**found, made_us=made_us, expires_us=expires_us)
