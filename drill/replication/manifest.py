"""The manifests of a store: which points are sealed, and every file they need.

Sealing is the one atomic replacement of an item's manifest (I4, I16).  Whatever it does not name is an orphan, and is
collected when the item is opened (I20).  A manifest is written anew when it is first opened, so that what is served is
durable for certain; once the last sync of a write has failed nobody knows what a power failure would show, and the
item is stopped until the process starts again (I18).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from drill.errors import Damaged, DrillError, Failed, Unknown
from drill.model.machine import Machine
from drill.model.point import Point
from drill.ports import Files
from drill.replication import sealed
from drill.replication.digests import PageDigests

NAME = "manifest.json"
KIND = "manifest-0"
DIGESTS = "digests"


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

    def disk(self, target: str) -> StoredDisk | None:
        """The disk of that name."""
        return next((disk for disk in self.disks if disk.target == target), None)

    @property
    def tag(self) -> str:
        """Its place in the order, as part of file names."""
        return tag(self.point.epoch, self.point.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All sealed points of an item, oldest first, and every file they need."""

    item: str
    points: tuple[SealedPoint, ...]
    files: tuple[str, ...]


def tag(epoch: str, sequence: int) -> str:
    """A place in the order, as part of file names."""
    return f"{epoch}-{sequence}"


def page_digests(files: Files, item: str, target: str) -> PageDigests:
    """The page digests of a disk of an item's head."""
    return PageDigests(files, f"{item}/{DIGESTS}/{target}")


def names_in(files: Files, folder: str) -> tuple[str, ...]:
    """Names in a folder; none when there is no such folder."""
    try:
        return files.list(folder)
    except FileNotFoundError:
        return ()


def peek(files: Files, item: str) -> sealed.Sealed[Manifest] | None:
    """An item's manifest as it lies there, None when there is none; nothing is written.  Damaged when it is."""
    return sealed.read(files, f"{item}/{NAME}", KIND, Manifest)


class Manifests:
    """The manifests of all items of a store."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: dict[str, sealed.Sealed[Manifest]] = {}
        self._stopped: dict[str, str] = {}

    def exists(self, item: str) -> bool:
        """Whether the item has a manifest."""
        return self._files.size(f"{item}/{NAME}") is not None

    def get(self, item: str) -> Manifest:
        """The item's manifest, empty when there is none; Damaged when it is, Failed when the item is stopped."""
        return self._get(item).value

    def append(self, found: SealedPoint) -> None:
        """The seal: the manifest names the point and its files, durably.

        OSError leaves the manifest as it was; Unknown stops the item.
        """
        item = found.point.item
        before = self._get(item)
        manifest = Manifest(
            item=item,
            points=(*before.value.points, found),
            files=tuple(sorted({*before.value.files, *(disk.file for disk in found.disks)})),
        )
        self._write(manifest, before.generation + 1)

    def reopen(self, item: str) -> None:
        """After a failure only what is on disk counts: read it again, and collect what the failed log left."""
        self.close(item)
        with suppress(OSError, DrillError):
            self._get(item)

    def close(self, item: str) -> None:
        """Forget what was read."""
        self._open.pop(item, None)

    def _get(self, item: str) -> sealed.Sealed[Manifest]:
        if item in self._stopped:
            raise Failed("serving the store", f"{item} was stopped: {self._stopped[item]}", "start the agent again")
        if item not in self._open:
            found = sealed.read(self._files, f"{item}/{NAME}", KIND, Manifest)
            if found is None:
                self._open[item] = sealed.Sealed(0, Manifest(item=item, points=(), files=()))
            elif found.value.item != item:
                raise Damaged(f"{item}/{NAME}", f"it belongs to item {found.value.item}")
            elif missing := set(found.value.files) - set(names_in(self._files, item)):
                raise Damaged(f"{item}/{NAME}", f"it names {min(missing)}, which is not there: an old copy of it?")
            else:
                self._write(found.value, found.generation + 1)
            self._collect(self._open[item].value)
        return self._open[item]

    def _write(self, manifest: Manifest, generation: int) -> None:
        item = manifest.item
        try:
            sealed.write(self._files, f"{item}/{NAME}", KIND, Manifest, manifest, generation=generation)
        except Unknown as error:
            self.close(item)
            self._stopped[item] = error.cause
            raise
        self._open[item] = sealed.Sealed(generation, manifest)

    def _collect(self, manifest: Manifest) -> None:
        """Remove what no sealed point needs."""
        item, kept = manifest.item, {NAME, DIGESTS, *manifest.files}
        for name in names_in(self._files, item):
            if name not in kept:
                self._files.remove(f"{item}/{name}")
        needed = set[str]()
        if manifest.points:
            head = manifest.points[-1]
            for disk in head.disks:
                needed |= set(page_digests(self._files, item, disk.target).names(head.tag))
        for name in names_in(self._files, f"{item}/{DIGESTS}"):
            if name not in needed:
                self._files.remove(f"{item}/{DIGESTS}/{name}")
