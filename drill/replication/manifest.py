"""The manifests of a store: which points are sealed, how long they are kept, and every file they need.

Sealing is the one atomic replacement of an item's manifest (I4, I16).  Whatever it does not name is an orphan, and is
collected when the item is opened (I20).  A manifest is written anew when it is first opened, so that what is served is
durable for certain; once the last sync of a write has failed nobody knows what a power failure would show, and the
item is stopped until the process starts again (I18).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from drill.errors import Damaged, DrillError, Failed, Unknown
from drill.model.machine import Machine
from drill.model.point import Point
from drill.model.retention import Lock, RetentionPolicy
from drill.ports import Files
from drill.replication import sealed
from drill.replication.digests import PageDigests
from drill.replication.reserve import Reserve

NAME = "manifest.json"
KIND = "manifest-1"
DIGESTS = "digests"
SCRUB = "scrub.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDisk:
    """Where the content of one disk of a point begins: a file of the item's folder."""

    target: str
    file: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPoint:
    """A point, the machine it belongs to, and its files.

    `elapsed_us` is the time of replication at which it was sealed (drill/core/retention.py); `damaged` names the disks
    of which the scrub found other bytes than the source had.
    """

    point: Point
    machine: Machine
    disks: tuple[StoredDisk, ...]
    elapsed_us: int = 0
    lock: Lock | None = None
    damaged: tuple[str, ...] = ()

    def disk(self, target: str) -> StoredDisk | None:
        """The disk of that name."""
        return next((disk for disk in self.disks if disk.target == target), None)

    @property
    def tag(self) -> str:
        """Its place in the order, as part of file names."""
        return tag(self.point.epoch, self.point.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotten:
    """The pages of a disk of the newest point that rotted, as runs (first page, count): all that must come again."""

    target: str
    pages: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All sealed points of an item, oldest first, and every file they need.

    `owed` names disks that cannot continue from the newest point: what is stored of them, or of their digests, rotted.
    Of those that are `rotten` only some pages must come, of the others all.
    `term` is the highest that was confirmed: no log of a lower one is taken (I29).
    """

    item: str
    points: tuple[SealedPoint, ...] = ()
    files: tuple[str, ...] = ()
    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    owed: tuple[str, ...] = ()
    term: int = 1
    rotten: tuple[Rotten, ...] = ()

    def rot(self, target: str) -> tuple[tuple[int, int], ...] | None:
        """The pages that an owed disk must bring; none for one that is not owed, None where it must come whole."""
        found = next((one.pages for one in self.rotten if one.target == target), None)
        return found if target in self.owed else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _WrittenPoint:
    """A sealed point as it is written: its machine is one of a list, for it seldom changes."""

    point: Point
    machine: int
    disks: tuple[StoredDisk, ...]
    elapsed_us: int
    lock: Lock | None
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A manifest as it is written."""

    item: str
    policy: RetentionPolicy
    machines: tuple[Machine, ...]
    points: tuple[_WrittenPoint, ...]
    files: tuple[str, ...]
    owed: tuple[str, ...]
    term: int = 1
    rotten: tuple[Rotten, ...] = ()


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
    path = f"{item}/{NAME}"
    found = sealed.read(files, path, KIND, _Written)
    if found is None:
        return None
    if any(not 0 <= point.machine < len(found.value.machines) for point in found.value.points):
        raise Damaged(path, "a point names a machine that is not in it")
    return sealed.Sealed(found.generation, _read(found.value))


def _read(written: _Written) -> Manifest:
    points = tuple(
        SealedPoint(
            point=one.point,
            machine=written.machines[one.machine],
            disks=one.disks,
            elapsed_us=one.elapsed_us,
            lock=one.lock,
            damaged=one.damaged,
        )
        for one in written.points
    )
    return Manifest(
        item=written.item,
        points=points,
        files=written.files,
        policy=written.policy,
        owed=written.owed,
        term=written.term,
        rotten=written.rotten,
    )


def _written(manifest: Manifest) -> _Written:
    machines: list[Machine] = []
    points = []
    for one in manifest.points:
        if not machines or machines[-1] != one.machine:
            machines.append(one.machine)
        points.append(
            _WrittenPoint(
                point=one.point,
                machine=len(machines) - 1,
                disks=one.disks,
                elapsed_us=one.elapsed_us,
                lock=one.lock,
                damaged=one.damaged,
            )
        )
    return _Written(
        item=manifest.item,
        policy=manifest.policy,
        machines=tuple(machines),
        points=tuple(points),
        files=manifest.files,
        owed=manifest.owed,
        term=manifest.term,
        rotten=manifest.rotten,
    )


class Manifests:
    """The manifests of all items of a store."""

    def __init__(self, files: Files, reserve: Reserve | None = None) -> None:
        self._files = files
        self._reserve = reserve or Reserve(files, 0)
        self._open: dict[str, sealed.Sealed[Manifest]] = {}
        self._stopped: dict[str, str] = {}
        self._opened: dict[str, int] = {}

    def items(self) -> tuple[str, ...]:
        """Items that have a manifest, sorted."""
        return tuple(name for name in self._files.list("") if self.exists(name))

    def exists(self, item: str) -> bool:
        """Whether the item has a manifest; one that was read or written is there until the item is closed."""
        known = self._open.get(item)
        return (known is not None and known.generation > 0) or self._files.size(f"{item}/{NAME}") is not None

    def get(self, item: str) -> Manifest:
        """The item's manifest, empty when there is none; Damaged when it is, Failed when the item is stopped."""
        return self._get(item).value

    def opened(self, item: str) -> int:
        """How often the item was opened: what was collected and forgotten then is not built upon."""
        return self._opened.get(item, 0)

    def append(self, found: SealedPoint) -> None:
        """The seal: the manifest names the point and its files, durably.  No disk of it is owed any more: one that
        was came whole, or with all its rotten pages.

        OSError leaves the manifest as it was; Unknown stops the item.
        """
        before = self.get(found.point.item)
        came = {disk.target for disk in found.disks}
        self.change(
            replace(
                before,
                points=(*before.points, found),
                files=tuple(sorted({*before.files, *(disk.file for disk in found.disks)})),
                owed=tuple(target for target in before.owed if target not in came),
                rotten=tuple(one for one in before.rotten if one.target not in came),
                term=max(before.term, found.point.term),
            )
        )

    def change(self, manifest: Manifest) -> None:
        """Write an item's manifest as the next generation; OSError leaves it as it was, Unknown stops the item."""
        self._write(manifest, self._get(manifest.item).generation + 1)

    def stop(self, item: str, cause: str) -> None:
        """Nobody knows what a power failure would show: serve nothing of the item until the process starts again."""
        self.close(item)
        self._stopped[item] = cause

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
            self._opened[item] = self.opened(item) + 1
            found = peek(self._files, item)
            if found is None:
                self._open[item] = sealed.Sealed(0, Manifest(item=item))
            elif found.value.item != item:
                raise Damaged(f"{item}/{NAME}", f"it belongs to item {found.value.item}")
            elif missing := set(found.value.files) - set(names_in(self._files, item)):
                raise Damaged(f"{item}/{NAME}", f"it names {min(missing)}, which is not there: an old copy of it?")
            else:
                self._reserve.backed(lambda: self._write(found.value, found.generation + 1))
            try:
                self._collect(self._open[item].value)
            except OSError:
                self.close(item)  # what is left is collected when it is opened again
                raise
        return self._open[item]

    def _write(self, manifest: Manifest, generation: int) -> None:
        item = manifest.item
        try:
            sealed.write(self._files, f"{item}/{NAME}", KIND, _Written, _written(manifest), generation=generation)
        except Unknown as error:
            self.stop(item, error.cause)
            raise
        self._open[item] = sealed.Sealed(generation, manifest)

    def _collect(self, manifest: Manifest) -> None:
        """Remove what no sealed point needs."""
        item, kept = manifest.item, {NAME, DIGESTS, SCRUB, *manifest.files}
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
