r"""The ledger of a guest: what was durable at one instant, read back from a disk and judged.

A writer in the guest appends one record at a time and makes each durable before it begins the next.  A record is a
line of exactly `RECORD_BYTES` bytes:

    0000000042 1795208894471167 0319d8c4\n
    sequence   wall clock, µs   CRC-32 of the 27 bytes before it, hex
    from 1     since 1970

A crash can therefore leave one torn record at the end and nothing else: part of the record that would have come next,
or that part followed by the zeros of a page which was never written.  Whatever else follows the longest valid prefix
is damage: a flipped bit, a gap, a repetition, foreign bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from zlib import crc32

RECORD_BYTES = 37
_SUMMED_BYTES = 27
_LAYOUT = re.compile(rb"(\d{10}) (\d{16}) ([0-9a-f]{8})\n")
_PATTERN = (*[b"0123456789"] * 10, b" ", *[b"0123456789"] * 16, b" ", *[b"0123456789abcdef"] * 8, b"\n")


@dataclass(frozen=True, slots=True)
class Record:
    """One record: `sequence` from 1 without gaps, `time_us` of the guest's wall clock, which may step."""

    sequence: int
    time_us: int

    def encoded(self) -> bytes:
        """The line as it lies on the disk."""
        summed = b"%010d %016d" % (self.sequence, self.time_us)
        return b"%s %08x\n" % (summed, crc32(summed))


class Flaw(StrEnum):
    """Why a ledger is damaged, at the first place where it is."""

    GARBLED = "not a record"
    CHECKSUM = "a record whose checksum does not match"
    GAP = "sequences are missing"
    REPETITION = "a sequence comes again"


@dataclass(frozen=True, slots=True)
class Damage:
    """Where the longest valid prefix ends although the ledger goes on, and what stands there."""

    offset_bytes: int
    flaw: Flaw

    def __str__(self) -> str:
        return f"{self.flaw} at byte {self.offset_bytes}"


@dataclass(frozen=True, slots=True)
class LedgerRead:
    """A ledger as found: its longest valid prefix, and what comes after it.

    `last` is None for an empty prefix.  At most one of `torn_bytes` and `damage` is set: a torn tail is what a crash
    may leave, damage is not.
    """

    last: Record | None
    torn_bytes: int = 0
    damage: Damage | None = None

    @property
    def count(self) -> int:
        """Records in the valid prefix, which is also the last one's sequence."""
        return 0 if self.last is None else self.last.sequence

    @property
    def whole(self) -> bool:
        """Whether nothing but a torn tail follows the valid prefix."""
        return self.damage is None


def parse(content: bytes) -> LedgerRead:
    """Judge the bytes of a ledger file; never raises."""
    last: Record | None = None
    for offset in range(0, len(content), RECORD_BYTES):
        text = content[offset : offset + RECORD_BYTES]
        expected = 1 if last is None else last.sequence + 1
        found = _record(text)
        if found is not None and found.sequence == expected:
            last = found
            continue
        rest = content[offset:]
        if _torn(rest, expected):
            return LedgerRead(last, torn_bytes=len(rest))
        return LedgerRead(last, damage=Damage(offset, _flaw(text, found, expected)))
    return LedgerRead(last)


def in_step(first: LedgerRead, second: LedgerRead) -> bool:
    """Whether two disks written one after the other were read at one instant: the second is level or one behind."""
    return second.count <= first.count <= second.count + 1


def _record(text: bytes) -> Record | None:
    matched = _LAYOUT.fullmatch(text)
    if matched is None or int(matched[3], 16) != crc32(text[:_SUMMED_BYTES]):
        return None
    return Record(int(matched[1]), int(matched[2]))


def _torn(rest: bytes, expected: int) -> bool:
    """Whether these bytes are an unfinished record number `expected`, possibly with zeros in place of its end."""
    written = rest.rstrip(b"\0")
    if len(rest) > RECORD_BYTES or len(written) >= RECORD_BYTES:
        return False
    start = b"%010d " % expected
    fits = all(byte in allowed for byte, allowed in zip(written, _PATTERN, strict=False))
    return fits and written[: len(start)] == start[: len(written)]


def _flaw(text: bytes, found: Record | None, expected: int) -> Flaw:
    if found is not None:
        return Flaw.GAP if found.sequence > expected else Flaw.REPETITION
    return Flaw.CHECKSUM if _LAYOUT.fullmatch(text) else Flaw.GARBLED


def nth(content: bytes, sequence: int) -> Record:
    """Record number `sequence` of a ledger whose valid prefix reaches that far; ValueError where it does not."""
    found = _record(content[(sequence - 1) * RECORD_BYTES : sequence * RECORD_BYTES])
    if found is None or found.sequence != sequence:
        raise ValueError(f"no record {sequence}")
    return found
