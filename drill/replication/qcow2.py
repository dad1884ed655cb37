"""A qcow2 overlay written once, front to back, from sorted pages.

    cluster 0      header, backing format, backing name
    cluster 1 …    L1 table (its size follows from the disk's)
    …              data clusters as they come; each L2 table after the data of its 256 MiB
    …              refcount blocks, refcount table
    the end        `DRILLSUM` and the BLAKE3 of all clusters but those of data, which no tool of QEMU reads

Clusters of 64 KiB with extended L2 entries (QEMU 5.2 and later): 32 subclusters of 2 KiB, each absent, data or zero, so
that a single changed page of 4 KiB takes 4 KiB and nothing is copied from the image below.  Whatever was not written
stays a hole in the file.  The format is docs/interop/qcow2.txt of QEMU; every point written by this module is read
back by qemu-img in the tests.

Why not through qemu-nbd: it writes 0.65 GB/s at best, costs a process per disk and cycle, and gives its `flush`
another path to durability than the manifest beside it (docs/adr).
"""

from __future__ import annotations

import struct

from blake3 import blake3

from drill.errors import Usage
from drill.ports import Files
from drill.replication.frame import Frame

CLUSTER_BYTES = 1 << 16
SUBCLUSTER_BYTES = CLUSTER_BYTES // 32
ENTRY = struct.Struct(">QII")
L2_ENTRIES = CLUSTER_BYTES // ENTRY.size
L2_BYTES = L2_ENTRIES * CLUSTER_BYTES
COPIED = 1 << 63
SUM_MAGIC = b"DRILLSUM"
SUM_BYTES = len(SUM_MAGIC) + 32
HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENDED_L2 = 1 << 4
_BACKING_FORMAT = 0xE2792ACA
_ALL = 0xFFFFFFFF
_BACKING_MAX = 1023


class OverlayWriter:
    """Writes the overlay at `path`; the file is durable and complete after `finish`, and worth nothing before."""

    def __init__(self, files: Files, path: str, *, size_bytes: int, backing: str, backing_format: str) -> None:
        if not 0 < len(backing.encode()) <= _BACKING_MAX or backing_format not in ("raw", "qcow2"):
            raise Usage(f"{backing!r} ({backing_format}) cannot be the backing of an overlay")
        self._files = files
        self.path = path
        self._size = size_bytes
        self._backing = backing
        self._backing_format = backing_format
        self._sum = blake3()
        self._l1 = [0] * (-(-size_bytes // L2_BYTES))
        self._next = 1 + -(-len(self._l1) * 8 // CLUSTER_BYTES)
        self._l2 = bytearray()
        self._l2_index: int | None = None
        self._cluster = self._last = -1
        self._at = self._allocated = self._zeroed = 0
        files.truncate(path, 0)

    def place(self, frame: Frame) -> None:
        """Nothing: where a cluster goes follows from those before it."""

    def add(self, frame: Frame) -> None:
        """Write the pieces of a frame; pieces of one disk come in ascending order."""
        for piece in frame.pieces:
            if piece.leaves:
                self.data(piece.extent.offset, piece.data)
            else:
                self.zero(piece.extent.offset, piece.extent.length)

    def finish(self) -> None:
        """Write what describes the data, then make all of it durable."""
        self._close_l2()
        table, clusters = self._refcounts()
        self._tables(CLUSTER_BYTES, struct.pack(f">{len(self._l1)}Q", *self._l1))
        self._tables(0, header(self._size, self._backing, self._backing_format, table, clusters))
        self._files.write(self.path, self._next * CLUSTER_BYTES, SUM_MAGIC + self._sum.digest())
        self._files.sync(self.path)

    def data(self, offset: int, data: bytes | memoryview) -> None:
        """Write whole pages behind all that was written so far."""
        done = 0
        while done < len(data):
            start = offset + done
            self._open(start // CLUSTER_BYTES)
            if not self._at:
                self._at, self._next = self._next * CLUSTER_BYTES, self._next + 1
            inside = start % CLUSTER_BYTES
            step = min(len(data) - done, CLUSTER_BYTES - inside)
            self._files.write(self.path, self._at + inside, data[done : done + step])
            self._allocated |= _mask(inside, step)
            done += step

    def zero(self, offset: int, length: int) -> None:
        """Whole pages that read as zeros, behind all that was written so far."""
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
            index = cluster // L2_ENTRIES
            if index != self._l2_index:
                self._close_l2()
                self._l2_index, self._l2 = index, bytearray(CLUSTER_BYTES)
            self._cluster = cluster

    def _close_cluster(self) -> None:
        if self._cluster >= 0:
            entry = self._at | COPIED if self._at else 0
            ENTRY.pack_into(
                self._l2, self._cluster % L2_ENTRIES * ENTRY.size, entry, self._zeroed & _ALL, self._allocated & _ALL
            )
            self._last = self._cluster
            self._cluster, self._at, self._allocated, self._zeroed = -1, 0, 0, 0

    def _close_l2(self) -> None:
        self._close_cluster()
        if self._l2_index is not None:
            at, self._next = self._next * CLUSTER_BYTES, self._next + 1
            used = (self._last % L2_ENTRIES + 1) * ENTRY.size  # what lies behind stays a hole
            self._tables(at, bytes(self._l2[:used]))
            self._l1[self._l2_index] = at | COPIED
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
            self._tables(first + index * CLUSTER_BYTES, b"\0\1" * count)
        table = first + blocks * CLUSTER_BYTES
        entries = [first + index * CLUSTER_BYTES for index in range(blocks)]
        self._tables(table, struct.pack(f">{blocks}Q", *entries))
        self._next = total
        return table, tables

    def _tables(self, at: int, data: bytes) -> None:
        """Write what is no data, and count it in."""
        self._files.write(self.path, at, data)
        count_in(self._sum, data)


def count_in(found: blake3, table: bytes) -> None:
    """Count a table into the sum of an overlay: its length and its bytes, but for the zeros at its end."""
    used = unpadded(table)
    found.update(len(used).to_bytes(8, "little") + used)


def unpadded(table: bytes | bytearray) -> bytes:
    """A table without the zeros at its end; halves are compared first, for `rstrip` looks at every byte."""
    size = len(table)
    while size > 64 and table[size // 2 : size] == bytes(size - size // 2):
        size //= 2
    return bytes(table[:size]).rstrip(b"\0")


def header(size_bytes: int, backing: str, backing_format: str, refcount_table: int, refcount_clusters: int) -> bytes:
    """The beginning of an overlay: header, backing format, backing name."""
    length, kind, name = HEADER.size, backing_format.encode(), backing.encode()
    extensions = struct.pack(">II", _BACKING_FORMAT, len(kind)) + kind.ljust(8, b"\0") + bytes(8)
    fields = HEADER.pack(
        b"QFI\xfb",
        3,
        length + len(extensions),
        len(name),
        16,
        size_bytes,
        0,
        -(-size_bytes // L2_BYTES),
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
    return fields + extensions + name


def _mask(inside: int, length: int) -> int:
    """The subclusters that a range of a cluster touches; ranges are whole pages, but for the disk's last.

    That they are is checked where they come from: by the order of a log, and where an overlay is read.
    """
    first, last = inside // SUBCLUSTER_BYTES, -(-(inside + length) // SUBCLUSTER_BYTES)
    return (1 << last) - (1 << first)
