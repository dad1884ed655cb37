"""Text from elsewhere, and numbers, as people read them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.reporting import figures
from drill.reporting.plain import block, line, visible

SPELLED = [
    ("plain ASCII stays", "plain ASCII stays"),
    ("Größe, 東京, Αθήνα, मुंबई, ไทย", "Größe, 東京, Αθήνα, मुंबई, ไทย"),
    ("שלום", "שלום"),
    ("e\u0301\u0323", "e\u0301\u0323"),
    ("e\u0301\u0323\u0330", "e\u0301\u0323\\u0330"),
    ("a\x1b[31mb", "a\\x1b[31mb"),
    ("a\nb\tc", "a\\nb\\tc"),
    ("a\u202eb", "a\\u202eb"),
    ("a\u200bb", "a\\u200bb"),
    ("a\U000e0041b", "a\\U000e0041b"),
    ("\ud800", "\\ud800"),
    ("\ue000", "\\ue000"),
    ("\u3164", "\\u3164"),
]


@pytest.mark.parametrize(("text", "shown"), SPELLED, ids=[ascii(text) for text, _ in SPELLED])
def test_what_would_not_be_seen_as_itself_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_invisible_is_left_and_nothing_is_spelled_out_twice(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible(shown) == shown
    assert shown.encode("utf-8").decode("utf-8") == shown


def test_a_block_keeps_its_lines_and_its_tabs_only() -> None:
    assert block("a\r\n\tb\x07\rc") == "a\n\tb\\x07\\rc"


def test_what_is_left_out_is_counted() -> None:
    assert line("x" * 700) == "x" * 600 + "… (100 more characters)"
    assert line("x" * 600) == "x" * 600


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.0004, "0 s"), (0.012, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (18.26, "18.3 s"),
        (59.94, "59.9 s"), (59.96, "1 min 0 s"), (125, "2 min 5 s"), (3600, "1 h 0 min"), (93_784, "26 h 3 min"),
        (-2.5, "−2.5 s"),
    ],
)  # fmt: skip
def test_a_duration_reads_naturally(seconds: float, shown: str) -> None:
    assert figures.duration(seconds).replace(figures.NO_BREAK, " ") == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"), (1023, "1,023 B"), (1024, "1 KiB"), (3_481_600, "3.3 MiB"), (2**28, "256 MiB"), (2**40, "1 TiB"),
        (2**53, "8,192 TiB"),
    ],
)  # fmt: skip
def test_a_size_reads_naturally(number: int, shown: str) -> None:
    assert figures.size(number).replace(figures.NO_BREAK, " ") == shown


@given(st.integers(-(10**18), 10**18))
def test_any_instant_can_be_shown(at_us: int) -> None:
    assert figures.clock(at_us)
    assert figures.day(at_us)
    figures.instant(at_us)
