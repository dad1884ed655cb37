"""What a disk was asked to write, in the order in which it was done, and the states that a power failure may leave.

The log is QEMU's `blklogwrites`, which has the format of Linux's dm-log-writes: a sector with magic, version, count of
entries and sector size, then per request a sector (place, length, flags) and its data.

A request is durable once a flush came after it.  Whatever came later may be there, or not, in any order, and the last
of it by sectors.  An entry stands in the log no later than its request is done, so that a size of the log which is
read after a promise bounds everything that the promise may rest upon.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x6A736677736872
SECTOR_BYTES = 512
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: where it stands in the log (bytes), where on the disk, its data (None: nothing but a flush)."""

    log_at: int
    offset: int
    data: bytes | None
    is_flush: bool


@dataclass(frozen=True, slots=True, order=True)
class State:
    """What a power failure left: all requests before `durable`, then `kept` in this order, the last one torn.

    `cut` is how many requests had been made; `torn` are the sectors of the last kept request that arrived, all if
    None.
    """

    durable: int
    kept: tuple[int, ...]
    torn: tuple[int, ...] | None
    cut: int


def read(path: Path) -> list[Entry]:
    """All whole entries of a log."""
    raw = path.read_bytes()
    magic, version, _, sector = struct.unpack_from("<QQQI", raw)
    assert (magic, version, sector) == (MAGIC, 1, SECTOR_BYTES), "no log of writes"
    found, at = [], SECTOR_BYTES
    while at + SECTOR_BYTES <= len(raw):
        place, count, flags, _ = struct.unpack_from("<QQQQ", raw, at)
        length = count * SECTOR_BYTES
        stored = 0 if flags & _DISCARD else length
        if at + SECTOR_BYTES + stored > len(raw):
            break
        data = bytes(length) if flags & _DISCARD else raw[at + SECTOR_BYTES : at + SECTOR_BYTES + length]
        found.append(Entry(at, place * SECTOR_BYTES, data if length else None, bool(flags & (_FLUSH | _FUA))))
        at += SECTOR_BYTES + stored
    return found


def entries_before(log: list[Entry], log_bytes: int) -> int:
    """How many requests stood in the log when it had this size."""
    return sum(entry.log_at < log_bytes for entry in log)


def states(log: list[Entry], rng: random.Random, count: int, moments: list[int]) -> list[State]:
    """`count` different states, in the order in which they are cheapest to build.

    First what is left at `moments` (cuts) when nothing arrived that was not flushed, then prefixes spread over the
    whole log, then random subsets, reordered and torn.
    """
    found: dict[tuple[object, ...], State] = {}
    for state in _candidates(log, rng, count, moments):
        found.setdefault((state.durable, state.kept, state.torn), state)
        if len(found) == count:
            break
    return sorted(found.values(), key=lambda state: (state.durable, state.cut))


def _candidates(log: list[Entry], rng: random.Random, count: int, moments: list[int]) -> Iterator[State]:
    for cut in moments[: max(1, count // 3)]:
        yield State(_flushed(log, cut), (), None, cut)
    step = max(1, len(log) * 3 // count)
    for cut in range(1, len(log) + 1, step):
        yield State(_flushed(log, cut), _pending(log, cut), None, cut)
    for _ in range(count * 50):
        yield _mixed(log, rng, rng.choice(moments) if rng.random() < 0.3 else rng.randrange(1, len(log) + 1))


def _mixed(log: list[Entry], rng: random.Random, cut: int) -> State:
    """Some of what was not flushed, in any order, the last of it by sectors."""
    pending = list(_pending(log, cut))
    rng.shuffle(pending)
    kept = tuple(pending[: rng.randrange(len(pending) + 1)])
    torn = None
    if kept and rng.random() < 0.5:
        sectors = len(log[kept[-1]].data or b"") // SECTOR_BYTES
        torn = tuple(sorted(rng.sample(range(sectors), rng.randrange(sectors)))) if sectors > 1 else None
    return State(_flushed(log, cut), kept, torn, cut)


def _flushed(log: list[Entry], cut: int) -> int:
    """How many of the first `cut` requests are durable."""
    return next((index + 1 for index in reversed(range(cut)) if log[index].is_flush), 0)


def _pending(log: list[Entry], cut: int) -> tuple[int, ...]:
    return tuple(index for index in range(_flushed(log, cut), cut) if log[index].data is not None)


class Replay:
    """Builds the disk of one state after the other."""

    def __init__(self, log: list[Entry], before: bytes) -> None:
        self._log = log
        self._disk = bytearray(before)
        self._done = 0

    def disk(self, state: State) -> bytearray:
        """The bytes of the disk; states come in the order of `durable`."""
        for entry in self._log[self._done : state.durable]:
            _apply(self._disk, entry, None)
        self._done = max(self._done, state.durable)
        disk = bytearray(self._disk)
        for index in state.kept:
            _apply(disk, self._log[index], state.torn if index == state.kept[-1] else None)
        return disk


def _apply(disk: bytearray, entry: Entry, sectors: tuple[int, ...] | None) -> None:
    if entry.data is None:
        return
    if sectors is None:
        disk[entry.offset : entry.offset + len(entry.data)] = entry.data
        return
    for sector in sectors:
        at = sector * SECTOR_BYTES
        disk[entry.offset + at : entry.offset + at + SECTOR_BYTES] = entry.data[at : at + SECTOR_BYTES]
