"""Extent lists: merged, aligned, linear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.model.extent import Extent, ExtentKind
from drill.replication.extents import PAGE_BYTES, Run, coalesce, covered, grouped, overlap, page_aligned

D, Z = ExtentKind.DATA, ExtentKind.ZERO
runs = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12)


def drawn(text: str, unit: int = 1) -> list[Extent]:
    """`"dd.z"` is two units of DATA, one left out, one of ZERO; each letter its own extent."""
    kinds = {"d": D, "z": Z}
    return [Extent(i * unit, unit, kinds[letter]) for i, letter in enumerate(text) if letter != "."]


def letters(extents: list[Extent], size: int) -> str:
    found = ["."] * size
    for extent in extents:
        for at in range(extent.offset, extent.end):
            found[at] = "d" if extent.kind is D else "z"
    return "".join(found)


def spelled(found: list[Run]) -> str:
    return "".join(("1" if yes else "0") * length for length, yes in found)


@given(runs, runs)
def test_dirty_and_zero_is_zero_dirty_alone_is_data_the_rest_is_left_out(dirty: list[Run], zero: list[Run]) -> None:
    size = covered(dirty, zero)
    expected = "".join(
        "." if d == "0" else "z" if z == "1" else "d" for d, z in zip(spelled(dirty), spelled(zero), strict=False)
    )
    assert letters(list(overlap(0, dirty, zero)), size) == expected
    assert size == min(len(spelled(dirty)), len(spelled(zero)))


def test_overlap_begins_at_its_offset() -> None:
    assert list(overlap(100, [(5, True)], [(3, False), (9, True)])) == [Extent(100, 3, D), Extent(103, 2, Z)]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("ddzz.dd", [Extent(0, 2, D), Extent(2, 2, Z), Extent(5, 2, D)]),
        ("dzdz", [Extent(0, 1, D), Extent(1, 1, Z), Extent(2, 1, D), Extent(3, 1, Z)]),
        ("", []),
    ],
)
def test_neighbours_of_one_kind_become_one(given_: str, expected: list[Extent]) -> None:
    assert list(coalesce(drawn(given_))) == expected


@pytest.mark.parametrize(
    "extents",
    [
        pytest.param([Extent(4, 4, D), Extent(0, 4, D)], id="not sorted"),
        pytest.param([Extent(0, 5, D), Extent(4, 4, Z)], id="overlapping"),
        pytest.param([Extent(0, 0, D)], id="empty"),
        pytest.param([Extent(-1, 4, D)], id="negative"),
    ],
)
def test_a_list_that_is_out_of_order_is_refused(extents: list[Extent]) -> None:
    with pytest.raises(BadInput):
        list(coalesce(extents))


def test_an_extent_beyond_the_disk_is_refused() -> None:
    with pytest.raises(BadInput):
        list(page_aligned([Extent(0, 8193, D)], 8192))


@st.composite
def ragged(draw: st.DrawFn) -> tuple[list[Extent], int]:
    """Extents at multiples of 512, on a disk whose last page may be short."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 30), st.sampled_from([D, Z])), max_size=8))
    at, found = 0, []
    for gap, length, kind in lengths:
        found.append(Extent((at + gap) * 512, length * 512, kind))
        at += gap + length
    return found, (at + draw(st.integers(0, 9))) * 512 or 512


@given(ragged())
def test_alignment_keeps_all_that_was_dirty_and_makes_nothing_zero_that_was_not(case: tuple[list[Extent], int]) -> None:
    extents, size = case
    found = list(page_aligned(extents, size))
    before, after = letters(extents, size), letters(found, size)
    for old, new in zip(before[::512], after[::512], strict=True):
        assert new != "." or old == "."
        assert new != "z" or old == "z"
    for extent in found:
        assert extent.offset % PAGE_BYTES == 0
        assert extent.length % PAGE_BYTES == 0 or extent.end == size
    assert all(one.end <= other.offset for one, other in pairwise(found))


Merge = Callable[[Iterable[Extent], int], Iterable[Extent]]


def growth(count: int, align: Merge) -> float:
    """How much longer twenty times as many extents take: from QEMU's two maps to the groups that fill frames.

    Every third page is dirty, every second of those zero.
    """

    def seconds(count: int) -> float:
        dirty = [(PAGE_BYTES * (1 + i % 2), i % 2 == 0) for i in range(2 * count)]
        zero = [(3 * PAGE_BYTES, i % 2 == 0) for i in range(count)]
        size = 3 * PAGE_BYTES * count
        begun = time.process_time()
        groups = grouped(align(overlap(0, dirty, zero), size), 1 << 20, 4096)
        assert sum(len(group) for group in groups) == count
        return time.process_time() - begun

    small = min(seconds(count) for _ in range(3))
    return seconds(20 * count) / small


LINEAR = 60
"""Twenty times the work takes up to thrice twenty times as long on a busy machine; a quadratic one takes 400 times."""


def test_merging_a_million_extents_is_linear() -> None:
    assert growth(50_000, page_aligned) < LINEAR


def test_a_merge_that_copies_its_list_for_each_extent_is_found() -> None:
    def quadratic(extents: Iterable[Extent], size: int) -> Iterable[Extent]:
        found: tuple[Extent, ...] = ()
        for extent in page_aligned(extents, size):
            found = (*found, extent)
        return found

    assert growth(1_000, quadratic) > LINEAR
