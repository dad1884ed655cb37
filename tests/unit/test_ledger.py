"""The ledger's longest valid prefix: what a crash may leave is told from damage, and no damage goes unseen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.model.ledger import RECORD_BYTES, Damage, Flaw, LedgerRead, Record, in_step, parse

START_US = 1_795_208_894_471_167


def ledger(*sequences: int) -> bytes:
    return b"".join(Record(sequence, START_US + sequence * 220_000).encoded() for sequence in sequences)


def upto(count: int) -> bytes:
    return ledger(*range(1, count + 1))


def test_a_record_is_the_line_that_the_guest_writes() -> None:
    assert Record(7, 1795208894914665).encoded() == b"0000000007 1795208894914665 e98cd2a2\n"


def test_an_empty_ledger_is_whole() -> None:
    assert parse(b"") == LedgerRead(None)


def test_a_ledger_that_ends_with_a_record_is_whole() -> None:
    assert parse(upto(3)) == LedgerRead(Record(3, START_US + 660_000))


@given(count=st.integers(0, 5), kept=st.integers(1, RECORD_BYTES - 1), zeros=st.booleans())
def test_an_unfinished_next_record_is_a_torn_tail(count: int, kept: int, zeros: bool) -> None:
    tail = Record(count + 1, START_US).encoded()[:kept]
    tail = tail.ljust(RECORD_BYTES, b"\0") if zeros else tail
    assert parse(upto(count) + tail) == LedgerRead(parse(upto(count)).last, torn_bytes=len(tail))


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        pytest.param(ledger(1, 2, 4), Flaw.GAP, id="a gap"),
        pytest.param(ledger(1, 2, 2), Flaw.REPETITION, id="a repetition"),
        pytest.param(ledger(1, 2) + b"\0" * RECORD_BYTES + ledger(4), Flaw.GARBLED, id="zeros before more records"),
        pytest.param(ledger(1, 2) + b"x", Flaw.GARBLED, id="a foreign byte"),
        pytest.param(ledger(1, 2) + ledger(4)[:20], Flaw.GARBLED, id="an unfinished record of another number"),
        pytest.param(ledger(1, 2) + b"0000000003 1795208894914665 00000000\n", Flaw.CHECKSUM, id="a false checksum"),
    ],
)
def test_what_no_crash_leaves_is_damage_at_its_place(content: bytes, flaw: Flaw) -> None:
    read = parse(content)
    assert (read.count, read.damage) == (2, Damage(2 * RECORD_BYTES, flaw))


@given(count=st.integers(1, 8), data=st.data())
def test_one_flipped_bit_anywhere_is_found(count: int, data: st.DataObject) -> None:
    content = bytearray(upto(count))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    read = parse(bytes(content))
    assert read.count == bit // 8 // RECORD_BYTES
    assert not read.whole


@given(content=st.binary(max_size=200))
def test_the_prefix_that_is_reported_is_valid_and_the_longest(content: bytes) -> None:
    read = parse(content)
    prefix = content[: read.count * RECORD_BYTES]
    assert parse(prefix) == LedgerRead(read.last)
    longer = content[: (read.count + 1) * RECORD_BYTES]
    assert parse(longer).count == read.count


@given(count=st.integers(0, 8), cut=st.integers(0, 8 * RECORD_BYTES))
def test_a_ledger_cut_anywhere_is_whole(count: int, cut: int) -> None:
    content = upto(count)[:cut]
    read = parse(content)
    assert (read.whole, read.count) == (True, len(content) // RECORD_BYTES)


@pytest.mark.parametrize(
    ("first", "second", "together"), [(4, 4, True), (5, 4, True), (4, 5, False), (6, 4, False), (0, 0, True)]
)
def test_two_disks_are_in_step_when_the_second_is_level_or_one_behind(first: int, second: int, together: bool) -> None:
    assert in_step(parse(upto(first)), parse(upto(second))) is together
