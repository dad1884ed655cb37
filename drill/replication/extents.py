"""Lists of extents: merged from what QEMU reports, aligned to pages, cut into frames.  All linear, none quadratic.

QEMU reports two maps of a disk, run by run: which clusters are dirty, and which ranges read as zeros.  Dirty and zero
gives an explicit ZERO extent (I7), dirty and not zero gives DATA, the rest is not carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from drill.errors import BadInput
from drill.model.extent import Extent, ExtentKind

PAGE_BYTES = 4096

Run = tuple[int, bool]
"""Bytes, and whether the map says yes of them."""


def overlap(offset: int, dirty: Sequence[Run], zero: Sequence[Run]) -> Iterator[Extent]:
    """Dirty extents of the range in which both maps speak, which begins at `offset`; not coalesced.

    The maps need not end at the same byte: what only one of them covers is left for the next call (`covered`).
    """
    at, d, z = offset, 0, 0
    left_dirty = left_zero = 0
    while True:
        while left_dirty == 0 and d < len(dirty):
            left_dirty, d = dirty[d][0], d + 1
        while left_zero == 0 and z < len(zero):
            left_zero, z = zero[z][0], z + 1
        step = min(left_dirty, left_zero)
        if step == 0:
            return
        if dirty[d - 1][1]:
            yield Extent(at, step, ExtentKind.ZERO if zero[z - 1][1] else ExtentKind.DATA)
        at, left_dirty, left_zero = at + step, left_dirty - step, left_zero - step


def covered(dirty: Sequence[Run], zero: Sequence[Run]) -> int:
    """Bytes in which both maps speak."""
    return min(sum(length for length, _ in dirty), sum(length for length, _ in zero))


def coalesce(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Neighbours of one kind become one extent.  BadInput where the list is not sorted or overlaps."""
    last: Extent | None = None
    for extent in extents:
        if extent.length <= 0 or extent.offset < 0 or (last is not None and extent.offset < last.end):
            raise BadInput("extent list", f"{extent} after {last}: not sorted, overlapping or empty")
        if last is not None and last.end == extent.offset and last.kind is extent.kind:
            last = Extent(last.offset, last.length + extent.length, last.kind)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last


def grouped(extents: Iterable[Extent], data_bytes: int, count: int) -> Iterator[tuple[Extent, ...]]:
    """Consecutive extents in groups of at most `count` and at most `data_bytes` of DATA; long DATA is cut.

    `data_bytes` is a multiple of the page, so that cuts fall between pages.
    """
    group: list[Extent] = []
    room = data_bytes
    for piece in _cut(extents, data_bytes):
        needed = piece.length if piece.kind is ExtentKind.DATA else 0
        if group and (needed > room or len(group) >= count):
            yield tuple(group)
            group, room = [], data_bytes
        group.append(piece)
        room -= needed
    if group:
        yield tuple(group)


def _cut(extents: Iterable[Extent], data_bytes: int) -> Iterator[Extent]:
    """DATA of at most `data_bytes` each, cut at multiples of it."""
    for extent in extents:
        if extent.kind is ExtentKind.ZERO or extent.offset % data_bytes + extent.length <= data_bytes:
            yield extent
            continue
        at = extent.offset
        while at < extent.end:
            end = min((at // data_bytes + 1) * data_bytes, extent.end)
            yield Extent(at, end - at, ExtentKind.DATA)
            at = end


def page_aligned(extents: Iterable[Extent], size_bytes: int) -> Iterator[Extent]:
    """The same or more of the disk in whole pages; only the disk's last page may be short.

    A page that is touched but not wholly zero becomes DATA: reading more than was dirty is always right, for all of
    it is read at the same instant.  Coalesced.
    """
    return coalesce(_without_overlap(_page_pieces(extents, size_bytes)))


def _page_pieces(extents: Iterable[Extent], size_bytes: int) -> Iterator[Extent]:
    for extent in extents:
        if extent.end > size_bytes:
            raise BadInput("extent list", f"{extent} reaches beyond the disk's {size_bytes} bytes")
        if not (extent.offset | extent.length) % PAGE_BYTES:
            yield extent
            continue
        down, up = _page_floor(extent.offset), _page_ceil(extent.end, size_bytes)
        if extent.kind is ExtentKind.DATA:
            yield Extent(down, up - down, ExtentKind.DATA)
            continue
        inner_from = _page_ceil(extent.offset, size_bytes)
        inner_to = extent.end if extent.end == size_bytes else _page_floor(extent.end)
        if inner_from >= inner_to:
            yield Extent(down, up - down, ExtentKind.DATA)
            continue
        if down < inner_from:
            yield Extent(down, inner_from - down, ExtentKind.DATA)
        yield Extent(inner_from, inner_to - inner_from, ExtentKind.ZERO)
        if inner_to < up:
            yield Extent(inner_to, up - inner_to, ExtentKind.DATA)


def _without_overlap(pieces: Iterable[Extent]) -> Iterator[Extent]:
    """Neighbours that were widened into the same page share it only once; both are DATA there."""
    end = 0
    for piece in pieces:
        if piece.end <= end:
            continue
        start = max(piece.offset, end)
        yield piece if start == piece.offset else Extent(start, piece.end - start, piece.kind)
        end = piece.end


def _page_floor(offset: int) -> int:
    return offset // PAGE_BYTES * PAGE_BYTES


def _page_ceil(offset: int, size_bytes: int) -> int:
    return min(-(-offset // PAGE_BYTES) * PAGE_BYTES, size_bytes)
