"""Folding: what points that are gone had changed goes into the file above them, or into the base below (I22).

    before           base ← a ← b ← c      a is no point any more, b is one
    between points   base ← b' ← c         b' says what a and b say together, b wins; it takes the place of b at once
    at the base      base' ← b° ← c        base has become what b was; b° says nothing and takes the place of b

Every step leaves the bytes of every point as they are: a file is replaced by one of the same content, and what is
written into a base is hidden by the overlay that it comes from.  So a crash needs no record: whoever opens the item
sees from the headers what is left to do, and doing it twice is doing it once.  The manifest forgets a point before its
files are touched, and a file before it is removed.

A fold is a generator that stops after every 16 MiB of the disk, so that a cycle waits for no more than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from drill.errors import Damaged, Unknown
from drill.ports import Files
from drill.replication.manifest import Manifest
from drill.replication.overlay import Overlay, union
from drill.replication.qcow2 import OverlayWriter

SYNC_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Below:
    """What an overlay stands on, and whether it says nothing itself."""

    file: str
    format: str
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """`sources`, the newest first, are to become one: in the place of the newest, or in the base `below` them."""

    sources: tuple[str, ...]
    below: str
    format: str
    into_base: bool

    @property
    def file(self) -> str:
        """The file of the point, which stays in its place."""
        return self.sources[0]


class Chains:
    """Which file of an item stands on which, as their headers say; headers are read once."""

    def __init__(self, files: Files, item: str) -> None:
        self._files = files
        self._item = item
        self._known: dict[str, Below] = {}

    def below(self, file: str) -> Below:
        """What an overlay stands on."""
        if file not in self._known:
            overlay = Overlay(self._files, f"{self._item}/{file}")
            self._known[file] = Below(overlay.backing, overlay.backing_format, overlay.is_empty)
        return self._known[file]

    def replaced(self, file: str) -> None:
        """Another file has taken its place."""
        self._known.pop(file, None)

    def down(self, file: str, format: str) -> Iterator[str]:
        """A file and all that it stands on."""
        yield file
        found = self.below(file) if format == "qcow2" else None
        while found is not None:
            yield found.file
            found = self.below(found.file) if found.format == "qcow2" else None

    def needed(self, manifest: Manifest) -> frozenset[str]:
        """Every file that a point of the manifest needs."""
        found = set[str]()
        for point in reversed(manifest.points):
            for disk in point.disks:
                for file in self.down(disk.file, disk.format):
                    if file in found:
                        break
                    found.add(file)
        return frozenset(found)

    def folds(self, manifest: Manifest) -> Iterator[Fold]:
        """What is left to do, the oldest points first; what stands on a damaged overlay is left out."""
        visible = {disk.file for point in manifest.points for disk in point.disks}
        for point in manifest.points:
            for disk in point.disks:
                if disk.format == "qcow2" and (fold := self._fold(disk.file, visible)) is not None:
                    yield fold

    def _fold(self, file: str, visible: set[str]) -> Fold | None:
        try:
            sources, below = [file], self.below(file)
            while below.format == "qcow2" and below.file not in visible:
                sources.append(below.file)
                below = self.below(below.file)
        except Damaged:
            return None
        into_base = below.format == "raw" and below.file not in visible
        if len(sources) == 1 and not (into_base and not self.below(file).is_empty):
            return None
        return Fold(tuple(sources), below.file, below.format, into_base)


def steps(files: Files, item: str, fold: Fold, chains: Chains) -> Iterator[None]:
    """Do a fold.  Damaged when a source is, OSError without effect; Unknown when nobody knows which file a power
    failure would show, and the item must be stopped (I18).  `chains` learns of the new file."""
    overlays = [Overlay(files, f"{item}/{name}") for name in fold.sources]
    path, fresh = f"{item}/{fold.file}", f"{item}/{fold.file}.fold"
    size = overlays[0].size_bytes
    writer = OverlayWriter(files, fresh, size_bytes=size, backing=fold.below, backing_format=fold.format)
    try:
        yield from (_into_base if fold.into_base else _into_overlay)(files, overlays, f"{item}/{fold.below}", writer)
        writer.finish()
    except (OSError, Damaged):
        with suppress(OSError):
            files.remove(fresh)
        raise
    files.replace(fresh, path)
    try:
        files.sync_folder(item)
    except OSError as error:
        raise Unknown(f"folding {path}", str(error)) from error
    chains.replaced(fold.file)


def _ranges(overlays: list[Overlay]) -> list[int]:
    return sorted({first for overlay in overlays for first in overlay.ranges()})


def _into_overlay(files: Files, overlays: list[Overlay], _: str, writer: OverlayWriter) -> Iterator[None]:
    written = 0
    for first in _ranges(overlays):
        for run in union(overlays, first):
            if run.overlay is None:
                writer.zero(run.offset, run.length)
            else:
                writer.data(run.offset, run.read())
                written += run.length
        written = _synced(files, writer.path, written)
        yield


def _into_base(files: Files, overlays: list[Overlay], base: str, _: OverlayWriter) -> Iterator[None]:
    """A disk that has grown since makes its base grow, too."""
    if (files.size(base) or 0) < overlays[0].size_bytes:
        files.truncate(base, overlays[0].size_bytes)
    written = 0
    for first in _ranges(overlays):
        for run in union(overlays, first):
            if run.overlay is None:
                files.punch(base, run.offset, run.length)
            else:
                files.write(base, run.offset, run.read())
                written += run.length
        written = _synced(files, base, written)
        yield
    files.sync(base)


def _synced(files: Files, path: str, written: int) -> int:
    """Make what was written durable now and then, so that the last sync does not take long; what is not durable yet."""
    if written < SYNC_BYTES:
        return written
    files.sync(path)
    return 0
