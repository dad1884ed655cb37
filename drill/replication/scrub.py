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
whose digests, are damaged is *owed*: it cannot continue before its rotten pages came from the source again, or all of
it where nobody can say which those are (I31; drill/replication/rot.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from blake3 import blake3

from drill.errors import BadInput, Damaged
from drill.ports import Clock, Files
from drill.replication import manifest as manifests_of
from drill.replication import proven, stored
from drill.replication.digests import PageDigests
from drill.replication.folding import Chains
from drill.replication.manifest import Manifest, Manifests, Rotten, SealedPoint, page_digests
from drill.replication.overlay import Overlay
from drill.replication.pages import chunk_count, chunk_digest, root_of
from drill.replication.rot import Pages, located

AGAIN_US = 6 * 24 * 3600 * 1_000_000
"""A disk is proven again after so long; with a day to do it in, no byte waits for more than seven."""
Key = tuple[str, int]


@dataclass(slots=True)
class _Pass:
    """One pass over a disk of an item: points that are proven, and those that are damaged.

    Points that are `torn` are damaged in the tables of their overlays.  `roots` are the digests of what could be read.
    Where the head is bad, `rotten` has the pages of it that rotted; None where that cannot be told.
    """

    item: str
    target: str
    good: set[Key] = field(default_factory=set)
    bad: set[Key] = field(default_factory=set)
    torn: set[Key] = field(default_factory=set)
    roots: dict[Key, str] = field(default_factory=dict)
    is_owed: bool = False
    is_judged: bool = False
    is_head_bad: bool = False
    rotten: Pages | None = ()


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
        """When each disk was last proven."""
        return tuple(proven.known(self._files, item).items())

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
        yield from self._locate(found)
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
                found.torn |= self._above(found, group, file)
                found.bad |= found.torn
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
                found.torn.add(_key(point))
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
            found.roots[key] = root.hexdigest()
            (found.good if found.roots[key] == seals[key].digest else found.bad).add(key)

    def _chunk(self, found: _Pass, chunk: int, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        """The digest that a chunk has in each point that is still there, oldest first, read from the base upwards."""
        points = self._points(found.item, keys)
        files = {disk.file: _key(point) for point in points if (disk := point.disk(found.target)) is not None}
        top = points[-1].disk(found.target) if points else None
        if top is None:
            return
        digest = b""
        for file, table, is_changed in stored.tables(self._files, found.item, top, chunk):
            if is_changed:
                digest = b""
            if file in files:
                digest = digest or chunk_digest(table)
                yield files[file], digest

    def _points(self, item: str, keys: Sequence[Key]) -> list[SealedPoint]:
        """Those of some points that are still there, oldest first."""
        wanted = set(keys)
        return [point for point in self._manifests.get(item).points if _key(point) in wanted]

    def _digests(self, found: _Pass) -> Iterator[None]:
        """The page digests of the newest point prove themselves against its root; leaves that rotted are computed
        anew from what is stored, where that gives the digest that their chunk should have."""
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
                if not self._has_leaves(digests, head, found.target, chunk):
                    raise Damaged(found.target, f"digests of chunk {chunk} are damaged")
            except Damaged:
                found.is_owed = True
                return
            yield

    def _has_leaves(self, digests: PageDigests, head: SealedPoint, target: str, chunk: int) -> bool:
        """Whether a chunk of the head has its leaves, or has them now."""
        with suppress(Damaged):
            digests.chunk(chunk)
            return True
        disk = head.disk(target)
        try:
            return disk is not None and digests.mend(chunk, stored.table(self._files, head.point.item, disk, chunk))
        except FileNotFoundError:
            return False

    def _locate(self, found: _Pass) -> Iterator[None]:
        """Where the newest point that was judged is damaged: which pages of the head have to come again."""
        points = self._manifests.get(found.item).points
        judged = [point for point in points if _key(point) in found.good | found.bad]
        found.is_judged = bool(judged) and points[-1].disk(found.target) is not None
        if not found.is_judged or _key(judged[-1]) not in found.bad:
            return
        found.is_head_bad, found.rotten = True, None
        if _key(judged[-1]) not in found.torn and not found.is_owed:
            found.rotten = yield from located(self._files, self._manifests, found.item, found.target)

    def _conclude(self, found: _Pass) -> None:
        """Write down what is damaged now; a point that is whole again loses its mark.

        Points that were sealed during the pass over a head that proves to have rotted have rotted like it.  Where it
        is whole again, for cycles went over what had rotted, they are judged by another pass, which is due at once; so
        are those that are left where every point that was judged went, and was damaged.
        """
        before, is_owed = self._manifests.get(found.item), found.is_owed or (found.is_head_bad and found.rotten != ())
        if is_owed and found.is_head_bad:
            found.bad |= self._unjudged(found, before)
        owed, rotten = set(before.owed), {one for one in before.rotten if one.target != found.target}
        if found.is_judged:
            owed.discard(found.target)
        if is_owed:
            owed.add(found.target)
            rotten |= {Rotten(target=found.target, pages=found.rotten)} if found.is_head_bad and found.rotten else set()
        after = replace(
            before,
            points=tuple(_marked(point, found) for point in before.points),
            owed=tuple(sorted(owed)),
            rotten=tuple(sorted(rotten, key=lambda one: one.target)),
        )
        if after != before:
            self._manifests.change(after)
        is_over = is_owed or not (found.is_head_bad or _is_lost(found, before))
        proven.note(self._files, found.item, found.target, self._clock.now_us() if is_over else None)

    def _unjudged(self, found: _Pass, manifest: Manifest) -> set[Key]:
        """Points behind the newest that was judged which have the disk."""
        fresh = set[Key]()
        for point in reversed(manifest.points):
            if _key(point) in found.good | found.bad:
                break
            fresh |= {_key(point)} if point.disk(found.target) else set()
        return fresh

    def prove(self, item: str, point: SealedPoint) -> Generator[None, None, tuple[tuple[str, str], ...]]:
        """(target, digest) per disk of one point as it is stored now; "" for what cannot be read.

        What is damaged is marked; the scrub of that disk is due then, which says what must come again.
        """
        digests = []
        for disk in point.point.disks:
            found = _Pass(item, disk.target)
            yield from self._content(found, [_key(point)])
            digests.append((disk.target, found.roots.get(_key(point), "")))
            if found.bad:
                before = self._manifests.get(item)
                after = replace(before, points=tuple(_marked(one, found) for one in before.points))
                if after != before:
                    self._manifests.change(after)
                    proven.note(self._files, item, disk.target, None)
        return tuple(digests)


def _marked(point: SealedPoint, found: _Pass) -> SealedPoint:
    key, marks = _key(point), set(point.damaged)
    if key in found.bad:
        marks.add(found.target)
    elif key in found.good:
        marks.discard(found.target)
    return point if marks == set(point.damaged) else replace(point, damaged=tuple(sorted(marks)))


def _is_lost(found: _Pass, manifest: Manifest) -> bool:
    """Whether every point that was judged went meanwhile, and damage with them that points behind them may share."""
    if not found.bad:
        return False
    left = {_key(point) for point in manifest.points if point.disk(found.target) is not None}
    return bool(left) and left.isdisjoint(found.good | found.bad)


def _targets(manifest: Manifest) -> tuple[str, ...]:
    return tuple(sorted({disk.target for point in manifest.points for disk in point.disks}))


def _key(point: SealedPoint) -> Key:
    return point.point.epoch, point.point.sequence
