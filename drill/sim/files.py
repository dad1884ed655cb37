"""Files with the durability that a system gives, and no more (the Files port).

A file has *current* pages, which everybody reads, and *pending* writes, which a power failure may lose.  Names are the
same: a folder has entries, and pending changes of them until the folder is synced.  `lose_power` keeps of everything
pending a random legal part: none, all, some, a write torn into sectors, a size without its data, a name without a
file's content or a content without its name.

A failed sync is final (guarantees § 1, fact 10).  Of a file: what was pending is marked clean; the part of it that
reached the disk is decided then and there, and no later sync brings the rest back, though everybody still reads it.  Of
a folder: either the same, or the file system's journal has failed, and it stays read-only until it is mounted again
(`lose_power`).
"""

from __future__ import annotations

import errno
from collections import Counter
from functools import lru_cache
from random import Random

from drill.errors import BadInput, Refused
from drill.sim.content import PAGE, ZERO_PAGE
from drill.sim.inode import PUNCH, SECTOR, SIZE, WRITE, Change, Folder, Inode, apply, survives
from drill.sim.process import Killed, Process


class SimFiles:
    """The Files port.  `process` is who uses it; `room` is how many pages are left, None for no limit.

    `version` counts changes.  `failed_syncs`, `retried_syncs` and `times_full` count what an oracle asks about; a
    retried sync is one of a file whose last sync failed and to which nothing was written since.  `doubted` are names
    that a rename gave to another file when the sync after it failed: nobody knows which one a power failure would show,
    and `replaced_in_doubt` counts files that were put in their place all the same.
    """

    def __init__(self, process: Process, rng: Random, name: str = "sim") -> None:
        self.process = process
        self.room: int | None = None
        self.version = 0
        self.retried_syncs = 0
        self.failed_syncs = 0
        self.doubted: set[str] = set()
        self.replaced_in_doubt = 0
        self.times_full = 0
        self.read_only = False
        self.losses: Counter[str] = Counter()
        self._rng = rng
        self._name = name
        self._tree: dict[str, Folder] = {"": Folder()}
        self._claims: dict[str, Process] = {}

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from `offset`; short only at the end of the file."""
        if self.process.armed:
            self.process.ask_for("open", path)
            self.process.ask("read", path)
        inode = self._get(path)
        end = inode.size if length is None else min(inode.size, offset + length)
        if end <= offset:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        get, inside = inode.pages.get, offset % PAGE
        if first == last:
            return get(first, ZERO_PAGE)[inside : inside + end - offset]
        found = [get(number) for number in range(first, last + 1)]
        if not any(found):
            return _HOLE if end - offset == len(_HOLE) else bytes(end - offset)
        data = b"".join([page or ZERO_PAGE for page in found])
        return data if len(data) == end - offset else data[inside : inside + end - offset]

    def write(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`, or a part of it before an error."""
        inode, found = self._make(path), bytes(data)
        if self.process.armed or self.read_only:
            self._write_in_part(inode, path, offset, found)
        if self.room is not None:
            found = self._fit(inode, path, offset, found)
        self._write(inode, offset, found)
        if self.process.armed:
            self.process.ask_for("close", path)

    def next_data(self, path: str, offset: int) -> int | None:
        """The first page that is there, from that of `offset` on."""
        if self.process.armed:
            self.process.ask_for("open", path)
        inode, first = self._get(path), offset // PAGE
        if offset >= inode.size:
            return None
        found = min((number for number in inode.pages if number >= first), default=None)
        return None if found is None else max(offset, found * PAGE)

    def truncate(self, path: str, size: int) -> None:
        """Set the size; the file is created when missing."""
        inode = self._make(path)
        if self.process.armed or self.read_only:
            self._ask("truncate", path)
        self._changed(inode)
        pages = len(inode.pages)
        inode.resize(size)
        if self.room is not None:
            self.room += pages - len(inode.pages)
        inode.pending.append(Change(SIZE, size, 0, b""))

    def punch(self, path: str, offset: int, length: int) -> None:
        """Make a range read as zeros."""
        inode = self._get(path)
        if self.process.armed or self.read_only:
            self._ask("punch", path)
        self._changed(inode)
        inode.punch(offset, length)
        inode.pending.append(Change(PUNCH, offset, length, b""))

    def sync(self, path: str) -> None:
        """Make the content of a file durable, unless a sync of it failed before."""
        inode = self._get(path)
        if self.process.armed or self.read_only:
            self._open_to_sync(path)
            try:
                self._ask("sync", path)
            except OSError:
                self._doom(inode)
                raise
            if inode.pending and self.process.spoils(f"device {path.rpartition('.')[2]}", path):
                inode.misplace(self._rng)
        self.version += 1
        if not inode.sync_failed:
            inode.settled()
        else:
            self.retried_syncs += inode.synced_after_failure()

    def sync_folder(self, path: str) -> None:
        """Make names in a folder durable, unless a sync of it failed before."""
        folder = self._folder(path)
        if self.process.armed or self.read_only:
            self._open_to_sync(path)
            try:
                self._ask("sync_folder", path)
            except OSError:
                self.failed_syncs += 1
                self.doubted.update(f"{path}/{effects[1][0]}" for effects in folder.pending if len(effects) == 2)
                if self._rng.random() < 0.5:
                    self.read_only = True
                else:
                    folder.doom(self._rng)
                raise
        self.version += 1
        self.retried_syncs += folder.synced()

    def replace(self, source: str, target: str) -> None:
        """Atomically rename within a folder."""
        folder, _, name = source.rpartition("/")
        where, _, goal = target.rpartition("/")
        if folder != where:
            raise BadInput(f"path {target!r}", "the simulated files rename within one folder")
        inode = self._get(source)
        if self.process.armed or self.read_only:
            self._ask("replace", target)
        self.version += 1
        self.replaced_in_doubt += target in self.doubted
        self._tree[folder].change((name, None), (goal, inode))

    def remove(self, path: str) -> None:
        """Unlink a file."""
        folder, _, name = path.rpartition("/")
        inode = self._get(path)
        if self.process.armed or self.read_only:
            self._ask("remove", path)
        self.version += 1
        self._tree[folder].change((name, None))
        if self.room is not None:
            self.room += len(inode.pages)

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents."""
        at = ""
        for part in _checked(path).split("/"):
            parent, at = at, f"{at}/{part}" if at else part
            if at not in self._tree:
                if self.process.armed or self.read_only:
                    self._ask("make_folder", path)
                self.version += 1
                self._tree[at] = Folder()
                self._tree[parent].change((part, self._tree[at]))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        folder = self._folder(path)
        if folder.entries:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        if self.process.armed or self.read_only:
            self._ask("remove_folder", path)
        self.version += 1
        parent, _, name = path.rpartition("/")
        del self._tree[path]
        self._tree[parent].change((name, None))

    def list(self, path: str) -> tuple[str, ...]:
        """Names in a folder, sorted."""
        if self.process.armed:
            self.process.ask_for("open", path)
            self.process.ask("list", path)
        return tuple(sorted(self._folder(path).entries))

    def size(self, path: str) -> int | None:
        """Size in bytes, None when there is no such file."""
        if self.process.armed:
            self.process.ask("size", path)
        folder, _, name = path.rpartition("/")
        found = self._tree.get(folder, _NO_FOLDER).entries.get(name)
        return found.size if isinstance(found, Inode) else None

    def locate(self, path: str) -> str:
        """A path that SimImages knows to be ours."""
        return f"/{self._name}/{_checked(path)}"

    def claim(self, name: str) -> None:
        """Hold the tree until the process is killed."""
        if self.process.armed:
            self.process.ask_for("open", name)
            self.process.ask("claim", name)
        holder = self._claims.get(name)
        if holder is not None and holder.alive:
            raise Refused(f"another agent has {self._name}", cure="stop it, or name another folder")
        self._claims[name] = self.process

    def inode(self, path: str) -> Inode:
        """The file itself, for the simulation's own parts: no process is asked."""
        return self._get(path)

    def fingerprint(self, path: str) -> int:
        """A number for the content of a file."""
        inode = self._get(path)
        return hash((inode.size, frozenset(item for item in inode.pages.items() if item[1] != ZERO_PAGE)))

    def paths(self) -> frozenset[str]:
        """Every file there is now."""
        return frozenset(
            f"{folder}/{name}" if folder else name
            for folder, found in self._tree.items()
            for name, entry in found.entries.items()
            if isinstance(entry, Inode)
        )

    def certain(self, path: str) -> bool:
        """Whether a power failure now would leave this file with the name and the content it has."""
        while True:
            folder, _, name = path.rpartition("/")
            found = self._tree[folder]
            entry = found.entries.get(name)
            if entry is None or found.durable.get(name) is not entry:
                return False
            if isinstance(entry, Inode) and entry.pending:
                return False
            if not folder:
                return True
            path = folder

    def used(self, path: str) -> int:
        """How much of a file there is before nothing but holes, at least a byte."""
        inode = self._get(path)
        last = max((n for n, page in inode.pages.items() if page != ZERO_PAGE), default=0)
        return max(1, min(inode.size, last * PAGE + len(inode.pages.get(last, b"").rstrip(b"\0"))))

    def flip(self, path: str, offset: int, bit: int) -> None:
        """One bit rots, in what is read and in what is durable."""
        inode = self._get(path)
        number, inside = divmod(offset, PAGE)
        page = bytearray(inode.pages.get(number, ZERO_PAGE))
        page[inside] ^= 1 << bit
        inode.pages[number] = bytes(page)
        inode.version += 1
        self.version += 1

    def lose_power(self) -> None:
        """Keep what is durable, and a legal part of what is not; mount anew.  Nobody uses the files meanwhile.

        `losses` counts what the failure did, by kind: a name, a write, a part of a write, an older write alone.
        """
        self.version += 1
        self.read_only = False
        tree: dict[str, Folder] = {}
        self._settle_folder("", self._tree[""], tree)
        self._tree = tree

    def twin(self, rng: Random) -> SimFiles:
        """The same files with all that is pending, in a world of their own whose power fails by `rng`."""
        found = SimFiles(Process(_unnoted), rng, self._name)
        found._tree = {}
        twins: dict[int, Inode | Folder] = {}
        _twin_folder("", self._tree[""], found._tree, twins)
        return found

    def become(self, twin: SimFiles) -> None:
        """Be what a twin is; the twin is used up."""
        self.version += 1
        self._tree = twin._tree

    def copied(self) -> dict[str, Folder]:
        """The whole tree as it is now, to be put back another day."""
        found: dict[str, Folder] = {}
        _copy_folder("", self._tree[""], found)
        return found

    def put_back(self, copy: dict[str, Folder]) -> None:
        """Another day's tree in the place of this one; `copy` stays as it is."""
        self.version += 1
        found: dict[str, Folder] = {}
        _copy_folder("", copy[""], found)
        self._tree = found

    def older(self, copy: dict[str, Folder]) -> frozenset[str]:
        """Files that are here and in the copy, with another content there."""
        return frozenset(
            path for path in self.paths() if (twin := _of_copy(copy, path)) and twin.pages != self._get(path).pages
        )

    def put_back_one(self, copy: dict[str, Folder], path: str) -> None:
        """Another day's content of one file, durably."""
        twin, folder = _of_copy(copy, path), path.rpartition("/")[0]
        if twin is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        self.version += 1
        name = path.rpartition("/")[2]
        for entries in (self._tree[folder].entries, self._tree[folder].durable):
            entries[name] = twin.copy()
        self._tree[folder].durable[name] = self._tree[folder].entries[name]

    def empty(self) -> None:
        """Everything is gone, durably."""
        self.version += 1
        self._tree = {"": Folder()}

    def _settle_folder(self, path: str, folder: Folder, tree: dict[str, Folder]) -> None:
        whim = self._rng.random() if folder.pending else 0.0
        for effects in folder.pending:
            if survives(self._rng, whim):
                apply(folder.durable, effects)
            else:
                self.losses["name lost"] += 1
        folder.pending.clear()
        folder.sync_failed = False
        folder.entries = dict(folder.durable)
        tree[path] = folder
        for name, found in folder.entries.items():
            if isinstance(found, Folder):
                self._settle_folder(f"{path}/{name}" if path else name, found, tree)
            elif found.pending or found.device:
                found.lose_power(self._rng, self.losses)

    def _doom(self, inode: Inode) -> None:
        self.failed_syncs += 1
        inode.doom(self._rng)

    def _write(self, inode: Inode, offset: int, data: bytes) -> None:
        self._changed(inode)
        inode.put(offset, data)
        inode.pending.append(Change(WRITE, offset, 0, data))

    def _write_in_part(self, inode: Inode, path: str, offset: int, data: bytes) -> None:
        """What may go wrong with a write: nothing of it is done, or a part of it, before the error."""
        was_alive = self.process.alive
        self.process.ask_for("open", path)
        try:
            self._ask("write", path)
        except (OSError, Killed, MemoryError):
            if was_alive and not self.read_only:
                self._write(inode, offset, data[: self._rng.randrange(len(data) + 1) // SECTOR * SECTOR])
            raise

    def _open_to_sync(self, path: str) -> None:
        """A sync that has no descriptor is a failed one too, but nothing is marked clean by it."""
        try:
            self.process.ask_for("open", path)
        except OSError:
            self.failed_syncs += 1
            raise

    def _fit(self, inode: Inode, path: str, offset: int, data: bytes) -> bytes:
        """The data when there is room for it; else a part of it is written and ENOSPC raised."""
        first, last = offset // PAGE, (offset + max(len(data), 1) - 1) // PAGE
        fresh = [number for number in range(first, last + 1) if number not in inode.pages]
        room = self.room or 0
        if len(fresh) <= room:
            self.room = room - len(fresh)
            return data
        self._write(inode, offset, data[: max(0, fresh[room] * PAGE - offset)])
        self.room = 0
        self.times_full += 1
        self.process.noted("disk full")
        raise OSError(errno.ENOSPC, "no space left on device (simulated)", path)

    def _ask(self, operation: str, path: str) -> None:
        """Before a change: what is planned for it, and whether there may be changes at all."""
        self.process.ask(operation, path)
        if self.read_only:
            raise OSError(errno.EROFS, "Read-only file system", path)

    def _changed(self, inode: Inode) -> None:
        self.version += 1
        inode.version += 1

    def _get(self, path: str) -> Inode:
        folder, _, name = path.rpartition("/")
        found = self._tree.get(folder, _NO_FOLDER).entries.get(name)
        if not isinstance(found, Inode):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return found

    def _make(self, path: str) -> Inode:
        parent, _, name = path.rpartition("/")
        folder = self._tree.get(parent)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", _checked(path))
        found = folder.entries.get(name)
        if found is None:
            _checked(path)
            if self.process.armed or self.read_only:
                self._ask("create", path)
            self.version += 1
            found = Inode()
            folder.change((name, found))
        if not isinstance(found, Inode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return found

    def _folder(self, path: str) -> Folder:
        if path not in self._tree:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self._tree[path]


_NO_FOLDER = Folder()
_HOLE = bytes(1 << 16)
"""What reading a hole most often gives: one for all."""


@lru_cache(maxsize=4096)
def _checked(path: str) -> str:
    if path and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
        raise BadInput(f"path {path!r}", "it may leave its folder")
    return path


def _unnoted(_kind: str) -> None:
    """Nobody counts."""


def _twin_folder(path: str, folder: Folder, tree: dict[str, Folder], twins: dict[int, Inode | Folder]) -> Folder:
    """A folder with what is below it; what only the durable side knows of comes along."""
    twin = twins[id(folder)] = tree[path] = Folder()

    def copy(name: str, entry: Inode | Folder) -> Inode | Folder:
        known = twins.get(id(entry))
        if known is None and isinstance(entry, Inode):
            known = twins[id(entry)] = entry.twin()
        elif known is None and isinstance(entry, Folder):
            known = _twin_folder(f"{path}/{name}" if path else name, entry, tree, twins)
        return known or Folder()

    twin.entries = {name: copy(name, entry) for name, entry in folder.entries.items()}
    twin.durable = {name: copy(name, entry) for name, entry in folder.durable.items()}
    twin.sync_failed = folder.sync_failed
    twin.pending = [tuple((name, entry and copy(name, entry)) for name, entry in effects) for effects in folder.pending]
    return twin


def _of_copy(copy: dict[str, Folder], path: str) -> Inode | None:
    folder, _, name = path.rpartition("/")
    found = copy[folder].entries.get(name) if folder in copy else None
    return found if isinstance(found, Inode) else None


def _copy_folder(path: str, folder: Folder, into: dict[str, Folder]) -> None:
    twin = into[path] = Folder()
    for name, found in folder.entries.items():
        if isinstance(found, Inode):
            twin.entries[name] = found.copy()
        else:
            below = f"{path}/{name}" if path else name
            _copy_folder(below, found, into)
            twin.entries[name] = into[below]
    twin.durable = dict(twin.entries)
