"""How a cycle log becomes files: everything a new point needs but its seal.

Every file is new, written once, under a name that no manifest knows yet, so a log is applied as it arrives: each frame
once it matches its digest, and none of it counts before the whole log has matched and the manifest names its files.
Writing the log itself first would write everything twice, and sending it again costs no more than reading it again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from drill.errors import BadInput, Damaged, ResyncNeeded
from drill.model.cycle import LogDisk, LogHeader
from drill.ports import Files, Lanes
from drill.replication.cyclelog import LogReader, Order
from drill.replication.digests import Staging
from drill.replication.frame import Frame, Packed, unpack
from drill.replication.manifest import DIGESTS, SealedPoint, StoredDisk, page_digests, tag
from drill.replication.qcow2 import OverlayWriter

Source = Callable[[int], bytes | memoryview]


class DiskWriter(Protocol):
    """A disk of the new point.  Every frame is given to `place`, then to `add`."""

    def place(self, frame: Frame) -> None:
        """Write what of a frame can be written in any order, also from several lanes at once, before it is accepted."""
        ...

    def add(self, frame: Frame) -> None:
        """Write the rest of it; frames of a disk come in ascending order."""
        ...

    def finish(self) -> None:
        """Make it durable and complete."""
        ...


class BaseWriter:
    """A full copy: a raw file in which whatever is zero stays a hole.  It is worth nothing before it is sealed."""

    def __init__(self, files: Files, path: str, size_bytes: int) -> None:
        self._files = files
        self._path = path
        self._size = size_bytes
        files.truncate(path, 0)
        files.truncate(path, size_bytes)

    def place(self, frame: Frame) -> None:
        """Write the data of a frame, none of it beyond the disk."""
        for piece in frame.pieces:
            if piece.extent.end > self._size:
                raise BadInput("cycle log", f"{piece.extent} reaches beyond the disk's {self._size} bytes")
            if piece.leaves:
                self._files.write(self._path, piece.extent.offset, piece.data)

    def add(self, frame: Frame) -> None:
        """Nothing is left to do."""

    def finish(self) -> None:
        """Make it durable."""
        self._files.sync(self._path)


class Landing:
    """One log on its way into an item's folder, on top of `head`."""

    def __init__(self, files: Files, lanes: Lanes, header: LogHeader, head: SealedPoint | None) -> None:
        self._files = files
        self._lanes = lanes
        self._header = header
        self._head = head
        self._tag = tag(header.epoch, header.sequence)
        self.disks = tuple(self._stored(disk) for disk in header.disks)

    def land(self, source: Source) -> LogReader:
        """Write and check the files; they are durable, and the log has been read to its end.

        ResyncNeeded names a disk whose digests differ; whatever is raised, files may be left that nobody knows.
        """
        item = self._header.item
        self._files.make_folder(f"{item}/{DIGESTS}")
        self._files.sync_folder("")
        reader = self.reader(source)
        self._compare(self._apply(reader), reader)
        self._files.sync_folder(f"{item}/{DIGESTS}")
        self._files.sync_folder(item)
        return reader

    def discard(self) -> None:
        """Remove what was written, whose names no manifest has: where the disk is full, its manifest needs the room."""
        for disk in self.disks:
            with suppress(OSError):
                self._files.remove(f"{self._header.item}/{disk.file}")

    def reader(self, source: Source) -> LogReader:
        """A reader of the log that was offered, and of no other."""
        reader = LogReader(source)
        if reader.header != self._header:
            raise BadInput("cycle log", "its header is not the one that was offered")
        return reader

    def _apply(self, reader: LogReader) -> list[str]:
        """Write the files of the new point; returns the roots that their content has."""
        writers = [self._writer(disk, stored) for disk, stored in zip(self._header.disks, self.disks, strict=True)]
        stagings = [self._staging(disk) for disk in self._header.disks]
        order = Order(self._header)

        def placed(packed: Packed) -> Frame:
            frame = unpack(packed)
            writers[frame.index].place(frame)
            return frame

        for frame in self._lanes.ordered(placed, reader.frames()):
            order.check(frame)
            writers[frame.index].add(frame)
            self._stage(stagings[frame.index], frame)
        order.close()
        for writer in writers:
            writer.finish()
        return [staging.finish() for staging in stagings]

    def _compare(self, roots: list[str], reader: LogReader) -> None:
        for disk, seal, found in zip(self._header.disks, reader.trailer.disks, roots, strict=True):
            if seal.digest != found:
                raise ResyncNeeded(self._header.item, disk.target, "the digests of source and receiver differ")

    def _stage(self, staging: Staging, frame: Frame) -> None:
        """Digests that rotted make continuing impossible, and the disk's next copy a whole one."""
        try:
            staging.add(frame)
        except Damaged as error:
            target = self._header.disks[frame.index].target
            raise ResyncNeeded(self._header.item, target, str(error)) from error

    def _stored(self, disk: LogDisk) -> StoredDisk:
        if disk.full:
            return StoredDisk(target=disk.target, file=f"base-{self._tag}.{disk.target}.raw", format="raw")
        return StoredDisk(target=disk.target, file=f"point-{self._tag}.{disk.target}.qcow2", format="qcow2")

    def _writer(self, disk: LogDisk, stored: StoredDisk) -> DiskWriter:
        path = f"{self._header.item}/{stored.file}"
        if disk.full:
            return BaseWriter(self._files, path, disk.size_bytes)
        parent = self._head.disk(disk.target) if self._head else None
        if parent is None:
            raise ResyncNeeded(self._header.item, disk.target, "nothing is stored that it could continue")
        return OverlayWriter(
            self._files, path, size_bytes=disk.size_bytes, backing=parent.file, backing_format=parent.format
        )

    def _staging(self, disk: LogDisk) -> Staging:
        digests = page_digests(self._files, self._header.item, disk.target)
        return Staging(self._files, digests, self._tag, disk.size_bytes, fresh=disk.full)
