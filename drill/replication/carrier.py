"""What one cycle carries from the disks into its log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from drill.errors import Damaged, Failed, ResyncNeeded
from drill.model.cycle import LogHeader
from drill.model.extent import Extent, ExtentKind
from drill.model.point import DiskSeal
from drill.ports import Files, Lanes
from drill.replication.digests import PageDigests, Staging, without_known_zeros
from drill.replication.extents import PAGE_BYTES, grouped, page_aligned
from drill.replication.frame import CONTENT_MAX, EXTENTS_MAX, Frame, Packed, Piece, pack, piece, trim
from drill.replication.pace import Pace

TRIM_ZERO_MAX = 64 << 20
"""A longer run of zeros is sent without looking whether it was zeros before: its leaves would fill the memory."""

HOPELESS_FRAMES = 8
"""After so many frames in a row that did not compress, only every eighth is tried."""

_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class _Group:
    """Consecutive extents of one disk that fill one frame."""

    index: int
    extents: tuple[Extent, ...]
    compress: bool


class JobContent(Protocol):
    """What a cycle reads of a backup job (drill.ports.BackupJob), or of what watches one."""

    def extents(self, disk: str) -> Iterable[Extent]:
        """What is to be carried of a disk, sorted."""
        ...

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Bytes of a disk at the instant."""
        ...

    def witness(self, disk: str) -> str:
        """SHA-256 (hex) of a whole read by a tool that is not ours."""
        ...


class FrameSink(Protocol):
    """Where frames go: the log, or what looks at them on their way there."""

    def frame(self, packed: Packed) -> None:
        """Append a frame."""
        ...


class Carrier:
    """What one cycle carries: frames into the log, leaves into the staged digests, sums for the record."""

    def __init__(
        self, files: Files, lanes: Lanes, header: LogHeader, tag: str, pace: Pace, *, compress: bool = True
    ) -> None:
        self.header = header
        self._pace = pace
        self._compress = compress
        self.data_bytes = 0  # what the tracker says, before it is trimmed
        self.zero_bytes = 0
        self._stored_in_a_row = 0
        self._lanes = lanes
        self._files = files
        self._folder = f"{header.item}/digests"
        files.make_folder(self._folder)
        self._digests = [PageDigests(files, f"{self._folder}/{disk.target}") for disk in header.disks]
        self._stagings = [
            Staging(files, digests, tag, disk.size_bytes, fresh=disk.full)
            for disk, digests in zip(header.disks, self._digests, strict=True)
        ]

    def carry(self, job: JobContent, writer: FrameSink) -> None:
        """Read what the disks owe and write it to the log; reading, digesting and compressing share the lanes."""

        def packed(group: _Group) -> Packed | None:
            pieces = list(self._pieces(job, group))
            return pack(group.index, pieces, compress=group.compress) if pieces else None

        try:
            for frame in self._lanes.ordered(packed, self._groups(job)):
                if frame is not None:
                    writer.frame(frame)
                    self._stage(frame.frame)
                    self._stored_in_a_row = 0 if frame.is_compressed else self._stored_in_a_row + 1
        except BaseException:
            for staging in self._stagings:
                staging.discard()
            raise

    def seals(self, job: JobContent, *, witness: bool) -> tuple[DiskSeal, ...]:
        """How every disk is at the instant; the staged digests are durable."""
        seals = tuple(
            DiskSeal(
                target=disk.target,
                size_bytes=disk.size_bytes,
                digest=staging.finish(),
                witness=job.witness(disk.target) if witness else None,
            )
            for disk, staging in zip(self.header.disks, self._stagings, strict=True)
        )
        self._files.sync_folder(self._folder)
        return seals

    def _stage(self, frame: Frame) -> None:
        try:
            self._stagings[frame.index].add(frame)
        except Damaged as error:
            raise ResyncNeeded(self.header.item, self.header.disks[frame.index].target, str(error)) from error

    def _groups(self, job: JobContent) -> Iterator[_Group]:
        count = 0
        for index, disk in enumerate(self.header.disks):
            found: Iterable[Extent] = page_aligned(job.extents(disk.target), disk.size_bytes)
            if disk.compared:
                found = without_known_zeros(found, self._digests[index])
            for extents in grouped(found, CONTENT_MAX, EXTENTS_MAX - CONTENT_MAX // PAGE_BYTES):
                for extent in extents:
                    if extent.kind is ExtentKind.DATA:
                        self.data_bytes += extent.length
                    else:
                        self.zero_bytes += extent.length
                count += 1
                hopeless = self._stored_in_a_row >= HOPELESS_FRAMES and count % HOPELESS_FRAMES
                compress = self._compress and self._pace.compresses and not hopeless
                yield _Group(index, extents, compress=compress)

    def _pieces(self, job: JobContent, group: _Group) -> Iterator[Piece]:
        """The pages of a group that really changed (a tracker sees 64 KiB at a time); all of them for a full copy.

        What is left out is proven by the roots: the receiver compares, and a page that was missed is a mismatch.
        """
        disk = self.header.disks[group.index]
        for extent in group.extents:
            is_data = extent.kind is ExtentKind.DATA
            data = job.read(disk.target, extent.offset, extent.length) if is_data else _NOTHING
            if is_data and len(data) != extent.length:
                raise Failed(f"reading {disk.target}", f"{len(data)} of {extent.length} bytes came")
            found = piece(extent, data)
            if disk.full or (not is_data and extent.length > TRIM_ZERO_MAX):
                yield found
            else:
                yield from trim(found, self._known(group.index, extent))

    def _known(self, index: int, extent: Extent) -> bytes:
        try:
            return self._digests[index].leaves(extent.offset, extent.length)
        except Damaged as error:
            raise ResyncNeeded(self.header.item, self.header.disks[index].target, str(error)) from error
