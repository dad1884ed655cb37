"""The receiver's store: an item's recovery points, sealed in order, in files that describe themselves.

    <item>/manifest.json                     which points are sealed, and where (generation, checksum)
    <item>/base-<epoch>-<seq>.<disk>.raw     a full copy: raw and sparse
    <item>/point-<epoch>-<seq>.<disk>.qcow2  what one cycle changed, over the base or point before it
    <item>/log-<epoch>-<seq>.cycle           a cycle log on its way to become a point
    <item>/digests/<disk>.*                  page digests of the head

Sealed files never change, so points are read, booted and proven while cycles go on (I24).

Today every cycle is a point and no point is ever removed.  What grows is bounded only in depth: a disk whose chain is
CHAIN_MAX overlays long must come whole again.  Retention and folding are the engine's next issue.
"""

from __future__ import annotations

from contextlib import suppress

from drill.errors import Damaged, DrillError, Failed, Refused, ResyncNeeded, Usage
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.ports import Clock, Files, Lanes
from drill.replication import manifest, names
from drill.replication.comparing import HeadDigests
from drill.replication.cyclelog import LogReader, check_header
from drill.replication.landing import Landing, Source
from drill.replication.manifest import DIGESTS, Manifests, SealedPoint, StoredDisk, names_in, page_digests

CHAIN_MAX = 200
"""QEMU opens every file of a chain, a few hundred at most before it meets its limit of open files."""


class Store:
    """All items of one receiver.  One call per item at a time; the caller keeps the lock."""

    def __init__(self, files: Files, clock: Clock, lanes: Lanes) -> None:
        self._files = files
        self._clock = clock
        self._lanes = lanes
        self._manifests = Manifests(files)

    def items(self) -> tuple[str, ...]:
        """Items that have a manifest, sorted."""
        return tuple(name for name in self._files.list("") if self._manifests.exists(name))

    def points(self, item: str) -> tuple[SealedPoint, ...]:
        """Sealed points, oldest first; empty for an unknown item.  Damaged when the manifest is."""
        names.item(item)
        return self._manifests.get(item).points if self._manifests.exists(item) else ()

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
        points = self.points(header.item)
        if not points:
            _expect(header, header.sequence == 1 and not header.supersedes, "sequence 1 of an epoch, nothing before")
            return True
        head = points[-1].point
        if _is_again(header, head):
            return False
        if header.sequence == 1:
            known = {found.point.epoch for found in points}
            right = header.supersedes == head.log_digest and header.epoch not in known
        else:
            offered = (header.epoch, header.sequence - 1, header.parent_digest)
            right = offered == (head.epoch, head.sequence, head.log_digest)
        _expect(header, right, f"epoch {head.epoch} sequence {head.sequence + 1} parent {head.log_digest}")
        _check_disks(header, points)
        return True

    def receive(self, header: LogHeader, source: Source) -> Point:
        """Take a log from `source`, make it durable, apply it, seal it; the point that it became.

        The head's own log is read, compared and acknowledged again (I8).  Whatever is raised, no point was sealed,
        save for Unknown: then the item is stopped until the process starts again (I18).
        """
        is_new, item = self.accept(header), header.item
        head = self.head(item)
        landing = Landing(self._files, self._lanes, header, head)
        if not is_new:
            return _again(landing.reader(source), head)
        try:
            self._manifests.get(item)
            self._settle(header, head)
            reader = landing.land(source)
            point = self._point(reader)
            self._manifests.append(SealedPoint(point=point, machine=header.machine, disks=landing.disks))
        except OSError as error:
            self._manifests.reopen(item)
            raise Failed("storing a cycle", str(error)) from error
        except DrillError:
            self._manifests.reopen(item)
            raise
        except BaseException:
            self._manifests.close(item)
            raise
        with suppress(OSError):
            self._files.remove(landing.log_path)
        return point

    def head_digests(self, item: str, epoch: str, sequence: int, disk: str) -> HeadDigests:
        """The page digests of a disk of the head, for a source that compares."""
        return HeadDigests(self._files, self.head(item), epoch=epoch, sequence=sequence, disk=disk)

    def forget(self, item: str) -> None:
        """Delete an item with all its points; an unknown one is fine.  The manifest goes first: the rest is orphans."""
        names.item(item)
        if self._manifests.exists(item):
            self._files.remove(f"{item}/{manifest.NAME}")
            self._files.sync_folder(item)
        self._manifests.close(item)
        if item not in self._files.list(""):
            return
        for folder in (f"{item}/{DIGESTS}", item):
            found = names_in(self._files, folder)
            for name in found:
                self._files.remove(f"{folder}/{name}")
            with suppress(FileNotFoundError):
                self._files.remove_folder(folder)

    def _settle(self, header: LogHeader, head: SealedPoint | None) -> None:
        """Let the head's staged digests take effect; ResyncNeeded when they cannot and the disk does not come whole."""
        seals = {seal.target: seal for seal in head.point.disks} if head else {}
        for disk in header.disks:
            if head is None or disk.full:
                continue
            seal = seals[disk.target]
            try:
                page_digests(self._files, header.item, disk.target).commit(head.tag, seal.size_bytes, seal.digest)
            except Damaged as error:
                raise ResyncNeeded(header.item, disk.target, str(error)) from error

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
            term=header.term,
        )


def _again(reader: LogReader, head: SealedPoint | None) -> Point:
    for _ in reader.frames():
        pass
    if head is None or reader.log_digest != head.point.log_digest:
        raise Refused(f"sequence {reader.header.sequence} is sealed already, with another content", "I9")
    return head.point


def _expect(header: LogHeader, right: bool, expected: str) -> None:
    if not right:
        raise Refused(
            f"expected {expected}; offered epoch {header.epoch} sequence {header.sequence} "
            f"parent {header.parent_digest or header.supersedes or 'none'}",
            "I9",
        )


def _check_disks(header: LogHeader, points: tuple[SealedPoint, ...]) -> None:
    """A disk that comes in part must continue one of the head's, of the same size (a compared one may have grown), and
    not too long a chain."""
    sizes = {seal.target: seal.size_bytes for seal in points[-1].point.disks}
    for disk in header.disks:
        if disk.full:
            continue
        size = sizes.get(disk.target)
        if size != disk.size_bytes and not (disk.compared and size is not None and size < disk.size_bytes):
            raise ResyncNeeded(header.item, disk.target, f"size {disk.size_bytes}, was {size}")
        if _chain(points, disk.target) >= CHAIN_MAX:
            raise ResyncNeeded(header.item, disk.target, f"its chain of overlays is {CHAIN_MAX} long")


def _chain(points: tuple[SealedPoint, ...], target: str) -> int:
    """Overlays above the base of a disk of the head."""
    length = 0
    for found in reversed(points):
        disk = found.disk(target)
        if disk is None or disk.format == "raw":
            break
        length += 1
    return length


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
