"""Which pages of a head rotted, so that only they come again and not the whole disk.

The page digests of the head came from the source and prove themselves against its root; the digests that the stored
bytes have are computed anew.  Where the two differ, a page rotted.  The source is told those pages (`rotten`), and
forgets what it knows of them: to it they differ, so it sends them when it compares (drill/replication/comparing.py).
The log that does is sealed only when it says something of every one of them.

Cycles go on between the slices, and a page that they overwrite is whole again; what was found before that stays in
the list and is sent without need.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from drill.errors import Damaged
from drill.ports import Files
from drill.replication import stored
from drill.replication.extents import PAGE_BYTES
from drill.replication.folding import Chains
from drill.replication.manifest import Manifests, page_digests
from drill.replication.overlay import RANGE_CLUSTERS, Overlay
from drill.replication.pages import LEAF_BYTES, LEAVES_PER_CHUNK, chunk_count
from drill.replication.qcow2 import CLUSTER_BYTES, SUBCLUSTER_BYTES

RUNS_MAX, PAGES_MAX = 4096, 1 << 18
"""A disk of which more rotted than this many runs, or than 1 GiB, comes whole."""

Pages = tuple[tuple[int, int], ...]


def located(files: Files, manifests: Manifests, item: str, target: str) -> Generator[None, None, Pages | None]:
    """Runs (first page, count) of the newest point's disk that rotted; None where that cannot be told.

    None of them where the disk was replaced by a whole copy meanwhile.
    """
    runs: list[tuple[int, int]] = []
    chunk, base = 0, ""
    while True:
        head = manifests.get(item).points[-1]
        disk = head.disk(target)
        seal = next((one for one in head.point.disks if one.target == target), None)
        if disk is None or seal is None:
            return ()
        try:
            lowest = list(Chains(files, item).down(disk.file, disk.format))[-1]
            if base and lowest != base:
                return ()
            if chunk >= chunk_count(seal.size_bytes):
                return tuple(runs)
            digests = page_digests(files, item, target)
            digests.commit(head.tag, seal.size_bytes, seal.digest)
            known, found = bytes(digests.chunk(chunk)), stored.table(files, item, disk, chunk)
        except (Damaged, FileNotFoundError):
            return None
        base = lowest
        _append(runs, _differing(chunk, known, found))
        if len(runs) > RUNS_MAX or sum(count for _, count in runs) > PAGES_MAX:
            return None
        chunk += 1
        yield


def uncovered(files: Files, path: str, pages: Pages) -> int | None:
    """The first of some pages that the overlay at `path` says nothing of; None when it says something of all."""
    overlay, ranges = Overlay(files, path), dict[int, dict[int, int]]()
    for page in _each(pages):
        cluster, inside = divmod(page * PAGE_BYTES, CLUSTER_BYTES)
        first = cluster // RANGE_CLUSTERS * RANGE_CLUSTERS
        if first not in ranges:
            ranges = {first: {one.index: one.zero | one.data for one in overlay.clusters(first)}}
        if not ranges[first].get(cluster, 0) >> inside // SUBCLUSTER_BYTES & 1:
            return page
    return None


def _differing(chunk: int, known: bytes, found: bytes) -> Iterable[int]:
    if known == found:
        return
    for place in range(LEAVES_PER_CHUNK):
        at = place * LEAF_BYTES
        if known[at : at + LEAF_BYTES] != found[at : at + LEAF_BYTES]:
            yield chunk * LEAVES_PER_CHUNK + place


def _append(runs: list[tuple[int, int]], pages: Iterable[int]) -> None:
    for page in pages:
        if runs and sum(runs[-1]) == page:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((page, 1))


def _each(pages: Pages) -> Iterable[int]:
    return (page for first, count in pages for page in range(first, first + count))
