"""The cycle log: everything one cycle carries, as a stream of bytes (docs/formats.md).

    prologue  "DRILLCYC", version, 0
    header    who, where in the order, which machine, which disks         JSON
    frame …   per disk, in the header's order: a table of extents and the bytes of its DATA extents, compressed
    trailer   how every disk must look afterwards                         JSON
    digest    BLAKE3 of all bytes before it

A frame's digest covers its table and the page digests of its *content*, so what is checked after decompression is
what was read from the disk; a bit flipped anywhere else breaks the digest at the end.  Both sides hold one frame at a
time.  Every length is bounded before anything of that length is read, every extent before it is applied.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import zstandard
from blake3 import blake3

from drill.errors import BadInput, Damaged
from drill.model.cycle import LogHeader, LogTrailer
from drill.model.extent import Extent, ExtentKind
from drill.replication import pages, plainjson
from drill.replication.extents import PAGE_BYTES

MAGIC = b"DRILLCYC"
VERSION = 0
CONTENT_MAX = 1 << 20
EXTENTS_MAX = 4096
JSON_MAX = 1 << 20
DISKS_MAX = 64
DISK_BYTES_MAX = 1 << 50
DIGEST_BYTES = 32

_PROLOGUE = struct.Struct("<8sHH")
_RECORD = struct.Struct("<BBHIII32s")
_EXTENT = struct.Struct("<QQB")
_KINDS = (ExtentKind.DATA, ExtentKind.ZERO)
_WHERE = "cycle log"


class _Record(IntEnum):
    HEADER = 1
    FRAME = 2
    TRAILER = 3


class _Codec(IntEnum):
    STORED = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """One extent with its leaves, and its bytes when it is DATA (empty when it is ZERO)."""

    extent: Extent
    data: memoryview
    leaves: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Sorted pieces of the disk at `index` in the header, at most 1 MiB of data."""

    index: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A frame as it travels, and the pieces it came from (empty when it was read from a log)."""

    head: bytes | memoryview
    table: bytes | memoryview
    payload: bytes | memoryview
    frame: Frame

    @property
    def is_compressed(self) -> bool:
        """Whether the payload is shorter than the content."""
        return self.head[1] == _Codec.ZSTD


def piece(extent: Extent, data: memoryview) -> Piece:
    """An extent digested; DATA that turns out to be all zeros becomes ZERO."""
    leaves = pages.leaves(data)
    if leaves.count(0) == len(leaves):
        return Piece(Extent(extent.offset, extent.length, ExtentKind.ZERO), data[:0], b"")
    return Piece(extent, data, leaves)


def trim(found: Piece, known: bytes) -> Iterator[Piece]:
    """The parts of a piece whose pages are not what `known` (the leaves so far, 16 bytes a page) says they were.

    ZERO is left out when all of it was zero before, and kept whole otherwise.
    """
    if found.extent.kind is ExtentKind.ZERO:
        if known.count(0) != len(known):
            yield found
        return
    size = pages.LEAF_BYTES
    count = len(found.leaves) // size
    changed = [found.leaves[i * size : (i + 1) * size] != known[i * size : (i + 1) * size] for i in range(count)]
    start = 0
    while start < count:
        end = start + 1
        while end < count and changed[end] is changed[start]:
            end += 1
        if changed[start]:
            at, stop = start * PAGE_BYTES, min(end * PAGE_BYTES, found.extent.length)
            part = Extent(found.extent.offset + at, stop - at, ExtentKind.DATA)
            yield Piece(part, found.data[at:stop], found.leaves[start * size : end * size])
        start = end


def pack(index: int, pieces: Sequence[Piece], *, compress: bool = True) -> Packed:
    """A frame of sorted pieces, compressed where that pays."""
    table = b"".join(_EXTENT.pack(p.extent.offset, p.extent.length, _KINDS.index(p.extent.kind)) for p in pieces)
    body = pieces[0].data if len(pieces) == 1 else memoryview(b"".join(p.data for p in pieces))
    payload, codec = _compressed(body) if compress else (body, _Codec.STORED)
    digest = _frame_digest(index, table, len(body), (p.leaves for p in pieces))
    head = _RECORD.pack(_Record.FRAME, codec, index, len(pieces), len(body), len(payload), digest)
    return Packed(head, table, payload, Frame(index, tuple(pieces)))


def unpack(packed: Packed) -> Frame:
    """Decompress a frame and check it against its digest.  Damaged when they differ, BadInput when it is malformed."""
    _, codec, index, count, content, _, digest = _RECORD.unpack(packed.head)
    body = memoryview(_decompressed(packed.payload, codec, content))
    pieces, at = [], 0
    for offset, length, kind in _EXTENT.iter_unpack(packed.table):
        if kind >= len(_KINDS):
            raise BadInput(_WHERE, f"extent kind {kind} is not known")
        extent = Extent(offset, length, _KINDS[kind])
        taken = length if extent.kind is ExtentKind.DATA else 0
        data = body[at : at + taken]
        if len(data) != taken:
            raise BadInput(_WHERE, "extents reach beyond their frame's content")
        pieces.append(Piece(extent, data, pages.leaves(data)))
        at += taken
    if at != content or len(pieces) != count:
        raise BadInput(_WHERE, "extents do not add up to their frame's content")
    if _frame_digest(index, packed.table, content, (p.leaves for p in pieces)) != digest:
        raise Damaged(_WHERE, f"a frame of disk {index} does not match its digest")
    return Frame(index, tuple(pieces))


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
        self._put(b"".join((packed.head, packed.table)))
        if len(packed.payload):
            self._put(packed.payload)

    def trailer(self, trailer: LogTrailer) -> str:
        """Append the trailer; returns the log's digest (hex), which `finish` writes."""
        self._put_json(_Record.TRAILER, plainjson.encode(LogTrailer, trailer))
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Append the digest: only now can the receiver take the log for whole."""
        self._put(self._digest.digest())

    def _put_json(self, kind: _Record, text: bytes) -> None:
        self._put(_RECORD.pack(kind, _Codec.STORED, 0, 0, len(text), len(text), blake3(text).digest()) + text)

    def _put(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
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
        if version != VERSION:
            raise BadInput(_WHERE, f"version {version}, this drill reads version {VERSION}")
        kind, fields = self._record()
        self.header = plainjson.decode(LogHeader, self._json(kind, fields, _Record.HEADER), where="cycle log header")
        check_header(self.header)
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
        """Frames as they were stored, to be unpacked; at the end the trailer and the log's digest are checked."""
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
        head = self._take(_RECORD.size)
        return head[0], head

    def _frame(self, head: bytes | memoryview) -> Packed:
        _, codec, index, count, content, stored, _ = _RECORD.unpack(head)
        if index >= len(self.header.disks) or not 0 < count <= EXTENTS_MAX or content > CONTENT_MAX:
            raise BadInput(_WHERE, "a frame is beyond its limits")
        if codec not in (_Codec.STORED, _Codec.ZSTD) or stored > content:
            raise BadInput(_WHERE, "a frame is stored in an unknown way")
        table = self._take(count * _EXTENT.size)
        return Packed(head, table, self._take(stored), Frame(index, ()))

    def _json(self, kind: int, head: bytes | memoryview, wanted: _Record) -> bytes | memoryview:
        _, _, _, _, content, stored, digest = _RECORD.unpack(head)
        if kind != wanted or stored != content or content > JSON_MAX:
            raise BadInput(_WHERE, f"record {kind} where the {wanted.name.lower()} must stand, or too long")
        text = self._take(content)
        if blake3(text).digest() != digest:
            raise Damaged(_WHERE, f"the {wanted.name.lower()} does not match its digest")
        return text

    def _take(self, length: int) -> bytes | memoryview:
        data = self._source(length)
        if len(data) != length:
            raise BadInput(_WHERE, "the log ends too early")
        self._digest.update(data)
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


def _frame_digest(index: int, table: bytes | memoryview, content: int, leaves: Iterator[bytes]) -> bytes:
    hasher = blake3(struct.pack("<HII", index, len(table), content))
    hasher.update(table)
    for part in leaves:
        hasher.update(part)
    return bytes(hasher.digest())


def _compressed(body: memoryview) -> tuple[bytes | memoryview, _Codec]:
    """By zstd at level 1 (466 MB/s a thread, 4.5 GB/s on what does not compress), kept when it saves an eighth."""
    if not len(body):
        return b"", _Codec.STORED
    packed = zstandard.ZstdCompressor(level=1, write_content_size=True).compress(body)
    return (packed, _Codec.ZSTD) if len(packed) < len(body) * 7 // 8 else (body, _Codec.STORED)


def _decompressed(payload: bytes | memoryview, codec: int, content: int) -> bytes | memoryview:
    """Exactly `content` bytes, or Damaged; never more memory than that, whatever the payload claims."""
    if codec == _Codec.STORED:
        if len(payload) != content:
            raise BadInput(_WHERE, "a stored frame has another length than its content")
        return payload
    try:
        claimed = zstandard.frame_content_size(payload)
        if claimed != content:
            raise Damaged(_WHERE, f"a compressed frame holds {claimed} bytes, not {content}")
        body = zstandard.ZstdDecompressor().decompress(payload, max_output_size=content, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(_WHERE, f"a compressed frame cannot be read: {error}") from error
    if len(body) != content:
        raise Damaged(_WHERE, "a compressed frame is shorter than it says")
    return body
