"""Our own overlays, read strictly: what QEMU would see of them, and nothing that `qcow2.py` would not have written.

Used by folding and by the scrub, which look at every cluster of up to 150 files: through qemu-img each would be a
process per file, and one through qemu-nbd does not tell in which file of the chain a byte lies.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from drill.errors import Damaged
from drill.ports import Files
from drill.replication.qcow2 import (
    CLUSTER_BYTES,
    COPIED,
    ENTRY,
    HEADER,
    L2_BYTES,
    L2_ENTRIES,
    SUBCLUSTER_BYTES,
    SUM_BYTES,
    SUM_MAGIC,
    count_in,
    header,
)

RANGE_CLUSTERS = 256
"""Clusters that are looked at together: 16 MiB of a disk, as many as a chunk of digests covers."""
RANGE_BYTES = RANGE_CLUSTERS * CLUSTER_BYTES
READ_BYTES = 1 << 20
_HEAD_BYTES = 2048
_SIZE_MAX = 1 << 50
_OFFSET = 0x00FFFFFFFFFFFE00
_ALL = 0xFFFFFFFF
_ODD = 0xAAAAAAAA
"""The second halves of pages; what we write begins with a first one."""


def backing_of(files: Files, path: str) -> str:
    """The name of the image below any qcow2 that our tools made; empty for one that has none or is none."""
    head = files.read(path, 0, _HEAD_BYTES)
    if len(head) < HEADER.size or head[:4] != b"QFI\xfb":
        return ""
    at, length = struct.unpack_from(">QI", head, 8)
    return head[at : at + length].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster of the disk that an overlay says something of; a bit per 2 KiB that is zeros or data at `host`."""

    index: int
    host: int
    zero: int
    data: int


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of a disk: data of `overlay` at `host` in its file, or zeros where there is no overlay."""

    offset: int
    length: int
    overlay: Overlay | None
    host: int

    def read(self) -> bytes:
        """The data."""
        return self.overlay.read(self.host, self.length) if self.overlay else bytes(self.length)


class Overlay:
    """The overlay at `path`.  Damaged where it is not as it was written, also later on."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._clusters = ((files.size(path) or 0) - SUM_BYTES) // CLUSTER_BYTES
        head = files.read(path, 0, _HEAD_BYTES)
        if len(head) < HEADER.size or head[:4] != b"QFI\xfb":
            raise Damaged(path, "no overlay")
        at, length = struct.unpack_from(">QI", head, 8)
        self.size_bytes: int = struct.unpack_from(">Q", head, 24)[0]
        if self.size_bytes > _SIZE_MAX:
            raise Damaged(path, "its header is not as it was written")
        self._table, self._table_clusters = struct.unpack_from(">QI", head, 48)
        kind = head[HEADER.size + 8 : HEADER.size + 16].rstrip(b"\0")
        self.backing = head[at : at + length].decode("ascii", "replace")
        self.backing_format = kind.decode("ascii", "replace")
        self._head = header(self.size_bytes, self.backing, self.backing_format, self._table, self._table_clusters)
        if not head.startswith(self._head) or self.backing_format not in ("raw", "qcow2") or "/" in self.backing:
            raise Damaged(path, "its header is not as it was written")
        tables = -(-self.size_bytes // L2_BYTES)
        l1 = files.read(path, CLUSTER_BYTES, tables * 8)
        if len(l1) != tables * 8:
            raise Damaged(path, "it ends too early")
        self._l1 = struct.unpack(f">{tables}Q", l1)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of any cluster."""
        return not any(self._l1)

    def ranges(self) -> list[int]:
        """First clusters of the ranges of RANGE_CLUSTERS that it may say something of."""
        found: list[int] = []
        for index, entry in enumerate(self._l1):
            if entry:
                found += range(index * L2_ENTRIES, (index + 1) * L2_ENTRIES, RANGE_CLUSTERS)
        return found

    def clusters(self, first: int, count: int = RANGE_CLUSTERS) -> Iterator[Cluster]:
        """Clusters of a range within one L2 table, ascending."""
        entry = self._l1[first // L2_ENTRIES] if first // L2_ENTRIES < len(self._l1) else 0
        if not entry:
            return
        at = self._host(entry) + first % L2_ENTRIES * ENTRY.size
        table = self._files.read(self._path, at, count * ENTRY.size)
        for number, (host, zero, data) in enumerate(ENTRY.iter_unpack(table[: len(table) // 16 * 16])):
            if host or zero or data:
                if zero & data or bool(host) != bool(data):
                    raise Damaged(self._path, f"cluster {first + number} is zeros and data at once, or nowhere")
                if (zero & ~(zero << 1) | data & ~(data << 1)) & _ODD:
                    raise Damaged(self._path, f"cluster {first + number} begins inside a page")
                yield Cluster(first + number, self._host(host) if host else 0, zero, data)

    def read(self, host: int, length: int) -> bytes:
        """Bytes of the file."""
        found = self._files.read(self._path, host, length)
        if len(found) != length:
            raise Damaged(self._path, "it ends too early")
        return found

    def check(self) -> None:
        """Damaged unless its tables are as they were written, and every cluster of the file has one use."""
        found, data = blake3(), 0
        for index, entry in enumerate(self._l1):
            if entry:
                count_in(found, self.read(self._host(entry), CLUSTER_BYTES))
                data += sum(1 for cluster in self.clusters(index * L2_ENTRIES, L2_ENTRIES) if cluster.data)
        blocks = self._refcount_blocks()
        for block in blocks:
            count_in(found, self.read(self._host(block | COPIED), CLUSTER_BYTES))
        l1_clusters = -(-len(self._l1) * 8 // CLUSTER_BYTES)
        for at, clusters in ((self._table, self._table_clusters), (CLUSTER_BYTES, l1_clusters), (0, 1)):
            count_in(found, self.read(at, clusters * CLUSTER_BYTES))
        used = 1 + l1_clusters + sum(1 for entry in self._l1 if entry) + data + len(blocks) + self._table_clusters
        end = self._files.read(self._path, self._clusters * CLUSTER_BYTES)
        if used != self._clusters or end != SUM_MAGIC + found.digest():
            raise Damaged(self._path, "its tables are not as they were written")

    def check_unused(self, first: int) -> None:
        """Damaged where a cluster of a range holds bytes beside its data."""
        for cluster in self.clusters(first):
            if cluster.data not in (0, _ALL):
                content = memoryview(self.read(cluster.host, CLUSTER_BYTES))
                for start, end in _bits(~cluster.data & _ALL):
                    if any(content[start * SUBCLUSTER_BYTES : end * SUBCLUSTER_BYTES]):
                        raise Damaged(self._path, f"bytes that nobody wrote in cluster {cluster.index}")

    def _refcount_blocks(self) -> list[int]:
        if self._table % CLUSTER_BYTES or not 0 < self._table_clusters <= self._clusters:
            raise Damaged(self._path, "its refcount table is nowhere")
        table = self.read(self._table, self._table_clusters * CLUSTER_BYTES).rstrip(b"\0")
        table += bytes(-len(table) % 8)
        return list(struct.unpack(f">{len(table) // 8}Q", table))

    def _host(self, entry: int) -> int:
        """Where a cluster of the file lies; Damaged for what no writer of ours would have said."""
        host = entry & _OFFSET
        if entry & ~_OFFSET != COPIED or host % CLUSTER_BYTES or not 0 < host < self._clusters * CLUSTER_BYTES:
            raise Damaged(self._path, "a table points nowhere")
        return host


def union(overlays: Sequence[Overlay], first: int) -> Iterator[Run]:
    """What overlays, the newest first, say together of the range of clusters at `first`: ascending, at most 1 MiB each.

    Of every byte the newest overlay that says anything counts.
    """
    size, waiting = overlays[0].size_bytes, None
    for run in _runs(overlays, first):
        if waiting is not None:
            joined = _joined(waiting, run)
            if joined is not None:
                waiting = joined
                continue
            yield waiting
        waiting = run
    if waiting is not None:
        yield Run(waiting.offset, min(waiting.length, size - waiting.offset), waiting.overlay, waiting.host)


def _runs(overlays: Sequence[Overlay], first: int) -> Iterator[Run]:
    seen: defaultdict[int, int] = defaultdict(int)
    found: defaultdict[int, list[tuple[int, int, Overlay | None, int]]] = defaultdict(list)
    for overlay in overlays:
        for cluster in overlay.clusters(first):
            fresh = ~seen[cluster.index] & _ALL
            seen[cluster.index] |= cluster.zero | cluster.data
            found[cluster.index] += [(start, end, overlay, cluster.host) for start, end in _bits(cluster.data & fresh)]
            found[cluster.index] += [(start, end, None, 0) for start, end in _bits(cluster.zero & fresh)]
    for index in sorted(found):
        for start, end, above, host in sorted(found[index], key=lambda piece: piece[0]):
            at = start * SUBCLUSTER_BYTES
            yield Run(index * CLUSTER_BYTES + at, (end - start) * SUBCLUSTER_BYTES, above, host + at)


def _joined(one: Run, other: Run) -> Run | None:
    """Two runs as one, when they lie side by side in the disk and in one file."""
    adjacent = one.offset + one.length == other.offset and one.overlay is other.overlay
    if not adjacent or one.length + other.length > READ_BYTES:
        return None
    if one.overlay is not None and one.host + one.length != other.host:
        return None
    return Run(one.offset, one.length + other.length, one.overlay, one.host)


def _bits(mask: int) -> list[tuple[int, int]]:
    """Runs of set bits, as (first, behind the last)."""
    if mask == _ALL:
        return [(0, 32)]
    found, bit = [], 0
    while mask >> bit:
        if mask >> bit & 1:
            start = bit
            while mask >> bit & 1:
                bit += 1
            found.append((start, bit))
        else:
            bit += 1
    return found
