"""The receiver's store: an item's recovery points, sealed in order, in files that describe themselves.

    <item>/manifest.json                     which points are sealed, and where (generation, checksum)
    <item>/base-<epoch>-<seq>.<disk>.raw     a full copy: raw and sparse
    <item>/point-<epoch>-<seq>.<disk>.qcow2  what one cycle changed, over the base or point before it
    <item>/log-<epoch>-<seq>.cycle           a cycle log on its way to become a point
    <item>/digests/<disk>.*                  page digests of the head

A file is written once, under a name that the manifest does not know yet; sealing is the one atomic replacement of the
manifest (I4, I16).  Whatever the manifest does not name is an orphan and is collected when the item is opened (I20).
Sealed files never change, so points are read, booted and proven while cycles go on (I24).

Today every cycle is a point and all points are kept; retention and folding come with the engine's next issue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from drill.errors import BadInput, Damaged, DrillError, Failed, Refused, ResyncNeeded, Unknown, Usage
from drill.model.cycle import LogDisk, LogHeader
from drill.model.machine import Machine
from drill.model.point import DiskSeal, Point
from drill.ports import Clock, Files, Lanes
from drill.replication import names, sealed
from drill.replication.cyclelog import Frame, LogReader, Order, check_header, unpack
from drill.replication.digests import PageDigests, Staging
from drill.replication.qcow2 import OverlayWriter

MANIFEST = "manifest.json"
KIND = "manifest-0"
_SPOOL_BYTES = 1 << 20

Source = Callable[[int], bytes | memoryview]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDisk:
    """Where the content of one disk of a point begins: a file of the item's folder."""

    target: str
    file: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPoint:
    """A point, the machine it belongs to, and its files."""

    point: Point
    machine: Machine
    disks: tuple[StoredDisk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All sealed points of an item, oldest first, and every file they need."""

    item: str
    points: tuple[SealedPoint, ...]
    files: tuple[str, ...]


class _DiskWriter(Protocol):
    def add(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...


class BaseWriter:
    """A full copy: a raw file in which whatever is zero stays a hole."""

    def __init__(self, files: Files, path: str, size_bytes: int) -> None:
        self._files = files
        self._path = path
        files.truncate(path, 0)
        files.truncate(path, size_bytes)

    def add(self, frame: Frame) -> None:
        """Write the data of a frame."""
        for piece in frame.pieces:
            if piece.leaves:
                self._files.write(self._path, piece.extent.offset, piece.data)

    def finish(self) -> None:
        """Make it durable."""
        self._files.sync(self._path)


class Store:
    """All items of one receiver.  One call per item at a time; the caller keeps the lock."""

    def __init__(self, files: Files, clock: Clock, lanes: Lanes) -> None:
        self._files = files
        self._clock = clock
        self._lanes = lanes
        self._open: dict[str, sealed.Sealed[Manifest]] = {}
        self._stopped: dict[str, str] = {}

    def items(self) -> tuple[str, ...]:
        """Items that have a manifest, sorted."""
        return tuple(name for name in self._files.list("") if self._files.size(f"{name}/{MANIFEST}") is not None)

    def points(self, item: str) -> tuple[SealedPoint, ...]:
        """Sealed points, oldest first; empty for an unknown item.  Damaged when the manifest is."""
        names.item(item)
        if self._files.size(f"{item}/{MANIFEST}") is None:
            return ()
        return self._manifest(item).value.points

    def head(self, item: str) -> SealedPoint | None:
        """The newest point."""
        points = self.points(item)
        return points[-1] if points else None

    def point(self, item: str, epoch: str, sequence: int) -> SealedPoint:
        """A sealed point, or Usage."""
        for found in self.points(item):
            if (found.point.epoch, found.point.sequence) == (epoch, sequence):
                return found
        raise Usage(f"item {item} has no point {epoch}/{sequence}", "list the points that are there")

    def locate(self, item: str, disk: StoredDisk) -> str:
        """The absolute path of a disk of a point."""
        return self._files.locate(f"{item}/{disk.file}")

    def accept(self, header: LogHeader) -> bool:
        """Whether a log is the next one (True) or the head itself once more (False).

        Refused names the log that is expected (I9), ResyncNeeded a disk that can only be taken whole; nothing is
        written by either.
        """
        check_header(header)
        _check_names(header)
        head = self.head(header.item)
        if head is not None and _is_again(header, head.point):
            return False
        if head is None:
            self._expect(
                header, header.sequence == 1 and not header.supersedes, "sequence 1 of an epoch, nothing before"
            )
            return True
        if header.sequence == 1:
            known = {found.point.epoch for found in self.points(header.item)}
            right = header.supersedes == head.point.log_digest and header.epoch not in known
        else:
            right = (header.epoch, header.sequence - 1, header.parent_digest) == (
                head.point.epoch,
                head.point.sequence,
                head.point.log_digest,
            )
        point = head.point
        self._expect(header, right, f"epoch {point.epoch} sequence {point.sequence + 1} parent {point.log_digest}")
        self._check_disks(header, head)
        return True

    def receive(self, header: LogHeader, source: Source) -> Point:
        """Take a log from `source`, make it durable, apply it, seal it; the point that it became.

        The head's own log is read, compared and acknowledged again (I8).  Whatever is raised, no point was sealed,
        save for Unknown: then the item is stopped until the process starts again (I18).
        """
        if not self.accept(header):
            return self._again(header, source)
        try:
            self._manifest(header.item)
            self._settle(header)
            found = self._land(header, source)
            self._append(found)
        except OSError as error:
            self._reopen(header.item)
            raise Failed("storing a cycle", str(error)) from error
        except DrillError:
            self._reopen(header.item)
            raise
        except BaseException:
            self._open.pop(header.item, None)
            raise
        with suppress(OSError):
            self._files.remove(_log_path(header))
        return found.point

    def forget(self, item: str) -> None:
        """Delete an item with all its points; an unknown one is fine."""
        names.item(item)
        if self._files.size(f"{item}/{MANIFEST}") is not None:
            self._files.remove(f"{item}/{MANIFEST}")
            self._files.sync_folder(item)
        self._open.pop(item, None)
        for folder in (f"{item}/digests", item):
            for name in self._list(folder):
                if name != "digests":
                    self._files.remove(f"{folder}/{name}")
            if item in self._list("") and (folder == item or "digests" in self._list(item)):
                self._files.remove_folder(folder)

    def _land(self, header: LogHeader, source: Source) -> SealedPoint:
        """Everything but the seal: the point's files, durable, checked, under names that no manifest knows."""
        self._files.make_folder(f"{header.item}/digests")
        self._files.sync_folder("")
        if not any(disk.full for disk in header.disks):
            source = self._spool(header, source)
        reader = self._reader(header, source)
        disks, roots = self._apply(reader)
        for disk, seal, found in zip(header.disks, reader.trailer.disks, roots, strict=True):
            if seal.digest != found:
                raise ResyncNeeded(header.item, disk.target, "the digests of source and receiver differ")
        point = self._point(reader)
        self._files.sync_folder(f"{header.item}/digests")
        self._files.sync_folder(header.item)
        return SealedPoint(point=point, machine=header.machine, disks=disks)

    def _spool(self, header: LogHeader, source: Source) -> Source:
        """Write the log to a file, check it whole, make it durable; returns where to read it from."""
        path = _log_path(header)
        self._files.truncate(path, 0)
        spool = _Spool(self._files, path, source)
        for _ in self._reader(header, spool.take).frames():
            pass
        spool.flush()
        self._files.sync(path)
        self._files.sync_folder(header.item)
        return _FileSource(self._files, path).take

    def _reader(self, header: LogHeader, source: Source) -> LogReader:
        reader = LogReader(source)
        if reader.header != header:
            raise BadInput("cycle log", "its header is not the one that was offered")
        return reader

    def _apply(self, reader: LogReader) -> tuple[tuple[StoredDisk, ...], list[str]]:
        """Write the files of the new point; returns them and the roots that their content has."""
        header = reader.header
        disks = tuple(self._stored(header, disk) for disk in header.disks)
        writers = [self._writer(header, disk, stored) for disk, stored in zip(header.disks, disks, strict=True)]
        stagings = [self._staging(header, disk) for disk in header.disks]
        try:
            order = Order(header)
            for frame in self._lanes.ordered(unpack, reader.frames()):
                order.check(frame)
                writers[frame.index].add(frame)
                _stage(stagings[frame.index], frame, header)
            order.close()
            for writer in writers:
                writer.finish()
            return disks, [staging.finish() for staging in stagings]
        except BaseException:
            for staging in stagings:
                staging.discard()
            raise

    def _stored(self, header: LogHeader, disk: LogDisk) -> StoredDisk:
        if disk.full:
            return StoredDisk(target=disk.target, file=f"base-{_tag(header)}.{disk.target}.raw", format="raw")
        return StoredDisk(target=disk.target, file=f"point-{_tag(header)}.{disk.target}.qcow2", format="qcow2")

    def _writer(self, header: LogHeader, disk: LogDisk, stored: StoredDisk) -> _DiskWriter:
        path = f"{header.item}/{stored.file}"
        if disk.full:
            return BaseWriter(self._files, path, disk.size_bytes)
        parent = _disk_of(self.head(header.item), disk.target)
        if parent is None:
            raise RuntimeError(f"{disk.target} has no parent, which `accept` had checked")
        return OverlayWriter(
            self._files, path, size_bytes=disk.size_bytes, backing=parent.file, backing_format=parent.format
        )

    def _staging(self, header: LogHeader, disk: LogDisk) -> Staging:
        digests = self._digests(header.item, disk.target)
        return Staging(self._files, digests, _tag(header), disk.size_bytes, fresh=disk.full)

    def _digests(self, item: str, target: str) -> PageDigests:
        return PageDigests(self._files, f"{item}/digests/{target}")

    def _point(self, reader: LogReader) -> Point:
        header = reader.header
        return Point(
            item=header.item,
            epoch=header.epoch,
            sequence=header.sequence,
            begun_us=header.begun_us,
            taken_us=header.taken_us,
            sealed_us=self._clock.now_us(),
            full=all(disk.full for disk in header.disks),
            application_consistent=header.application_consistent,
            disks=reader.trailer.disks,
            log_digest=reader.log_digest,
            parent_digest=header.parent_digest,
            sent_bytes=reader.read_bytes,
        )

    def _append(self, found: SealedPoint) -> None:
        """The seal: the manifest names the point and its files, durably."""
        item = found.point.item
        before = self._manifest(item)
        manifest = Manifest(
            item=item,
            points=(*before.value.points, found),
            files=tuple(sorted({*before.value.files, *(disk.file for disk in found.disks)})),
        )
        self._write(manifest, before.generation + 1)

    def _write(self, manifest: Manifest, generation: int) -> None:
        item = manifest.item
        try:
            sealed.write(self._files, f"{item}/{MANIFEST}", KIND, Manifest, manifest, generation=generation)
        except Unknown as error:
            self._open.pop(item, None)
            self._stopped[item] = error.cause
            raise
        self._open[item] = sealed.Sealed(generation, manifest)

    def _manifest(self, item: str) -> sealed.Sealed[Manifest]:
        """The item's manifest; the first time it is written anew, so that what is served is durable for certain."""
        if item in self._stopped:
            raise Failed("serving the store", f"{item} was stopped: {self._stopped[item]}", "start the agent again")
        if item not in self._open:
            found = sealed.read(self._files, f"{item}/{MANIFEST}", KIND, Manifest)
            if found is None:
                self._open[item] = sealed.Sealed(0, Manifest(item=item, points=(), files=()))
            elif found.value.item != item:
                raise Damaged(f"{item}/{MANIFEST}", f"it belongs to item {found.value.item}")
            else:
                self._write(found.value, found.generation + 1)
            self._collect(self._open[item].value)
        return self._open[item]

    def _collect(self, manifest: Manifest) -> None:
        """Remove what no sealed point needs."""
        item, kept = manifest.item, {MANIFEST, "digests", *manifest.files}
        for name in self._list(item):
            if name not in kept:
                self._files.remove(f"{item}/{name}")
        needed = set[str]()
        if manifest.points:
            head = manifest.points[-1].point
            for seal in head.disks:
                needed |= set(self._digests(item, seal.target).names(f"{head.epoch}-{head.sequence}"))
        for name in self._list(f"{item}/digests"):
            if name not in needed:
                self._files.remove(f"{item}/digests/{name}")

    def _settle(self, header: LogHeader) -> None:
        """Let the head's staged digests take effect; ResyncNeeded when they cannot and the disk does not come whole."""
        head = self.head(header.item)
        seals: dict[str, DiskSeal] = {} if head is None else {seal.target: seal for seal in head.point.disks}
        for disk in header.disks:
            if head is None or disk.full:
                continue
            seal = seals[disk.target]
            try:
                tag = f"{head.point.epoch}-{head.point.sequence}"
                self._digests(header.item, disk.target).commit(tag, seal.size_bytes, seal.digest)
            except Damaged as error:
                raise ResyncNeeded(header.item, disk.target, str(error)) from error

    def _again(self, header: LogHeader, source: Source) -> Point:
        reader = self._reader(header, source)
        for _ in reader.frames():
            pass
        head = self.head(header.item)
        if head is None or reader.log_digest != head.point.log_digest:
            raise Refused(f"sequence {header.sequence} is sealed already, with another content", "I9")
        return head.point

    def _expect(self, header: LogHeader, right: bool, expected: str) -> None:
        if not right:
            raise Refused(
                f"expected {expected}; offered epoch {header.epoch} sequence {header.sequence} "
                f"parent {header.parent_digest or header.supersedes or 'none'}",
                "I9",
            )

    def _check_disks(self, header: LogHeader, head: SealedPoint) -> None:
        """A disk that comes in part must continue one of the head's, of the same size."""
        sizes = {seal.target: seal.size_bytes for seal in head.point.disks}
        for disk in header.disks:
            if not disk.full and sizes.get(disk.target) != disk.size_bytes:
                raise ResyncNeeded(header.item, disk.target, f"size {disk.size_bytes}, was {sizes.get(disk.target)}")

    def _reopen(self, item: str) -> None:
        """After a failure only what is on disk counts: read it again, and collect what the failed log left."""
        self._open.pop(item, None)
        with suppress(OSError, DrillError):
            self._manifest(item)

    def _list(self, folder: str) -> tuple[str, ...]:
        try:
            return self._files.list(folder)
        except FileNotFoundError:
            return ()


class _Spool:
    """Passes on what it reads from a source and appends it to a file."""

    def __init__(self, files: Files, path: str, source: Source) -> None:
        self._files = files
        self._path = path
        self._source = source
        self._buffer = bytearray()
        self._written = 0

    def take(self, length: int) -> bytes | memoryview:
        data = self._source(length)
        self._buffer += data
        if len(self._buffer) >= _SPOOL_BYTES:
            self.flush()
        return data

    def flush(self) -> None:
        self._files.write(self._path, self._written, bytes(self._buffer))
        self._written += len(self._buffer)
        self._buffer.clear()


class _FileSource:
    """Reads a file from its beginning."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._at = 0

    def take(self, length: int) -> bytes:
        data = self._files.read(self._path, self._at, length)
        self._at += len(data)
        return data


def _stage(staging: Staging, frame: Frame, header: LogHeader) -> None:
    """Digests that rotted make continuing impossible, and the disk's next copy a whole one."""
    try:
        staging.add(frame)
    except Damaged as error:
        raise ResyncNeeded(header.item, header.disks[frame.index].target, str(error)) from error


def _log_path(header: LogHeader) -> str:
    return f"{header.item}/log-{_tag(header)}.cycle"


def _tag(header: LogHeader) -> str:
    return f"{header.epoch}-{header.sequence}"


def _disk_of(point: SealedPoint | None, target: str) -> StoredDisk | None:
    found = [disk for disk in point.disks if disk.target == target] if point else []
    return found[0] if found else None


def _is_again(header: LogHeader, point: Point) -> bool:
    """Whether a header is that of the head's own log, as far as the point records it."""
    return (header.epoch, header.sequence, header.parent_digest, header.begun_us, header.taken_us) == (
        point.epoch,
        point.sequence,
        point.parent_digest,
        point.begun_us,
        point.taken_us,
    )


def _check_names(header: LogHeader) -> None:
    names.item(header.item)
    names.epoch(header.epoch)
    for disk in header.disks:
        names.target(disk.target)
