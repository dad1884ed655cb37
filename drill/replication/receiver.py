"""What the receiver role answers about its points: listed, handed out for a test failover, proven, forgotten.

Overlays are thrown away after a drill.  They lie outside the store, one folder per run, and nothing else remembers a
run: whoever asks looks into the folder (state is observed, never remembered).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

from drill.errors import Damaged, Refused
from drill.model.point import OverlayDisk, Point
from drill.model.retention import RetentionPolicy, StoreReport
from drill.ports import Files, Images
from drill.replication import names
from drill.replication.manifest import SealedPoint, StoredDisk, names_in
from drill.replication.overlay import backing_of
from drill.replication.store import Store


class Receiver:
    """The receiver's answers; `runs` is the folder of the overlays.  One call per item at a time."""

    def __init__(self, store: Store, images: Images, runs: Files) -> None:
        self._store = store
        self._images = images
        self._runs = runs

    def points(self, item: str) -> tuple[Point, ...]:
        """Sealed points, oldest first."""
        return tuple(found.point for found in self._store.points(item))

    def head(self, item: str) -> Point | None:
        """The newest sealed point."""
        head = self._store.head(item)
        return head.point if head else None

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests (hex) of chunks of a disk of the head."""
        return self._store.head_digests(item, epoch, sequence, disk).chunks(first, count)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests (hex) of chunks of a disk of the head."""
        return self._store.head_digests(item, epoch, sequence, disk).leaves(chunks)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Runs of pages of a disk of the head that rotted."""
        return self._store.head_digests(item, epoch, sequence, disk).rotten

    def kept(self, item: str) -> StoreReport:
        """Everything the store says of an item; without points for an unknown one."""
        return self._store.report(item)

    def lock(self, item: str, epoch: str, sequence: int, reason: str) -> None:
        """Keep a point until it is unlocked."""
        self._store.lock(item, epoch, sequence, reason)

    def unlock(self, item: str, epoch: str, sequence: int) -> None:
        """Leave a point to retention again."""
        self._store.unlock(item, epoch, sequence)

    def retain(self, item: str, policy: RetentionPolicy) -> None:
        """How long points of an item are kept from now on."""
        self._store.retain(item, policy)

    def items(self) -> tuple[str, ...]:
        """Items that the store knows, sorted."""
        return self._store.items()

    def tend(self, item: str) -> bool:
        """One slice of what is due between cycles; False when nothing is."""
        return self._store.tend(item, self._used(item))

    def scrub(self, item: str) -> bool:
        """One slice of the scrub that is due; False when none is."""
        return self._store.scrub(item)

    def overlays(self, run: str, item: str, epoch: str, sequence: int) -> tuple[OverlayDisk, ...]:
        """One overlay per disk over a point; the same again gives the same disks.

        Usage when there is no such point, Refused when the run has disks of another point of this item already.
        """
        names.run(run)
        found = self._store.whole_point(item, epoch, sequence)
        self._runs.make_folder(run)
        return tuple(self._overlay(run, found, disk) for disk in found.disks)

    def remove_overlays(self, run: str) -> None:
        """Remove the folder of a run."""
        names.run(run)
        if run not in self._runs.list(""):
            return
        for name in self._runs.list(run):
            self._runs.remove(f"{run}/{name}")
        self._runs.remove_folder(run)
        self._runs.sync_folder("")

    def witness(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """(target, SHA-256) per disk of a point, read whole by a foreign tool."""
        found = self._store.point(item, epoch, sequence)
        return tuple(
            (disk.target, self._images.content_sha256(self._sealed(found, disk)[0], disk.format))
            for disk in found.disks
        )

    def proof(self, item: str, epoch: str, sequence: int) -> Generator[None, None, tuple[tuple[str, str], ...]]:
        """(target, digest) per disk of a point as it is stored, slice by slice; where that found rot the scrub goes
        on at once, to say which other points have it and what must come again."""
        found = yield from self._store.proof(item, epoch, sequence)
        if self._store.point(item, epoch, sequence).damaged:
            while self._store.scrub(item):
                yield
        return found

    def forget(self, item: str) -> None:
        """Delete an item's replica; Refused while a run has disks over one of its points."""
        names.item(item)
        for run in self._runs.list(""):
            if any(name.startswith(f"{item}.") for name in self._runs.list(run)):
                raise Refused(f"run {run} has disks over points of {item}", "I21", "complete that test first")
        self._store.forget(item)

    def _used(self, item: str) -> frozenset[str]:
        """Files of the item that disks of a run stand on, as those disks' headers say."""
        folder, found = self._store.locate(item, ""), set()
        for run in self._runs.list(""):
            for name in names_in(self._runs, run):
                if name.startswith(f"{item}.") and name.endswith(".qcow2"):
                    with suppress(FileNotFoundError):  # a run may be taken away at any time
                        backing = backing_of(self._runs, f"{run}/{name}")
                        found |= {backing.removeprefix(folder)} if backing.startswith(folder) else set()
        return frozenset(found)

    def _overlay(self, run: str, found: SealedPoint, disk: StoredDisk) -> OverlayDisk:
        """Made under another name first, so that a file of the right name is whole."""
        item = found.point.item
        name = f"{run}/{item}.{disk.target}.qcow2"
        path, (backing, size) = self._runs.locate(name), self._sealed(found, disk)
        if self._runs.size(name) is not None:
            if self._images.describe(path, "qcow2").backing != backing:
                raise Refused(f"run {run} has another disk {disk.target} of {item}", cure="use another run")
            return OverlayDisk(target=disk.target, path=path)
        fresh = f"{run}/{item}.{disk.target}.new"
        if self._runs.size(fresh) is not None:
            self._runs.remove(fresh)
        self._store.reserve.backed(lambda: self._create(fresh, backing, disk.format, size))
        self._runs.replace(fresh, name)
        return OverlayDisk(target=disk.target, path=path)

    def _create(self, name: str, backing: str, format: str, size_bytes: int) -> None:
        """An empty overlay; what a disk without room left of an earlier one is removed."""
        if self._runs.size(name) is not None:
            self._runs.remove(name)
        self._images.create_overlay(self._runs.locate(name), backing, format, size_bytes)

    def _sealed(self, found: SealedPoint, disk: StoredDisk) -> tuple[str, int]:
        """Where a disk of a point lies, and its bytes; Damaged when the file has another size than was sealed."""
        path = self._store.locate(found.point.item, disk.file)
        size = next(seal.size_bytes for seal in found.point.disks if seal.target == disk.target)
        there = self._images.describe(path, disk.format).size_bytes
        if there != size:
            raise Damaged(path, f"a disk of {there} bytes, sealed were {size}")
        return path, size
