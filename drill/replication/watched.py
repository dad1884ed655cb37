"""A backup job while a cycle reads it: how far it is, stopped when asked, and held against what the tracker said.

A deep check reads whole what the tracker would have had read in part.  A page that differs from the acknowledged
digests and that the tracker does not have as changed proves that the tracker lied, or that somebody wrote to the image
behind its back; it is counted, and sent like any other (I1 is mended by the point that the check seals).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from drill.errors import Cancelled
from drill.model.cycle import LogHeader
from drill.model.extent import Extent, ExtentKind
from drill.model.point import Progress, Way
from drill.ports import BackupJob
from drill.replication.continuity import DiskWay
from drill.replication.cyclelog import LogWriter
from drill.replication.digests import CHUNK_BYTES, PageDigests
from drill.replication.extents import PAGE_BYTES, page_aligned
from drill.replication.frame import Packed, Piece
from drill.replication.pages import LEAF_BYTES, NO_LEAF, ZERO_LEAF


class WatchedJob:
    """`job` as the engine reads it; `stopped` is asked before every read."""

    def __init__(self, job: BackupJob, ways: Sequence[DiskWay], stopped: Callable[[], bool]) -> None:
        self._job = job
        self._stopped = stopped
        self._total = sum(way.read_bytes for way in ways)
        self._done = 0
        self._checked = frozenset(way.target for way in ways if way.way is Way.COMPARED and way.base is not None)

    @property
    def progress(self) -> Progress:
        """Bytes read and found to be zeros, of those that are to be looked at."""
        return Progress(bytes_done=min(self._done, self._total), bytes_total=self._total)

    @property
    def checked(self) -> frozenset[str]:
        """Disks that are tracked and read whole all the same."""
        return self._checked

    def tracked(self, disk: str) -> Iterable[Extent]:
        """What the tracker says of a disk that is checked."""
        return self._job.extents(disk)

    def extents(self, disk: str) -> Iterator[Extent]:
        """What is to be carried of a disk."""
        for extent in self._job.whole(disk) if disk in self._checked else self._job.extents(disk):
            if extent.kind is ExtentKind.ZERO:
                self._done += extent.length
            yield extent

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes; Cancelled when the cycle is to stop."""
        if self._stopped():
            raise Cancelled("the cycle")
        found = self._job.read(disk, offset, length)
        self._done += length
        return found

    def witness(self, disk: str) -> str:
        """SHA-256 (hex) of a whole read by a tool that is not ours."""
        return self._job.witness(disk)

    def end(self) -> None:
        """End the job."""
        self._job.end()


class TrackerCheck:
    """Passes frames on to the log and counts, per disk, changed pages that the tracker does not have as changed."""

    def __init__(
        self, job: WatchedJob, header: LogHeader, digests: Callable[[str], PageDigests], writer: LogWriter
    ) -> None:
        self.untracked_pages = dict.fromkeys(job.checked, 0)
        self._job = job
        self._disks = header.disks
        self._digests = digests
        self._writer = writer
        self._ends: dict[str, tuple[list[int], list[int]]] = {}

    def frame(self, packed: Packed) -> None:
        """Look at a frame, and append it to the log."""
        disk = self._disks[packed.frame.index]
        if disk.target in self.untracked_pages:
            if disk.target not in self._ends:
                known = list(page_aligned(self._job.tracked(disk.target), disk.size_bytes))
                self._ends[disk.target] = [one.offset for one in known], [one.end for one in known]
            for piece in packed.frame.pieces:
                changed = self._changed(disk.target, piece)
                self.untracked_pages[disk.target] += sum(not self._is_tracked(disk.target, one) for one in changed)
        self._writer.frame(packed)

    def _changed(self, target: str, piece: Piece) -> Iterator[int]:
        """Offsets of the pages of a piece that are not what the acknowledged digests say."""
        digests, end = self._digests(target), piece.extent.end
        for start in range(piece.extent.offset, end, CHUNK_BYTES):
            known = digests.leaves(start, min(CHUNK_BYTES, end - start))
            for place in range(0, len(known), LEAF_BYTES):
                at = (start - piece.extent.offset) // PAGE_BYTES * LEAF_BYTES + place
                found = piece.leaves[at : at + LEAF_BYTES] if piece.leaves else ZERO_LEAF
                if known[place : place + LEAF_BYTES] not in (found, NO_LEAF):
                    yield start + place // LEAF_BYTES * PAGE_BYTES

    def _is_tracked(self, target: str, offset: int) -> bool:
        starts, ends = self._ends[target]
        index = bisect_right(starts, offset) - 1
        return index >= 0 and offset < ends[index]
