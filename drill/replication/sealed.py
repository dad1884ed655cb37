"""Small state files that are wholly there or not: a checksum line, then JSON, replaced atomically.

    drill KIND GENERATION BLAKE3 newline JSON

The digest is of `KIND GENERATION newline JSON`, so that no bit of the file is without it.

Written beside, synced, renamed, and the folder synced: after a crash the file is the old one or the new one (I16).
Each write counts the generation up, so that a file put back from a copy can be told from its successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from blake3 import blake3

from drill.errors import Damaged, Unknown
from drill.ports import Files
from drill.replication import plainjson

T = TypeVar("T")
_HEAD_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class Sealed(Generic[T]):
    """A value with the generation it was written as."""

    generation: int
    value: T


def write(files: Files, path: str, kind: str, shape: type[T], value: T, *, generation: int) -> None:
    """Make `value` the durable content of `path`.

    OSError leaves the old file.  Unknown means that the rename happened and the last sync failed: nobody can say
    which of the two a power failure would show, and the caller must stop (I18).
    """
    text = plainjson.encode(shape, value)
    folder, _, name = path.rpartition("/")
    fresh = f"{folder}/.{name}.new"
    head = b"drill %s %s\n" % (f"{kind} {generation}".encode(), _digest(kind, generation, text))
    files.truncate(fresh, 0)
    files.write(fresh, 0, head + text)
    files.sync(fresh)
    files.replace(fresh, path)
    try:
        files.sync_folder(folder)
    except OSError as error:
        raise Unknown(f"writing {path}", str(error)) from error


def read(files: Files, path: str, kind: str, shape: type[T]) -> Sealed[T] | None:
    """The value at `path`, None when there is no such file.  Damaged when it does not match its checksum."""
    size = files.size(path)
    if size is None:
        return None
    if size > plainjson.LIMIT_BYTES + _HEAD_BYTES_MAX:
        raise Damaged(path, f"{size} bytes, more than any {kind} has")
    head, _, text = files.read(path).partition(b"\n")
    match head.split(b" "):
        case [b"drill", found, number, digest] if found == kind.encode() and number.isdigit() and len(number) < 19:
            generation = int(number)
            if digest != _digest(kind, generation, text) or number != b"%d" % generation:
                raise Damaged(path, "it does not match its checksum")
            return Sealed(generation, plainjson.decode(shape, text, where=path))
        case _:
            raise Damaged(path, f"it is no {kind}")


def _digest(kind: str, generation: int, text: bytes) -> bytes:
    return blake3(f"{kind} {generation}\n".encode() + text).hexdigest().encode()
