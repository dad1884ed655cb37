r"""The rows that a writer outside the guest put into its database: its history, and what that says of a point.

A writer sends one row per transaction and keeps a history of text lines, each appended durably before it goes on:

    sent 1795208894471167 17\n            before row 17 is sent
    acknowledged 1795208894493021 17\n    after the database has said that row 17 is committed

Times are microseconds since the epoch on the wall clock of the source's host.  The two lines enclose the commit, so a
row acknowledged before the backup began must be in the point, a row that was not sent before libvirt had taken the
checkpoint cannot be, and nothing is known of those between: the network, or the death of the writer, may have kept an
acknowledgement from being heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from drill.errors import BadInput

Ranges = tuple[tuple[int, int], ...]
"""A set of row ids as (first, last), both inclusive: ascending, without overlap."""

_LINE = re.compile(rb"(sent|acknowledged) ([0-9]{16}) ([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One row of a history; `acknowledged_us` is None where no acknowledgement was heard."""

    row: int
    sent_us: int
    acknowledged_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBounds:
    """What a history says of one point: `acknowledged_before` ⊆ the point's rows ⊆ `sent_before`.

    `acknowledged_at_incident` is what the database had promised to keep when the incident was declared.
    """

    acknowledged_before: Ranges
    sent_before: Ranges
    acknowledged_at_incident: Ranges


def parse(content: bytes, where: str) -> tuple[Written, ...]:
    """The rows of a history in the order in which they were sent; a torn last line is left out.

    Raises BadInput for any other line that is none, a row sent twice or acknowledged unsent: then nothing is known.
    """
    sent: dict[int, int] = {}
    acknowledged: dict[int, int] = {}
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadInput(where=f"{where}:{number}", problem="not a line of a history")
        row, at_us = int(found[3]), int(found[2])
        if found[1] == b"sent" and row not in sent:
            sent[row] = at_us
        elif found[1] == b"acknowledged" and row in sent and row not in acknowledged:
            acknowledged[row] = at_us
        else:
            raise BadInput(where=f"{where}:{number}", problem=f"row {row} is {found[1].decode()} out of turn")
    return tuple(Written(row=row, sent_us=at_us, acknowledged_us=acknowledged.get(row)) for row, at_us in sent.items())


def bounds(history: Iterable[Written], *, begun_us: int, taken_us: int, incident_us: int) -> RowBounds:
    """What must and what may be in a point whose instant lies between `begun_us` and `taken_us`."""
    written = tuple(history)
    heard = [(one.row, one.acknowledged_us) for one in written if one.acknowledged_us is not None]
    return RowBounds(
        acknowledged_before=ranges(row for row, at_us in heard if at_us < begun_us),
        sent_before=ranges(one.row for one in written if one.sent_us <= taken_us),
        acknowledged_at_incident=ranges(row for row, at_us in heard if at_us <= incident_us),
    )


def ranges(rows: Iterable[int]) -> Ranges:
    """A set of rows as ranges, as few as possible."""
    found: list[tuple[int, int]] = []
    for row in sorted(set(rows)):
        if found and found[-1][1] + 1 == row:
            found[-1] = (found[-1][0], row)
        else:
            found.append((row, row))
    return tuple(found)


def count(some: Ranges) -> int:
    """How many rows a set has."""
    return sum(last - first + 1 for first, last in some)


def minus(some: Ranges, others: Ranges) -> Ranges:
    """The rows of the first set that are not in the second; linear in the number of ranges."""
    left: list[tuple[int, int]] = []
    index = 0
    for first, last in some:
        at = first
        while index < len(others) and others[index][1] < at:
            index += 1
        probe = index
        while at <= last and probe < len(others) and others[probe][0] <= last:
            if at < others[probe][0]:
                left.append((at, others[probe][0] - 1))
            at = max(at, others[probe][1] + 1)
            probe += 1
        if at <= last:
            left.append((at, last))
    return tuple(left)
