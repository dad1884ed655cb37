"""The cycle log: everything one cycle carries, as a stream of bytes (docs/formats.md).

    prologue  "DRILLCYC", version, 0
    header    who, where in the order, which machine, which disks         JSON
    frame …   per disk, in the header's order: a table of extents, the page digests and the bytes of its DATA extents
    trailer   how every disk must look afterwards                         JSON
    digest    BLAKE3 of prologue, header, the frames' records and trailer

A frame's record holds the BLAKE3 of all the rest of the frame as it is stored (drill/replication/frame.py), and the
digest at the end holds the records: every byte is hashed once, in pieces that the lanes share, and a flipped bit is
found before anything of its frame is decompressed or applied.  Both sides hold one frame at a time.  Every length is
bounded before anything of that length is read, every extent before it is applied.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

from blake3 import blake3

from drill.core.groups import MEMBERS_MAX, MEMBERS_MIN
from drill.errors import BadInput, Damaged
from drill.model.cycle import LogHeader, LogTrailer
from drill.model.point import GroupMark
from drill.replication import names, plainjson
from drill.replication.extents import PAGE_BYTES
from drill.replication.frame import (
    CONTENT_MAX,
    EXTENT,
    EXTENTS_MAX,
    FRAME,
    RECORD,
    Codec,
    Frame,
    Packed,
    leaf_bytes_of,
)

MAGIC = b"DRILLCYC"
VERSION = 2
"""What is written.  Version 1 is read too: it is without consistency groups."""
VERSIONS = (1, VERSION)
JSON_MAX = 1 << 20
DISKS_MAX = 64
DISK_BYTES_MAX = 1 << 50
DIGEST_BYTES = 32

_PROLOGUE = struct.Struct("<8sHH")
_WHERE = "cycle log"


class _Record(IntEnum):
    HEADER = 1
    FRAME = FRAME
    TRAILER = 3


class LogWriter:
    """Writes a log to `sink`: header at once, then frames, then `finish`."""

    def __init__(self, sink: Callable[[bytes | memoryview], None], header: LogHeader) -> None:
        self._sink = sink
        self._digest = blake3()
        self.sent_bytes = 0
        self._put(_PROLOGUE.pack(MAGIC, VERSION, 0))
        self._put_json(_Record.HEADER, plainjson.encode(LogHeader, header))

    def frame(self, packed: Packed) -> None:
        """Append a frame."""
        self._put(packed.head)
        for part in (packed.table, packed.leaves, packed.payload):
            if len(part):
                self._send(part)

    def trailer(self, trailer: LogTrailer) -> str:
        """Append the trailer; returns the log's digest (hex), which `finish` writes."""
        self._put_json(_Record.TRAILER, plainjson.encode(LogTrailer, trailer))
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Append the digest: only now can the receiver take the log for whole."""
        self._put(self._digest.digest())

    def _put_json(self, kind: _Record, text: bytes) -> None:
        self._put(RECORD.pack(kind, Codec.STORED, 0, 0, len(text), len(text), blake3(text).digest()) + text)

    def _put(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._send(data)

    def _send(self, data: bytes | memoryview) -> None:
        self.sent_bytes += len(data)
        self._sink(data)


class LogReader:
    """Reads a log from `source`, which returns exactly the bytes asked for, or raises.

    `header` is there at once; `frames` must be exhausted before `trailer` and `log_digest` may be asked for.
    """

    def __init__(self, source: Callable[[int], bytes | memoryview]) -> None:
        self._source = source
        self._digest = blake3()
        self.read_bytes = 0
        magic, version, flags = _PROLOGUE.unpack(self._take(_PROLOGUE.size))
        if magic != MAGIC or flags:
            raise BadInput(_WHERE, "not a cycle log")
        if version not in VERSIONS:
            raise BadInput(_WHERE, f"version {version}, this drill reads versions {VERSIONS[0]} to {VERSION}")
        kind, fields = self._record()
        self.header = plainjson.decode(LogHeader, self._json(kind, fields, _Record.HEADER), where="cycle log header")
        check_header(self.header)
        if self.header.group is not None and version == 1:
            raise BadInput(_WHERE, "a log of version 1 that names a consistency group")
        self._trailer: LogTrailer | None = None
        self._log_digest = ""

    @property
    def trailer(self) -> LogTrailer:
        """The trailer, once all frames were taken."""
        if self._trailer is None:
            raise RuntimeError("the log has not been read to its end")
        return self._trailer

    @property
    def log_digest(self) -> str:
        """The digest of the whole log (hex), checked, once all frames were taken."""
        if not self._log_digest:
            raise RuntimeError("the log has not been read to its end")
        return self._log_digest

    def frames(self) -> Iterator[Packed]:
        """Frames as they were stored, not yet checked; at the end the trailer and the log's digest are checked."""
        while True:
            kind, fields = self._record()
            if kind != _Record.FRAME:
                break
            yield self._frame(fields)
        text = self._json(kind, fields, _Record.TRAILER)
        trailer = plainjson.decode(LogTrailer, text, where="cycle log trailer")
        expected = self._digest.digest()
        found = self._source(DIGEST_BYTES)
        if len(found) != DIGEST_BYTES:
            raise BadInput(_WHERE, "the log ends too early")
        if found != expected:
            raise Damaged(_WHERE, "the log does not match its digest")
        self.read_bytes += DIGEST_BYTES
        if tuple((d.target, d.size_bytes) for d in trailer.disks) != tuple(
            (d.target, d.size_bytes) for d in self.header.disks
        ):
            raise BadInput(_WHERE, "header and trailer name different disks")
        self._trailer, self._log_digest = trailer, expected.hex()

    def _record(self) -> tuple[int, bytes | memoryview]:
        head = self._take(RECORD.size)
        return head[0], head

    def _frame(self, head: bytes | memoryview) -> Packed:
        _, codec, index, count, content, stored, _ = RECORD.unpack(head)
        if index >= len(self.header.disks) or not 0 < count <= EXTENTS_MAX or content > CONTENT_MAX:
            raise BadInput(_WHERE, "a frame is beyond its limits")
        if codec not in (Codec.STORED, Codec.ZSTD) or stored > content:
            raise BadInput(_WHERE, "a frame is stored in an unknown way")
        table = self._read(count * EXTENT.size)
        leaves = self._read(leaf_bytes_of(table, content))
        return Packed(head, table, leaves, self._read(stored), Frame(index, ()))

    def _json(self, kind: int, head: bytes | memoryview, wanted: _Record) -> bytes | memoryview:
        _, _, _, _, content, stored, digest = RECORD.unpack(head)
        if kind != wanted or stored != content or content > JSON_MAX:
            raise BadInput(_WHERE, f"record {kind} where the {wanted.name.lower()} must stand, or too long")
        text = self._take(content)
        if blake3(text).digest() != digest:
            raise Damaged(_WHERE, f"the {wanted.name.lower()} does not match its digest")
        return text

    def _take(self, length: int) -> bytes | memoryview:
        """The next bytes, which the log's digest covers."""
        data = self._read(length)
        self._digest.update(data)
        return data

    def _read(self, length: int) -> bytes | memoryview:
        data = self._source(length)
        if len(data) != length:
            raise BadInput(_WHERE, "the log ends too early")
        self.read_bytes += length
        return data


def check_header(header: LogHeader) -> None:
    """Limits on what a header may say.  BadInput otherwise."""
    targets = [disk.target for disk in header.disks]
    if not 0 < len(targets) <= DISKS_MAX or len(set(targets)) != len(targets):
        raise BadInput(_WHERE, f"between 1 and {DISKS_MAX} different disks, not {len(targets)}")
    for disk in header.disks:
        if not 0 < disk.size_bytes <= DISK_BYTES_MAX or disk.size_bytes % 512:
            raise BadInput(_WHERE, f"disk {disk.target} has {disk.size_bytes} bytes")
    if header.sequence < 1 or bool(header.parent_digest) != (header.sequence > 1):
        raise BadInput(_WHERE, "sequence and parent contradict each other")
    if any(disk.full and disk.compared for disk in header.disks):
        raise BadInput(_WHERE, "a disk is carried whole or compared, not both")
    if header.sequence == 1 and not all(disk.full or disk.compared for disk in header.disks):
        raise BadInput(_WHERE, "the first log of an epoch must carry every disk whole, or compared")
    if not (header.sequence > 1 or header.supersedes or all(disk.full for disk in header.disks)):
        raise BadInput(_WHERE, "disks are compared with a head, and this log names none")
    if header.term < 1:
        raise BadInput(_WHERE, f"term {header.term}")
    if header.supersedes and header.sequence != 1:
        raise BadInput(_WHERE, "only the first log of an epoch supersedes another")
    _check_group(header.group)


def _check_group(mark: GroupMark | None) -> None:
    if mark is None:
        return
    names.group(mark.name)
    names.epoch(mark.instant)
    if not MEMBERS_MIN <= mark.members <= MEMBERS_MAX:
        raise BadInput(_WHERE, f"a consistency group of {mark.members} items, not {MEMBERS_MIN} to {MEMBERS_MAX}")


class Order:
    """Checks that the extents of a log are sorted, aligned to pages, inside their disks, and whole where promised."""

    def __init__(self, header: LogHeader) -> None:
        self._disks = header.disks
        self._index = 0
        self._end = 0

    def check(self, frame: Frame) -> None:
        """Accept the next frame, or BadInput."""
        while self._index < frame.index:
            self._close()
        if frame.index != self._index:
            raise BadInput(_WHERE, "disks are not in the header's order")
        disk = self._disks[self._index]
        for piece in frame.pieces:
            extent = piece.extent
            aligned = extent.offset % PAGE_BYTES == 0 and (
                extent.length % PAGE_BYTES == 0 or extent.end == disk.size_bytes
            )
            sorted_right = extent.offset >= self._end and extent.length > 0 and extent.end <= disk.size_bytes
            gapless = not disk.full or extent.offset == self._end
            if not (aligned and sorted_right and gapless):
                raise BadInput(_WHERE, f"{disk.target}: extent {extent.offset}+{extent.length} is out of place")
            self._end = extent.end

    def close(self) -> None:
        """Accept the end of the log, or BadInput."""
        while self._index < len(self._disks):
            self._close()

    def _close(self) -> None:
        disk = self._disks[self._index]
        if disk.full and self._end != disk.size_bytes:
            raise BadInput(_WHERE, f"{disk.target}: a full copy ends at {self._end} of {disk.size_bytes}")
        self._index, self._end = self._index + 1, 0
