"""The receiver's store: an item's recovery points, sealed in order, in files that describe themselves.

    <item>/manifest.json                     which points are sealed, and where (generation, checksum)
    <item>/base-<epoch>-<seq>.<disk>.raw     a full copy: raw and sparse
    <item>/point-<epoch>-<seq>.<disk>.qcow2  what one cycle changed, over the base or point before it, until folded
    <item>/digests/<disk>.*                  page digests of the head

Every cycle is a point, and what a point says never changes, so points are read, booted and proven while cycles go on
(I24).  Which points go, and how their files are folded into those that stay, is the work of `upkeep`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace

from drill.core import retention
from drill.core.retention import POINTS_MAX
from drill.errors import Damaged, DrillError, Failed, Refused, ResyncNeeded, Usage
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.model.retention import KeptPoint, Lock, RetentionPolicy, StoreReport
from drill.ports import Clock, Files, Lanes
from drill.replication import manifest, names, rot
from drill.replication.comparing import HeadDigests
from drill.replication.cyclelog import LogReader, check_header
from drill.replication.frame import check
from drill.replication.landing import Landing, Source
from drill.replication.manifest import DIGESTS, Manifest, Manifests, SealedPoint, names_in, page_digests
from drill.replication.reserve import Reserve
from drill.replication.scrub import Scrub
from drill.replication.upkeep import Upkeep

CHAIN_MAX = 400
"""QEMU opens every file of a chain, and libvirt gives it 1,024 descriptors.  Folding keeps a chain below 180 files;
only test failovers that hold on to their points can keep it from doing so."""

REASON_MAX = 200
LOCKS_MAX = 32
LOCK = ".lock"
"""What a process claims before it writes below a folder."""


class Store:
    """All items of one receiver.  One call per item at a time; the caller keeps the lock."""

    def __init__(
        self, files: Files, clock: Clock, lanes: Lanes, points_max: int = POINTS_MAX, reserve_bytes: int = 0
    ) -> None:
        self._files = files
        self._clock = clock
        self._lanes = lanes
        self.reserve = Reserve(files, reserve_bytes)
        self._manifests = Manifests(files, self.reserve)
        self._upkeep = Upkeep(files, self._manifests, points_max)
        self._scrub = Scrub(files, clock, self._manifests)

    @classmethod
    def claimed(
        cls, files: Files, clock: Clock, lanes: Lanes, points_max: int = POINTS_MAX, reserve_bytes: int = 0
    ) -> Store:
        """The store for this process alone, until it ends: what was read of a manifest is kept, so a second writer
        would seal beside the first one's points.  Refused when another process has it; nothing was written then."""
        files.claim(LOCK)
        return cls(files, clock, lanes, points_max, reserve_bytes)

    def items(self) -> tuple[str, ...]:
        """Items that have a manifest, sorted."""
        return self._manifests.items()

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

    def whole_point(self, item: str, epoch: str, sequence: int) -> SealedPoint:
        """A point that may be served; Damaged, with those that may be, for one of which the scrub found rot."""
        found = self.point(item, epoch, sequence)
        if found.damaged:
            good = [f"{one.point.epoch}/{one.point.sequence}" for one in self.points(item) if not one.damaged]
            what = f"point {epoch}/{sequence} of {item}"
            rest = f"good ones: {', '.join(good[-5:])}" if good else "no other is good"
            raise Damaged(what, f"the bytes of {', '.join(found.damaged)} rotted; {rest}")
        return found

    def report(self, item: str) -> StoreReport:
        """Everything the store says of an item; without points for an unknown one."""
        names.item(item)
        manifest = self._manifests.get(item) if self._manifests.exists(item) else Manifest(item=item)
        points = tuple(KeptPoint(point=one.point, lock=one.lock, damaged=one.damaged) for one in manifest.points)
        return StoreReport(
            item=item,
            policy=manifest.policy,
            points=points,
            owed=manifest.owed,
            chain=self._upkeep.longest(item) if points else 0,
            proven=self._scrub.proven(item),
            rotten=tuple((one.target, sum(count for _, count in one.pages)) for one in manifest.rotten),
        )

    def lock(self, item: str, epoch: str, sequence: int, reason: str) -> None:
        """Keep a point until it is unlocked, whatever retention says; locking it again changes the reason."""
        if not 0 < len(reason) <= REASON_MAX or not reason.isprintable():
            raise Usage(f"a lock's reason is 1 to {REASON_MAX} printable characters")
        found = self.point(item, epoch, sequence)
        locked = sum(1 for one in self.points(item) if one.lock is not None and one is not found)
        if locked >= LOCKS_MAX:
            raise Refused(f"{locked} points of {item} are locked already", "I21", "unlock one that is not needed")
        self._put(item, replace(found, lock=Lock(reason=reason, locked_us=self._clock.now_us())))

    def unlock(self, item: str, epoch: str, sequence: int) -> None:
        """Leave a point to retention again; one that is not locked is fine."""
        found = self.point(item, epoch, sequence)
        if found.lock is not None:
            self._put(item, replace(found, lock=None))

    def retain(self, item: str, policy: RetentionPolicy) -> None:
        """How long points of an item are kept from now on, also when it has none yet.  Refused for no policy (E5)."""
        names.item(item)
        retention.check(policy)
        if not self._manifests.exists(item):
            self._files.make_folder(f"{item}/{DIGESTS}")
            self._files.sync_folder("")
        manifest = self._manifests.get(item)
        if manifest.policy != policy or not self._manifests.exists(item):
            self._manifests.change(replace(manifest, policy=policy))

    def term(self, item: str) -> int:
        """The highest term that was confirmed for an item; 1 for an unknown one."""
        names.item(item)
        return self._manifests.get(item).term if self._manifests.exists(item) else 1

    def raise_term(self, item: str, term: int) -> None:
        """From here on only logs of this term and later ones are taken (I29): what a failover confirms before it
        starts a machine.  Refused for a lower term than the item's; the same again is fine, an unknown item Usage."""
        if not self.points(item):
            raise Usage(f"item {item} has no points here", "a term is confirmed where a replica is")
        manifest = self._manifests.get(item)
        if term < manifest.term:
            raise Refused(f"term {term}, and {item} is in term {manifest.term}", "I29")
        if term > manifest.term:
            self._manifests.change(replace(manifest, term=term))

    def tend(self, item: str, used: frozenset[str]) -> bool:
        """One slice of retention and folding (drill/replication/upkeep.py); False when nothing is due."""
        names.item(item)
        if self._manifests.exists(item) and self._upkeep.tend(item, used):
            return True
        self.reserve.take()
        return False

    def scrub(self, item: str, *, every: bool = False) -> bool:
        """One slice of the scrub that is due, or with `every` all of it now; False when none was due."""
        names.item(item)
        if not self._manifests.exists(item):
            return False
        if every:
            self._scrub.whole(item)
        return every or self._scrub.step(item)

    def locate(self, item: str, file: str) -> str:
        """The absolute path of a file of an item; of its folder, with a slash behind it, for an empty name."""
        folder = self._files.locate(item)
        return f"{folder}/{file}"

    def accept(self, header: LogHeader) -> bool:
        """Whether a log is the next one (True) or the head itself once more (False).

        Refused names the log that is expected (I9), ResyncNeeded a disk that can only be taken whole; nothing is
        written by either.
        """
        check_header(header)
        _check_names(header)
        points = self.points(header.item)
        if header.term < (term := self.term(header.item)):
            raise Refused(f"a log of term {header.term}, and {header.item} is in term {term}", "I29")
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
            self._check_owed(header)
            self._settle(header, head)
            reader = landing.land(source)
            self._check_mended(header, landing)
            point = self._point(reader)
            self._manifests.append(
                SealedPoint(
                    point=point,
                    machine=header.machine,
                    disks=landing.disks,
                    elapsed_us=retention.elapsed(
                        (head.elapsed_us, head.point.sealed_us) if head else None, point.sealed_us
                    ),
                )
            )
        except OSError as error:
            landing.discard()
            self._manifests.reopen(item)
            raise Failed("storing a cycle", str(error)) from error
        except DrillError:
            self._manifests.reopen(item)
            raise
        except BaseException:
            self._manifests.close(item)
            raise
        return point

    def head_digests(self, item: str, epoch: str, sequence: int, disk: str) -> HeadDigests:
        """The page digests of a disk of the head, for a source that compares; Damaged where nobody knows what of it
        rotted."""
        rotten = self._manifests.get(item).rot(disk) if self._manifests.exists(item) else ()
        if rotten is None:
            raise Damaged(f"disk {disk} of {item}", "what is stored of it rotted")
        return HeadDigests(self._files, self.head(item), epoch=epoch, sequence=sequence, disk=disk, rotten=rotten)

    def proof(self, item: str, epoch: str, sequence: int) -> Generator[None, None, tuple[tuple[str, str], ...]]:
        """(target, content digest) per disk of a point as it is stored, in slices of 16 MiB; "" for what cannot be
        read.  A disk whose digest is not the sealed one is marked as damaged, and the scrub comes to it next."""
        found = self.point(item, epoch, sequence)
        digests = yield from self._scrub.prove(item, found)
        self.point(item, epoch, sequence)  # one that went meanwhile proves nothing
        return digests

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

    def _put(self, item: str, changed: SealedPoint) -> None:
        """A point with another lock or other damage."""
        manifest = self._manifests.get(item)
        key = (changed.point.epoch, changed.point.sequence)
        points = tuple(changed if (one.point.epoch, one.point.sequence) == key else one for one in manifest.points)
        self.reserve.backed(lambda: self._manifests.change(replace(manifest, points=points)))

    def _check_owed(self, header: LogHeader) -> None:
        """ResyncNeeded for a disk that rotted and comes neither whole nor compared by what of it did; Failed when its
        chain cannot grow any more."""
        item, known = header.item, self._manifests.get(header.item)
        for disk in header.disks:
            if disk.full:
                continue
            if disk.target in known.owed and not (disk.compared and known.rot(disk.target) is not None):
                raise ResyncNeeded(item, disk.target, "what is stored of it is damaged")
            if len(known.files) < CHAIN_MAX:
                continue
            try:
                length = self._upkeep.chain(item, disk.target)
            except Damaged as error:
                raise ResyncNeeded(item, disk.target, str(error)) from error
            if length >= CHAIN_MAX:
                cause = f"{length} files below {disk.target}, and test failovers keep them from being folded"
                raise Failed("storing a cycle", cause, "complete the tests of this item")

    def _check_mended(self, header: LogHeader, landing: Landing) -> None:
        """ResyncNeeded when a disk does not bring every page of it that rotted."""
        known = self._manifests.get(header.item)
        for disk, landed in zip(header.disks, landing.disks, strict=True):
            rotten = () if disk.full else known.rot(disk.target)
            if rotten and (page := rot.uncovered(self._files, f"{header.item}/{landed.file}", rotten)) is not None:
                raise ResyncNeeded(header.item, disk.target, f"page {page} of it rotted, and did not come")

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
            group=header.group,
        )


def _again(reader: LogReader, head: SealedPoint | None) -> Point:
    for packed in reader.frames():
        check(packed)
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
    """A disk that comes in part must continue one of the head's, of the same size (a compared one may have grown)."""
    sizes = {seal.target: seal.size_bytes for seal in points[-1].point.disks}
    for disk in header.disks:
        if disk.full:
            continue
        size = sizes.get(disk.target)
        if size != disk.size_bytes and not (disk.compared and size is not None and size < disk.size_bytes):
            raise ResyncNeeded(header.item, disk.target, f"size {disk.size_bytes}, was {size}")


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
