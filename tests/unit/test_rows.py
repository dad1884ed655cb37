"""The history of a writer outside the guest: what is read of it, and what it says of a point."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.model.rows import RowBounds, Written, bounds, count, minus, parse, ranges

BEGUN, TAKEN, INCIDENT = 1000, 1010, 2000
sets = st.sets(st.integers(0, 40))


def told(*lines: str) -> tuple[Written, ...]:
    """A history whose times are given with fewer digits."""
    words = (line.split() for line in lines)
    return parse("".join(f"{what} {int(at):016d} {row}\n" for what, at, row in words).encode(), "history")


def at(history: tuple[Written, ...]) -> RowBounds:
    return bounds(history, begun_us=BEGUN, taken_us=TAKEN, incident_us=INCIDENT)


def test_a_row_is_owed_from_its_acknowledgement_on_and_possible_from_its_sending_on() -> None:
    history = told(
        "sent 900 1", "sent 910 2", "acknowledged 999 1", "sent 1005 3", "acknowledged 1000 2", "sent 1011 4",
        "acknowledged 1020 3", "sent 1990 5", "acknowledged 2000 4", "acknowledged 2001 5",
    )  # fmt: skip
    assert at(history) == RowBounds(
        acknowledged_before=((1, 1),), sent_before=((1, 3),), acknowledged_at_incident=((1, 4),)
    )


def test_a_row_whose_acknowledgement_was_never_heard_may_be_there_and_need_not() -> None:
    found = at(told("sent 900 7"))
    assert (found.acknowledged_before, found.sent_before, found.acknowledged_at_incident) == ((), ((7, 7),), ())


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    whole = b"sent 1795208894471167 1\nacknowledged 1795208894493021 1\n"
    assert parse(whole + b"sent 1795208894493999 2", "history") == parse(whole, "history")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"sent 1795208894471167 1\nsent 1795208894471168 1\n", "history:2: row 1 is sent out of turn"),
        (b"acknowledged 1795208894471167 1\n", "history:1: row 1 is acknowledged out of turn"),
        (b"sent 1 1\n", "history:1: not a line"),
        (b"sent 1795208894471167 -1\n", "history:1: not a line"),
        (b"sent 1795208894471167 1\n\nsent 1795208894471168 2\n", "history:2: not a line"),
        (b"\xff\x00\n", "history:1: not a line"),
    ],
)
def test_a_history_that_contradicts_itself_says_nothing(content: bytes, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        parse(content, "history")


@given(sets)
def test_ranges_are_the_set_that_they_stand_for(rows: set[int]) -> None:
    found = ranges(rows)
    assert {row for first, last in found for row in range(first, last + 1)} == rows
    assert count(found) == len(rows)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))


@given(sets, sets)
def test_what_is_left_of_one_set_without_another_is_exact(some: set[int], others: set[int]) -> None:
    assert minus(ranges(some), ranges(others)) == ranges(some - others)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30), st.data())
def test_what_was_acknowledged_before_a_point_was_also_sent_before_it(
    times: list[tuple[int, int]], data: st.DataObject
) -> None:
    history = [
        Written(row=row, sent_us=sent, acknowledged_us=sent + wait if wait else None)
        for row, (sent, wait) in enumerate(times)
    ]
    begun = data.draw(st.integers(0, 80))
    found = bounds(history, begun_us=begun, taken_us=begun + data.draw(st.integers(0, 5)), incident_us=90)
    assert minus(found.acknowledged_before, found.sent_before) == ()
    assert minus(found.acknowledged_before, found.acknowledged_at_incident) == ()
