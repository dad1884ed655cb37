"""A qcow2 overlay written once, front to back, from sorted pages.

    cluster 0      header, backing format, backing name
    cluster 1 …    L1 table (its size follows from the disk's)
    …              data clusters as they come; each L2 table after the data of its 256 MiB
    …              refcount blocks, refcount table

Clusters of 64 KiB with extended L2 entries (QEMU 5.2 and later): 32 subclusters of 2 KiB, each absent, data or zero, so
that a single changed page of 4 KiB takes 4 KiB and nothing is copied from the image below.  Whatever was not written
stays a hole in the file.  The format is docs/interop/qcow2.txt of QEMU; every point written by this module is read
back by qemu-img in the tests.

Why not through qemu-nbd: it writes 0.65 GB/s at best, costs a process per disk and cycle, and gives its `flush`
another path to durability than the manifest beside it (docs/adr).
"""

from __future__ import annotations

import struct

from drill.errors import Usage
from drill.ports import Files
from drill.replication.cyclelog import Frame
from drill.replication.extents import PAGE_BYTES

CLUSTER_BYTES = 1 << 16
_SUBCLUSTER_BYTES = CLUSTER_BYTES // 32
_ENTRY = struct.Struct(">QII")
_L2_ENTRIES = CLUSTER_BYTES // _ENTRY.size
_L2_BYTES = _L2_ENTRIES * CLUSTER_BYTES
_COPIED = 1 << 63
_EXTENDED_L2 = 1 << 4
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_BACKING_FORMAT = 0xE2792ACA
_ALL = 0xFFFFFFFF
_BACKING_MAX = 1023


class OverlayWriter:
    """Writes the overlay at `path`; the file is durable and complete after `finish`, and worth nothing before."""

    def __init__(self, files: Files, path: str, *, size_bytes: int, backing: str, backing_format: str) -> None:
        if not 0 < len(backing.encode()) <= _BACKING_MAX or backing_format not in ("raw", "qcow2"):
            raise Usage(f"{backing!r} ({backing_format}) cannot be the backing of an overlay")
        self._files = files
        self._path = path
        self._size = size_bytes
        self._backing = backing.encode()
        self._backing_format = backing_format.encode()
        self._l1 = [0] * (-(-size_bytes // _L2_BYTES))
        self._next = 1 + -(-len(self._l1) * 8 // CLUSTER_BYTES)
        self._l2 = bytearray()
        self._l2_index: int | None = None
        self._cluster = -1
        self._at = self._allocated = self._zeroed = 0
        files.truncate(path, 0)

    def add(self, frame: Frame) -> None:
        """Write the pieces of a frame; pieces of one disk come in ascending order."""
        for piece in frame.pieces:
            if piece.leaves:
                self._data(piece.extent.offset, piece.data)
            else:
                self._zero(piece.extent.offset, piece.extent.length)

    def finish(self) -> None:
        """Write what describes the data, then make all of it durable."""
        self._close_l2()
        table, clusters = self._refcounts()
        l1 = struct.pack(f">{len(self._l1)}Q", *self._l1)
        self._files.write(self._path, CLUSTER_BYTES, l1)
        self._files.write(self._path, 0, self._header(table, clusters))
        self._files.truncate(self._path, self._next * CLUSTER_BYTES)
        self._files.sync(self._path)

    def _data(self, offset: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            start = offset + done
            self._open(start // CLUSTER_BYTES)
            if not self._at:
                self._at, self._next = self._next * CLUSTER_BYTES, self._next + 1
            inside = start % CLUSTER_BYTES
            step = min(len(data) - done, CLUSTER_BYTES - inside)
            self._files.write(self._path, self._at + inside, data[done : done + step])
            self._allocated |= _mask(inside, step)
            done += step

    def _zero(self, offset: int, length: int) -> None:
        done = 0
        while done < length:
            start = offset + done
            self._open(start // CLUSTER_BYTES)
            inside = start % CLUSTER_BYTES
            step = min(length - done, CLUSTER_BYTES - inside)
            self._zeroed |= _mask(inside, step)
            done += step

    def _open(self, cluster: int) -> None:
        if cluster != self._cluster:
            self._close_cluster()
            index = cluster // _L2_ENTRIES
            if index != self._l2_index:
                self._close_l2()
                self._l2_index, self._l2 = index, bytearray(CLUSTER_BYTES)
            self._cluster = cluster

    def _close_cluster(self) -> None:
        if self._cluster >= 0:
            entry = self._at | _COPIED if self._at else 0
            _ENTRY.pack_into(
                self._l2, self._cluster % _L2_ENTRIES * _ENTRY.size, entry, self._zeroed & _ALL, self._allocated & _ALL
            )
            self._cluster, self._at, self._allocated, self._zeroed = -1, 0, 0, 0

    def _close_l2(self) -> None:
        self._close_cluster()
        if self._l2_index is not None:
            at, self._next = self._next * CLUSTER_BYTES, self._next + 1
            used = len(self._l2.rstrip(b"\0"))  # what lies behind stays a hole
            self._files.write(self._path, at, bytes(self._l2[:used]))
            self._l1[self._l2_index] = at | _COPIED
            self._l2_index = None

    def _refcounts(self) -> tuple[int, int]:
        """Write refcount blocks and table; returns where the table begins and how many clusters it takes.

        Every cluster of the file has a count of 1, those of the blocks and of the table included.
        """
        per_block = CLUSTER_BYTES // 2
        blocks = tables = 1
        while (used := self._next + blocks + tables) > blocks * per_block or blocks * 8 > tables * CLUSTER_BYTES:
            blocks = -(-used // per_block)
            tables = -(-blocks * 8 // CLUSTER_BYTES)
        total = self._next + blocks + tables
        first = self._next * CLUSTER_BYTES
        for index in range(blocks):
            count = min(per_block, total - index * per_block)
            self._files.write(self._path, first + index * CLUSTER_BYTES, b"\0\1" * count)
        table = first + blocks * CLUSTER_BYTES
        entries = [first + index * CLUSTER_BYTES for index in range(blocks)]
        self._files.write(self._path, table, struct.pack(f">{blocks}Q", *entries))
        self._next = total
        return table, tables

    def _header(self, refcount_table: int, refcount_clusters: int) -> bytes:
        length = _HEADER.size
        kind = self._backing_format.ljust(8, b"\0")
        extensions = struct.pack(">II", _BACKING_FORMAT, len(self._backing_format)) + kind + bytes(8)
        fields = _HEADER.pack(
            b"QFI\xfb",
            3,
            length + len(extensions),
            len(self._backing),
            16,
            self._size,
            0,
            len(self._l1),
            CLUSTER_BYTES,
            refcount_table,
            refcount_clusters,
            0,
            0,
            _EXTENDED_L2,
            0,
            0,
            4,
            length,
        )
        return fields + extensions + self._backing


def _mask(inside: int, length: int) -> int:
    """The subclusters that a range of a cluster touches; ranges are whole pages, but for the disk's last."""
    if inside % PAGE_BYTES:
        raise RuntimeError(f"offset {inside} inside a cluster is not on a page")
    first, last = inside // _SUBCLUSTER_BYTES, -(-(inside + length) // _SUBCLUSTER_BYTES)
    return (1 << last) - (1 << first)
