"""The Files port in memory, for tests: the same contract as the real one, faults on demand, and power failures.

`fail` is asked before every operation that changes something, with its name and path; what it raises happens.
`lose_power` keeps what was synced and, of the rest, either the names, or the data, or neither: the three ways in which
a missing fsync of a file or of its folder shows.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from drill.errors import Refused


def _nothing(operation: str, path: str) -> None:
    """No fault."""


class Inode:
    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = b""


class MemoryFiles:
    def __init__(self) -> None:
        self.inodes: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.folders: set[str] = {""}
        self.durable_folders: set[str] = {""}
        self.claims: set[str] = set()
        self.fail: Callable[[str, str], None] = _nothing

    @property
    def content(self) -> dict[str, bytearray]:
        """What is there now, by path."""
        return {path: inode.data for path, inode in self.inodes.items()}

    def paths(self) -> frozenset[str]:
        """Every file there is now."""
        return frozenset(self.inodes)

    def put_back(self, content: dict[str, bytes]) -> None:
        """Another state altogether, all of it durable."""
        self.inodes = {path: Inode() for path in content}
        for path, data in content.items():
            self.inodes[path].data[:] = data
            self.inodes[path].durable = data
        self.durable_names = dict(self.inodes)

    def lose_power(self, *, names_survive: bool, data_survives: bool) -> None:
        """What was not synced is lost, but for what is said to survive."""
        if not names_survive:
            self.folders = set(self.durable_folders)
            kept = self.durable_names.items()
            self.inodes = {path: inode for path, inode in kept if path.rpartition("/")[0] in self.folders}
        for inode in self.inodes.values():
            if not data_survives:
                inode.data[:] = inode.durable
            inode.durable = bytes(inode.data)
        self.durable_names = dict(self.inodes)
        self.durable_folders = set(self.folders)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._get(path).data
        return bytes(data[offset:] if length is None else data[offset : offset + length])

    def write(self, path: str, offset: int, data: bytes | memoryview) -> None:
        self.fail("write", path)
        file = self._make(path).data
        if len(file) < offset:
            file.extend(bytes(offset - len(file)))
        file[offset : offset + len(data)] = data

    def truncate(self, path: str, size: int) -> None:
        self.fail("truncate", path)
        file = self._make(path).data
        if size < len(file):
            del file[size:]
        else:
            file.extend(bytes(size - len(file)))

    def punch(self, path: str, offset: int, length: int) -> None:
        self.fail("punch", path)
        file = self._get(path).data
        end = min(offset + length, len(file))
        if end > offset:
            file[offset:end] = bytes(end - offset)

    def sync(self, path: str) -> None:
        self.fail("sync", path)
        inode = self._get(path)
        inode.durable = bytes(inode.data)

    def sync_folder(self, path: str) -> None:
        self.fail("sync_folder", path)
        self._folder(path)
        here = {name for name in (*self.inodes, *self.durable_names) if name.rpartition("/")[0] == path}
        for name in here:
            if name in self.inodes:
                self.durable_names[name] = self.inodes[name]
            else:
                del self.durable_names[name]
        self.durable_folders -= {name for name in self.durable_folders if name and name.rpartition("/")[0] == path}
        self.durable_folders |= {name for name in self.folders if name.rpartition("/")[0] == path}

    def replace(self, source: str, target: str) -> None:
        self.fail("replace", target)
        self.inodes[target] = self._get(source)
        del self.inodes[source]

    def remove(self, path: str) -> None:
        self.fail("remove", path)
        self._get(path)
        del self.inodes[path]

    def make_folder(self, path: str) -> None:
        parts = path.split("/")
        self.folders |= {"/".join(parts[: count + 1]) for count in range(len(parts))}

    def remove_folder(self, path: str) -> None:
        if self.list(path):
            raise OSError(errno.ENOTEMPTY, "the folder is not empty", path)
        self.folders.remove(path)

    def list(self, path: str) -> tuple[str, ...]:
        self._folder(path)
        below = f"{path}/" if path else ""
        every = [*self.inodes, *self.folders]
        names = {name.removeprefix(below).split("/")[0] for name in every if name.startswith(below)}
        return tuple(sorted(names - {""}))

    def size(self, path: str) -> int | None:
        return len(self.inodes[path].data) if path in self.inodes else None

    def next_data(self, path: str, offset: int) -> int | None:
        data = self._get(path).data
        return next((at for at in range(offset, len(data)) if data[at]), None)

    def locate(self, path: str) -> str:
        return f"/memory/{path}"

    def claim(self, name: str) -> None:
        if name in self.claims:
            raise Refused("another agent has the memory", cure="stop it")
        self.claims.add(name)

    def _get(self, path: str) -> Inode:
        if path not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return self.inodes[path]

    def _make(self, path: str) -> Inode:
        self._folder(path.rpartition("/")[0])
        return self.inodes.setdefault(path, Inode())

    def _folder(self, path: str) -> None:
        if path not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
