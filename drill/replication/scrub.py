"""The scrub: every stored byte of an item is read again and compared with digests that came from the source (I10).

A disk of a point is proven by its root, which the manifest has: the content is read as QEMU would read it, from the
base upwards, its pages are digested, and every overlay changes some of the digests of the one below.  So one pass over
a chain proves all its points, however long it is, from what every cycle brought with it, and needs nothing else to be
stored: folding changes files and no content, and so no digest.  Beside the content every overlay has the sum of its
tables; a bit that no reader would look at is found too.

A pass goes on in slices of 16 MiB of the disk under the item's lock, with whatever files the chain has by then.  Disks
take turns; each is proven again after six days, so that none waits for more than seven.  A pass that the end of the
process cuts short begins anew.

What a pass finds is written into the manifest.  A point with damage is never served; a disk whose newest point, or
whose digests, are damaged is *owed*: it cannot continue and comes from the source again (I31).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from blake3 import blake3

from drill.errors import BadInput, Damaged
from drill.ports import Clock, Files
from drill.replication import manifest as manifests_of
from drill.replication import sealed
from drill.replication.extents import PAGE_BYTES
from drill.replication.folding import Chains
from drill.replication.manifest import Manifest, Manifests, SealedPoint, page_digests
from drill.replication.overlay import RANGE_BYTES, RANGE_CLUSTERS, Overlay, union
from drill.replication.pages import CHUNK_TABLE_BYTES, LEAF_BYTES, chunk_count, chunk_digest, leaves, root_of

NAME = manifests_of.SCRUB
KIND = "scrub-0"
AGAIN_US = 6 * 24 * 3600 * 1_000_000
"""A disk is proven again after so long; with a day to do it in, no byte waits for more than seven."""
_NO_TABLE = bytes(CHUNK_TABLE_BYTES)

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """When a disk was last proven, by the receiver's wall clock."""

    target: str
    proven_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """When each disk of an item was last proven."""

    disks: tuple[Proven, ...] = ()


@dataclass(slots=True)
class _Pass:
    """One pass over a disk of an item: points that are proven, and those that are damaged."""

    item: str
    target: str
    good: set[Key] = field(default_factory=set)
    bad: set[Key] = field(default_factory=set)
    is_owed: bool = False


class Scrub:
    """The scrub of all items of a store; one call per item at a time."""

    def __init__(self, files: Files, clock: Clock, manifests: Manifests) -> None:
        self._files = files
        self._clock = clock
        self._manifests = manifests
        self._under_way: dict[str, Iterator[None]] = {}

    def step(self, item: str) -> bool:
        """One slice of the pass under way or due; False when none is."""
        if item not in self._under_way:
            target = self._due(item)
            if target is None:
                return False
            self._under_way[item] = self._pass(item, target)
        try:
            next(self._under_way[item])
        except StopIteration:
            del self._under_way[item]
        except BaseException:
            del self._under_way[item]
            raise
        return True

    def whole(self, item: str) -> None:
        """Prove every disk of an item now."""
        for target in _targets(self._manifests.get(item)):
            for _ in self._pass(item, target):
                pass

    def proven(self, item: str) -> tuple[tuple[str, int], ...]:
        """When each disk was last proven; what cannot be read counts as never."""
        try:
            found = sealed.read(self._files, f"{item}/{NAME}", KIND, Record)
        except (Damaged, BadInput):
            return ()
        return tuple((disk.target, disk.proven_us) for disk in found.value.disks) if found else ()

    def _due(self, item: str) -> str | None:
        """The disk whose turn it is: one never proven, else the longest ago; a clock that went back makes all due."""
        known, now = dict(self.proven(item)), self._clock.now_us()
        targets = sorted(_targets(self._manifests.get(item)), key=lambda target: known.get(target, -1))
        first = targets[0] if targets else None
        if first is None or (first in known and 0 <= now - known[first] < AGAIN_US):
            return None
        return first

    def _pass(self, item: str, target: str) -> Iterator[None]:
        self._look_at_manifest(item)
        found = _Pass(item, target)
        yield
        for group in self._groups(item, target):
            yield from self._structure(found, group)
            yield from self._content(found, group)
        yield from self._digests(found)
        self._conclude(found)

    def _look_at_manifest(self, item: str) -> None:
        """A manifest that rotted while it was open is written anew from what was read of it."""
        known = self._manifests.get(item)
        try:
            there = manifests_of.peek(self._files, item)
            is_right = there is not None and there.value == known
        except (Damaged, BadInput):
            is_right = False
        if not is_right:
            self._manifests.change(known)

    def _groups(self, item: str, target: str) -> list[list[Key]]:
        """Points that stand on one base, oldest first, by their places in the order."""
        chains, groups = Chains(self._files, item), dict[str, list[Key]]()
        for point in self._manifests.get(item).points:
            disk = point.disk(target)
            if disk is None:
                continue
            base = disk.file
            with suppress(Damaged, FileNotFoundError):
                base = list(chains.down(disk.file, disk.format))[-1]
            groups.setdefault(base, []).append(_key(point))
        return list(groups.values())

    def _structure(self, found: _Pass, group: Sequence[Key]) -> Iterator[None]:
        """Points above an overlay that is not as it was written are damaged."""
        for file in self._files_of(found, group):
            path = f"{found.item}/{file}"
            try:
                Overlay(self._files, path).check()
                yield
                for first in Overlay(self._files, path).ranges():
                    Overlay(self._files, path).check_unused(first)
                    yield
            except Damaged:
                found.bad |= self._above(found, group, file)
            except FileNotFoundError:
                continue  # folded away meanwhile; one that is really missing is found with the content

    def _files_of(self, found: _Pass, group: Sequence[Key]) -> list[str]:
        """Overlays that some points stand on; points whose overlays cannot be followed are damaged."""
        chains, files = Chains(self._files, found.item), dict[str, None]()
        for point in self._points(found.item, group):
            disk = point.disk(found.target)
            try:
                files |= dict.fromkeys(chains.down(disk.file, disk.format) if disk else ())
            except (Damaged, FileNotFoundError):
                found.bad.add(_key(point))
        return [file for file in files if not file.endswith(".raw")]

    def _above(self, found: _Pass, group: Sequence[Key], file: str) -> set[Key]:
        """Points that stand on a file, or on what cannot be followed."""
        chains, above = Chains(self._files, found.item), set[Key]()
        for point in self._points(found.item, group):
            disk = point.disk(found.target)
            with suppress(Damaged, FileNotFoundError):
                if disk is None or file not in list(chains.down(disk.file, disk.format)):
                    continue
            above.add(_key(point))
        return above

    def _content(self, found: _Pass, group: Sequence[Key]) -> Iterator[None]:
        """Prove the points of one base by their roots, chunk by chunk."""
        roots: dict[Key, blake3] = {}
        seals = {}
        for point in self._points(found.item, group):
            seal = next(seal for seal in point.point.disks if seal.target == found.target)
            if _key(point) not in found.bad:
                seals[_key(point)], roots[_key(point)] = seal, root_of(seal.size_bytes)
        for chunk in range(max((chunk_count(seal.size_bytes) for seal in seals.values()), default=0)):
            try:
                for key, digest in self._chunk(found, chunk, tuple(roots)):
                    if chunk < chunk_count(seals[key].size_bytes):
                        roots[key].update(digest)
            except (Damaged, FileNotFoundError):
                found.bad |= roots.keys()
                return
            yield
        for key, root in roots.items():
            (found.good if root.hexdigest() == seals[key].digest else found.bad).add(key)

    def _chunk(self, found: _Pass, chunk: int, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        """The digest that a chunk has in each point that is still there, oldest first, read from the base upwards."""
        points = self._points(found.item, keys)
        files = {disk.file: _key(point) for point in points if (disk := point.disk(found.target)) is not None}
        top = points[-1].disk(found.target) if points else None
        if top is None:
            return
        table, digest = bytearray(), b""
        for file in reversed(list(Chains(self._files, found.item).down(top.file, top.format))):
            path = f"{found.item}/{file}"
            if file.endswith(".raw"):
                table, digest = _leaves_of(self._files, path, chunk), b""
            elif _overlaid(table, Overlay(self._files, path), chunk):
                digest = b""
            if file in files:
                digest = digest or chunk_digest(table)
                yield files[file], digest

    def _points(self, item: str, keys: Sequence[Key]) -> list[SealedPoint]:
        """Those of some points that are still there, oldest first."""
        wanted = set(keys)
        return [point for point in self._manifests.get(item).points if _key(point) in wanted]

    def _digests(self, found: _Pass) -> Iterator[None]:
        """The page digests of the newest point prove themselves against its root."""
        points = self._manifests.get(found.item).points
        seal = next((seal for seal in points[-1].point.disks if seal.target == found.target), None) if points else None
        for chunk in range(chunk_count(seal.size_bytes) if seal else 0):
            head = self._manifests.get(found.item).points[-1]
            now = next((seal for seal in head.point.disks if seal.target == found.target), None)
            if now is None:
                return
            digests = page_digests(self._files, found.item, found.target)
            try:
                digests.commit(head.tag, now.size_bytes, now.digest)
                digests.chunk(chunk)
            except Damaged:
                found.is_owed = True
                return
            yield

    def _conclude(self, found: _Pass) -> None:
        """Write down what is damaged now; a point that is whole again loses its mark."""
        before = self._manifests.get(found.item)
        points = tuple(_marked(point, found) for point in before.points)
        owed = set(before.owed)
        if found.is_owed or (points and found.target in points[-1].damaged):
            owed.add(found.target)
        elif points and _key(points[-1]) in found.good:
            owed.discard(found.target)
        after = replace(before, points=points, owed=tuple(sorted(owed)))
        if after != before:
            self._manifests.change(after)
        known = dict(self.proven(found.item)) | {found.target: self._clock.now_us()}
        disks = tuple(Proven(target=target, proven_us=at) for target, at in sorted(known.items()))
        sealed.write(self._files, f"{found.item}/{NAME}", KIND, Record, Record(disks=disks), generation=1)


def _marked(point: SealedPoint, found: _Pass) -> SealedPoint:
    key, marks = _key(point), set(point.damaged)
    if key in found.bad:
        marks.add(found.target)
    elif key in found.good:
        marks.discard(found.target)
    return point if marks == set(point.damaged) else replace(point, damaged=tuple(sorted(marks)))


def _targets(manifest: Manifest) -> tuple[str, ...]:
    return tuple(sorted({disk.target for point in manifest.points for disk in point.disks}))


def _key(point: SealedPoint) -> Key:
    return point.point.epoch, point.point.sequence


def _leaves_of(files: Files, path: str, chunk: int) -> bytearray:
    """The page digests of a chunk of a base; what lies behind its end is zeros."""
    data = files.read(path, chunk * RANGE_BYTES, RANGE_BYTES)
    if data == bytes(len(data)):
        return bytearray(_NO_TABLE)
    return bytearray(leaves(memoryview(data)).ljust(CHUNK_TABLE_BYTES, b"\0"))


def _overlaid(table: bytearray, overlay: Overlay, chunk: int) -> bool:
    """Take over what an overlay says of a chunk; False when it says nothing."""
    is_changed = False
    for run in union([overlay], chunk * RANGE_CLUSTERS):
        is_changed = True
        at = (run.offset - chunk * RANGE_BYTES) // PAGE_BYTES * LEAF_BYTES
        pages = -(-run.length // PAGE_BYTES) * LEAF_BYTES
        table[at : at + pages] = leaves(memoryview(run.read())) if run.overlay else bytes(pages)
    return is_changed
