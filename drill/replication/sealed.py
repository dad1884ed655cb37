"""Small state files that are wholly there or not: a checksum line, then JSON, replaced atomically.

    drill KIND GENERATION BLAKE3-OF-THE-JSON newline JSON

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
    head = f"drill {kind} {generation} {blake3(text).hexdigest()}\n".encode()
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
    if files.size(path) is None:
        return None
    head, _, text = files.read(path).partition(b"\n")
    match head.split(b" "):
        case [b"drill", found, generation, digest] if found == kind.encode() and generation.isdigit():
            if digest != blake3(text).hexdigest().encode():
                raise Damaged(path, "it does not match its checksum")
            return Sealed(int(generation), plainjson.decode(shape, text, where=path))
        case _:
            raise Damaged(path, f"it is no {kind}")
