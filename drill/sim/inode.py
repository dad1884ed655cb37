"""A file and a folder as the simulated file system has them: what everybody reads, and what a power failure leaves."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TypeAlias

from drill.sim.content import PAGE, ZERO_PAGE

SECTOR = 512
WRITE, SIZE, PUNCH = range(3)
_PENDING, _KEPT, _DOOMED = range(3)
_LOST_WHOLE, _KEPT_WHOLE, _TORN = 0.3, 0.45, 0.7


def survives(rng: Random, whim: float) -> bool:
    """Whether one pending change outlives a power failure of this `whim`: none of them does, all do, or each by lot."""
    return whim > _LOST_WHOLE and (whim < _KEPT_WHOLE or rng.random() < 0.5)


class Change:
    """One change of a file or folder that is not certain to be durable."""

    __slots__ = ("data", "kind", "length", "offset", "state")

    def __init__(self, kind: int, offset: int, length: int, data: bytes) -> None:
        self.kind = kind
        self.offset = offset
        self.length = length
        self.data = data
        self.state = _PENDING


class Inode:
    """A file: what everybody reads, what is pending, and the pages that were there before it.

    `device` has pages of which the device holds something else, though it said that all is written: they are read
    from memory until the power fails.
    """

    __slots__ = ("before", "before_size", "device", "pages", "pending", "size", "sync_failed", "version")

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.size = 0
        self.pending: list[Change] = []
        self.before: dict[int, bytes | None] = {}
        self.before_size = 0
        self.device: dict[int, bytes] = {}
        self.sync_failed = False
        self.version = 0

    def copy(self) -> Inode:
        """The same content, all of it durable."""
        twin = Inode()
        twin.pages, twin.size, twin.before_size, twin.version = dict(self.pages), self.size, self.size, self.version
        return twin

    def twin(self) -> Inode:
        """The same file, with all that is pending."""
        found = Inode()
        found.pages, found.size, found.version = dict(self.pages), self.size, self.version
        found.before, found.before_size, found.pending = dict(self.before), self.before_size, list(self.pending)
        found.device, found.sync_failed = dict(self.device), self.sync_failed
        return found

    def put(self, offset: int, data: bytes) -> None:
        """Write; the size grows as needed."""
        end = offset + len(data)
        at, done = offset, 0
        if self.device:
            self._overwritten(offset, end)
        number, inside = divmod(offset, PAGE)
        if inside + len(data) < PAGE:  # most writes lie within one page
            if data:
                old = self.pages.get(number)
                if number not in self.before:
                    self.before[number] = old
                base = old or ZERO_PAGE
                self.pages[number] = base[:inside] + data + base[inside + len(data) :]
            self.size = max(self.size, end)
            return
        while at < end:
            number, inside = divmod(at, PAGE)
            step = min(PAGE - inside, end - at)
            old = self.pages.get(number)
            if number not in self.before:
                self.before[number] = old
            if step == PAGE:
                self.pages[number] = data[done : done + PAGE]
            else:
                base = old or ZERO_PAGE
                self.pages[number] = base[:inside] + data[done : done + step] + base[inside + step :]
            at, done = at + step, done + step
        self.size = max(self.size, end)

    def resize(self, size: int) -> None:
        """Set the size; what is cut off is gone for good."""
        if size < self.size:
            keep = -(-size // PAGE)
            for number in [n for n in self.pages if n >= keep]:
                self.before.setdefault(number, self.pages.pop(number))
            inside = size % PAGE
            if inside and (last := self.pages.get(keep - 1)) is not None:
                self.before.setdefault(keep - 1, last)
                self.pages[keep - 1] = last[:inside] + ZERO_PAGE[inside:]
        self.size = size

    def punch(self, offset: int, length: int) -> None:
        """Make a range zeros without growing."""
        end = min(offset + length, self.size)
        at = offset
        while at < end:
            number, inside = divmod(at, PAGE)
            step = min(PAGE - inside, end - at)
            old = self.pages.get(number)
            if old is not None:
                self.before.setdefault(number, old)
                if step == PAGE:
                    del self.pages[number]
                else:
                    self.pages[number] = old[:inside] + ZERO_PAGE[:step] + old[inside + step :]
            at += step

    def apply(self, op: Change) -> None:
        """Do what an operation does."""
        if op.kind == WRITE:
            self.put(op.offset, op.data)
        elif op.kind == SIZE:
            self.resize(op.offset)
        else:
            self.punch(op.offset, op.length)

    def synced_after_failure(self) -> bool:
        """A sync after one that failed saves what was written since; True when that is nothing.

        Writing the file anew from its beginning ends the matter.
        """
        fresh = [op for op in self.pending if op.state == _PENDING]
        for op in fresh:
            op.state = _KEPT
        if any(op.kind == SIZE and op.offset == 0 for op in fresh):
            self.sync_failed = False
            self.settled()
        return not fresh

    def doom(self, rng: Random) -> None:
        """A sync failed: what of the pending changes reached the disk is decided now, and the rest never will."""
        self.sync_failed = True
        for op in self.pending:
            if op.state == _PENDING:
                op.state = _KEPT if rng.random() < 0.5 else _DOOMED

    def misplace(self, rng: Random) -> None:
        """Of what is about to be synced, one write goes nowhere (a phantom), or over another page as well."""
        found = rng.choice([op for op in self.pending if op.kind == WRITE and op.data] or [None])
        if found is None:
            return
        number = found.offset // PAGE
        self.device[number] = self.before.get(number) or ZERO_PAGE
        others = [other for other in self.pages if other != number]
        if others and rng.random() < 0.5:
            self.device[rng.choice(sorted(others))] = self.pages[number]

    def _overwritten(self, offset: int, end: int) -> None:
        for number in range(offset // PAGE, -(-end // PAGE)):
            self.device.pop(number, None)

    def lose_power(self, rng: Random, losses: Counter[str]) -> None:
        """Back to what was durable, then forward by what survives."""
        for number, page in self.before.items():
            if page is None:
                self.pages.pop(number, None)
            else:
                self.pages[number] = page
        self.size = self.before_size
        whim, lost = rng.random(), False
        for op in self.pending:
            if op.state == _KEPT or (op.state == _PENDING and survives(rng, whim)):
                self.apply(op)
                losses["write reordered"] += lost
            elif op.state == _PENDING and op.kind == WRITE and whim > _TORN:
                self._tear(op, rng)
                losses["write torn"] += 1
            else:
                losses["write lost"] += 1
                lost = True
        for number, page in self.device.items():
            if number * PAGE < self.size:
                self.pages[number] = page
                losses["phantom or misdirected write"] += 1
        self.device.clear()
        self.sync_failed = False
        self.version += 1
        self.settled()

    def _tear(self, op: Change, rng: Random) -> None:
        """Some sectors of a write, and perhaps the size that all of it would have given."""
        end = op.offset + len(op.data)
        if rng.random() < 0.5 and self.size < end:
            self.resize(end)
        at = op.offset
        while at < end:
            step = min(SECTOR - at % SECTOR, end - at)
            if rng.random() < 0.5:
                self.put(at, op.data[at - op.offset : at - op.offset + step])
            at += step

    def settled(self) -> None:
        """All of it is durable."""
        self.pending.clear()
        self.before.clear()
        self.before_size = self.size


_Effect: TypeAlias = "tuple[str, Inode | Folder | None]"
_Effects: TypeAlias = "tuple[_Effect, ...]"


class Folder:
    """Entries as they are now, as they are durably, and the changes between."""

    __slots__ = ("durable", "entries", "pending", "sync_failed")

    def __init__(self) -> None:
        self.entries: dict[str, Inode | Folder] = {}
        self.durable: dict[str, Inode | Folder] = {}
        self.pending: list[_Effects] = []
        self.sync_failed = False

    def doom(self, rng: Random) -> None:
        """A sync failed: a pending rename reached the disk, with what was before it, or it never will."""
        rest: list[_Effects] = []
        for effects in self.pending:
            if len(effects) == 1:
                rest.append(effects)
            elif rng.random() < 0.5:
                for one in (*rest, effects):
                    apply(self.durable, one)
                rest.clear()
            else:
                self.sync_failed = True
        self.pending = rest

    def change(self, *effects: _Effect) -> None:
        """Change entries together, atomically."""
        apply(self.entries, effects)
        self.pending.append(effects)

    def synced(self) -> bool:
        """All entries are durable, but for what a failed sync lost; True when it failed and nothing is new since."""
        retried, self.sync_failed = self.sync_failed and not self.pending, False
        for effects in self.pending:
            apply(self.durable, effects)
        self.pending.clear()
        return retried


def apply(entries: dict[str, Inode | Folder], effects: _Effects) -> None:
    """Change entries of a folder."""
    for name, found in effects:
        if found is None:
            entries.pop(name, None)
        else:
            entries[name] = found
