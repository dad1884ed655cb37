"""A guest's disk in a qcow2: what it reads, which of it is allocated, and its dirty bitmaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from drill.model.extent import Extent, ExtentKind
from drill.sim.content import PAGE, ZERO_PAGE, Content


class BitmapState(StrEnum):
    """`in-use`: QEMU died while it had the image open for writing, the bits are worth nothing."""

    GOOD = "good"
    IN_USE = "in-use"


@dataclass(slots=True)
class Bitmap:
    """Granules written since the bitmap was made; every bitmap records, also under a newer one.

    `stored`: a clean close has written it into the image.
    """

    dirty: set[int] = field(default_factory=set)
    state: BitmapState = BitmapState.GOOD
    stored: bool = False


class SimDisk:
    """One disk.  `granule` is what a bit of a bitmap stands for, `cluster` what can be allocated or zero; in bytes.

    One that is not `tracked` (a raw image, an old qcow2) holds no bitmap.
    """

    def __init__(self, size: int, *, granule: int, cluster: int, tracked: bool = True) -> None:
        self.tracked = tracked
        self.size = size
        self.granule = granule
        self.cluster = cluster
        self.bitmaps: dict[str, Bitmap] = {}
        self._pages: dict[int, bytes] = {}
        self._allocated: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        """What the guest writes, in sectors."""
        if not data:
            return
        end = offset + len(data)
        self._put(offset, data)
        self._allocated.update(range(offset // self.cluster, (end - 1) // self.cluster + 1))
        self._dirty(offset, end)

    def zero(self, offset: int, length: int) -> None:
        """A discard or write of zeros: whole clusters are given back, the rest becomes zeros of data."""
        end = offset + length
        if length <= 0:
            return
        self._put(offset, bytes(length))
        first = -(-offset // self.cluster)
        last = end // self.cluster if end < self.size else -(-end // self.cluster)
        self._allocated.difference_update(range(first, last))
        self._dirty(offset, end)

    def grow(self, size: int) -> None:
        """A larger disk; what is new reads as zeros and is not dirty."""
        self.size = size

    def content(self) -> Content:
        """What the guest reads now."""
        return Content(self.size, dict(self._pages))

    def revert(self, content: Content) -> None:
        """Another content, behind the back of every bitmap."""
        self.size, self._pages = content.size, dict(content.pages)
        per = max(1, PAGE // self.cluster)
        ends = -(-self.size // self.cluster)
        touched = {n * PAGE // self.cluster + i for n in self._pages for i in range(per)}
        self._allocated = {cluster for cluster in touched if cluster < ends}

    def twin(self) -> SimDisk:
        """Another disk with this content and no bitmap."""
        found = SimDisk(self.size, granule=self.granule, cluster=self.cluster)
        found.revert(self.content())
        return found

    def frozen(self) -> FrozenDisk:
        """The disk at this instant."""
        return FrozenDisk(self.content(), frozenset(self._allocated), self.cluster, self.granule)

    def close(self, *, cleanly: bool) -> None:
        """QEMU ends: a clean close stores bitmaps; after a kill those of the session are gone, stored ones in use."""
        for name, bitmap in list(self.bitmaps.items()):
            if cleanly:
                bitmap.stored = bitmap.stored or bitmap.state is BitmapState.GOOD
            elif bitmap.stored:
                bitmap.state = BitmapState.IN_USE
            else:
                del self.bitmaps[name]

    def good(self, name: str) -> bool:
        """Whether a bitmap is there and worth something."""
        found = self.bitmaps.get(name)
        return found is not None and found.state is BitmapState.GOOD

    def _put(self, offset: int, data: bytes) -> None:
        end, at, done = offset + len(data), offset, 0
        while at < end:
            number, inside = divmod(at, PAGE)
            step = min(PAGE - inside, end - at)
            if step == PAGE:
                page = data[done : done + PAGE]
            else:
                old = self._pages.get(number, ZERO_PAGE)
                page = old[:inside] + data[done : done + step] + old[inside + step :]
            if page == ZERO_PAGE:
                self._pages.pop(number, None)
            else:
                self._pages[number] = page
            at, done = at + step, done + step

    def _dirty(self, offset: int, end: int) -> None:
        for bitmap in self.bitmaps.values():
            if bitmap.state is BitmapState.GOOD:
                bitmap.dirty.update(range(offset // self.granule, (end - 1) // self.granule + 1))


@dataclass(frozen=True, slots=True)
class FrozenDisk:
    """A disk at one instant, as a backup job exports it."""

    content: Content
    allocated: frozenset[int]
    cluster: int
    granule: int

    def extents(self, dirty: Iterable[int] | None) -> Iterator[Extent]:
        """What is dirty (all of it for None): allocated as DATA, the rest as ZERO; sorted, coalesced."""
        size, cluster = self.content.size, self.cluster
        spans = _joined((number * cluster, (number + 1) * cluster) for number in self.allocated)
        position = 0
        for start, end in _runs(dirty, self.granule, size):
            at = start
            while position < len(spans) and spans[position][1] <= start:
                position += 1
            for begin, until in spans[position:]:
                if begin >= end:
                    break
                if begin > at:
                    yield Extent(at, begin - at, ExtentKind.ZERO)
                at = max(at, begin)
                yield Extent(at, min(end, until) - at, ExtentKind.DATA)
                at = min(end, until)
            if at < end:
                yield Extent(at, end - at, ExtentKind.ZERO)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of a range that lies inside the disk."""
        first, last = offset // PAGE, (offset + length - 1) // PAGE
        get, inside = self.content.pages.get, offset % PAGE
        return b"".join([get(n, ZERO_PAGE) for n in range(first, last + 1)])[inside : inside + length]


def changed_pages(before: Content | None, after: Content) -> Iterable[int]:
    """Numbers of pages of `after` that read differently from `before`."""
    return after.pages if before is None else before.differing(after)


def covered(numbers: Iterable[int], ranges: Iterable[tuple[int, int]], size: int) -> Mapping[int, bool]:
    """Per page whether the sorted (start, end) ranges cover every byte of it that the disk has."""
    found: dict[int, bool] = {}
    spans = _joined(ranges)
    position = 0
    for number in numbers:
        start, end = number * PAGE, min((number + 1) * PAGE, size)
        while position < len(spans) and spans[position][1] <= start:
            position += 1
        found[number] = position < len(spans) and spans[position][0] <= start and spans[position][1] >= end
    return found


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def _runs(dirty: Iterable[int] | None, granule: int, size: int) -> Iterator[tuple[int, int]]:
    if dirty is None:
        yield 0, size
        return
    start = end = -1
    for index in sorted(dirty):
        begin, until = index * granule, min((index + 1) * granule, size)
        if begin >= size:
            continue
        if begin == end:
            end = until
            continue
        if end > start:
            yield start, end
        start, end = begin, until
    if end > start:
        yield start, end
