"""The page digests of one disk, kept in files beside what they describe, on both sides.

    <name>.leaves   16 bytes per page
    <name>.chunks   32 bytes per 4,096 leaves
    <name>.<tag>.staged   what the cycle `tag` changes: a redo log, written before the cycle is acknowledged

A cycle *stages* its changes and learns the root that the disk will have.  They take effect only with `commit`, after
the acknowledgement is durable: a failed cycle must not lose writes to a table that is ahead of the receiver.
Committing is redo: it may be repeated after a crash, and it ends with a check against the root that was promised.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from drill.errors import Damaged
from drill.model.extent import Extent, ExtentKind
from drill.ports import Files
from drill.replication.extents import PAGE_BYTES, coalesce
from drill.replication.frame import Frame
from drill.replication.pages import (
    CHUNK_DIGEST_BYTES,
    CHUNK_TABLE_BYTES,
    LEAF_BYTES,
    LEAVES_PER_CHUNK,
    ZERO_CHUNK,
    ZERO_LEAF,
    chunk_count,
    chunk_digest,
    root,
)

_HEAD = struct.Struct("<8sQB")
_MAGIC = b"DRILLSTG"
_RECORD = struct.Struct("<BQQ")
_LEAVES, _ZEROS, _CHUNK = 1, 2, 3
CHUNK_BYTES = LEAVES_PER_CHUNK * PAGE_BYTES
_BUFFER_BYTES = 1 << 20
_NO_CHUNK = b"\xff" * CHUNK_DIGEST_BYTES
"""The digest of no chunk: in its place a table proves nothing."""


class PageDigests:
    """The committed digests of one disk.  `path` is the folder and the name without extension."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._leaves = f"{path}.leaves"
        self._chunks = f"{path}.chunks"
        self._path = path
        self._checked: tuple[int, bytes] = (-1, b"")

    def root(self, size_bytes: int) -> str:
        """The root of what is committed, for a disk of `size_bytes`."""
        return root(size_bytes, self.chunk_table(size_bytes))

    def leaves(self, offset: int, length: int) -> bytes:
        """The committed leaves of a range of bytes, which begins on a page.  Damaged when their chunk differs.

        Checked, because a page that a rotten leaf lets be left out is one that no root misses.
        """
        at, end = offset // PAGE_BYTES * LEAF_BYTES, -(-(offset + length) // PAGE_BYTES) * LEAF_BYTES
        found = []
        while at < end:
            index, inside = divmod(at, CHUNK_TABLE_BYTES)
            known, table = self._checked
            if known != index:
                table = self._proven(index)
                self._checked = (index, table)
            found.append(table[inside : inside + end - at])
            at += len(found[-1])
        return found[0] if len(found) == 1 else b"".join(found)

    def chunk(self, index: int) -> bytearray:
        """The leaves of a chunk, checked against its digest.  Damaged when they differ."""
        return bytearray(self._proven(index))

    def proven_digest(self, index: int) -> bytes:
        """The digest of a chunk, checked against its leaves.  Damaged when they differ."""
        self._proven(index)
        return self.chunk_digest(index)

    def _proven(self, index: int) -> bytes:
        table = self._read(self._leaves, index * CHUNK_TABLE_BYTES, CHUNK_TABLE_BYTES)
        if chunk_digest(table) != self.chunk_digest(index):
            raise Damaged(self._leaves, f"digests of chunk {index} are damaged")
        return table

    def mend(self, index: int, table: bytes) -> bool:
        """Write the leaves of a chunk anew where they are those that its digest wants; False where they are not.

        Repeating it is harmless, and whatever interrupts it leaves leaves that still prove nothing.
        """
        if chunk_digest(table) != self.chunk_digest(index):
            return False
        self._checked = (-1, b"")
        self._files.write(self._leaves, index * CHUNK_TABLE_BYTES, table)
        self._files.sync(self._leaves)
        return True

    def chunk_digest(self, index: int) -> bytes:
        """The committed digest of a chunk."""
        return self._read(self._chunks, index * CHUNK_DIGEST_BYTES, CHUNK_DIGEST_BYTES)

    def chunk_table(self, size_bytes: int) -> bytearray:
        """The committed digests of all chunks of a disk of `size_bytes`, one after another."""
        return bytearray(self._read(self._chunks, 0, chunk_count(size_bytes) * CHUNK_DIGEST_BYTES))

    def staged_path(self, tag: str) -> str:
        """Where the cycle `tag` stages its changes."""
        return f"{self._path}.{tag}.staged"

    def names(self, tag: str) -> tuple[str, ...]:
        """The files, without their folder, that the disk needs when `tag` is the last cycle that counts."""
        return tuple(path.rpartition("/")[2] for path in (self._leaves, self._chunks, self.staged_path(tag)))

    def commit(self, tag: str, size_bytes: int, promised: str) -> None:
        """Let the changes staged as `tag` take effect; none staged is fine.  Damaged when the root is not `promised`.

        Repeating it is harmless.  The staged file goes last, when the tables are durable.
        """
        staged, self._checked = self.staged_path(tag), (-1, b"")
        if self._files.size(staged) is not None:
            self._redo(staged)
            self._files.sync(self._leaves)
            self._files.sync(self._chunks)
            self._files.sync_folder(self._path.rpartition("/")[0])
        if self.root(size_bytes) != promised:
            raise Damaged(self._leaves, "page digests do not give the root that was acknowledged")
        if self._files.size(staged) is not None:
            self._files.remove(staged)

    def adopt(
        self, size_bytes: int, table: bytes, leaves: Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]
    ) -> None:
        """Become the digests whose chunk digests are `table`; `leaves` gives those of the chunks that are not so yet.

        What was staged is given up.  From the first byte on until all is durable the tables give no root at all, so
        that whatever interrupts it cannot leave leaves of one content under chunk digests of another.
        """
        count = chunk_count(size_bytes)
        wanted = [table[i * CHUNK_DIGEST_BYTES : (i + 1) * CHUNK_DIGEST_BYTES] for i in range(count)]
        held = (self._read(self._leaves, i * CHUNK_TABLE_BYTES, CHUNK_TABLE_BYTES) for i in range(count))
        missing = [index for index, found in enumerate(held) if chunk_digest(found) != wanted[index]]
        self._give_up_staged()
        if not missing and self._read(self._chunks, 0, len(table)) == table:
            return
        self._files.write(self._chunks, 0, _NO_CHUNK)
        self._files.sync(self._chunks)
        self._files.truncate(self._leaves, count * CHUNK_TABLE_BYTES)
        for index, found in leaves(missing) if missing else ():
            self._files.write(self._leaves, index * CHUNK_TABLE_BYTES, found)
        self._files.sync(self._leaves)
        self._files.truncate(self._chunks, len(table))
        self._files.write(self._chunks, 0, table)
        self._files.sync(self._chunks)
        self._files.sync_folder(self._path.rpartition("/")[0])

    def _give_up_staged(self) -> None:
        folder, _, name = self._path.rpartition("/")
        self._files.make_folder(folder)
        for found in self._files.list(folder):
            if found.startswith(f"{name}.") and found.endswith(".staged"):
                self._files.remove(f"{folder}/{found}")
        self._files.sync_folder(folder)

    def _redo(self, staged: str) -> None:
        head = self._files.read(staged, 0, _HEAD.size)
        if len(head) < _HEAD.size:
            raise Damaged(staged, "staged digests end too early")
        magic, size_bytes, fresh = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise Damaged(staged, "not a list of staged digests")
        if fresh:
            self._files.truncate(self._leaves, 0)
            self._files.truncate(self._chunks, 0)
        chunks = chunk_count(size_bytes)
        self._files.truncate(self._leaves, chunks * CHUNK_TABLE_BYTES)
        self._files.truncate(self._chunks, chunks * CHUNK_DIGEST_BYTES)
        for kind, first, count, data in _records(self._files, staged):
            if kind == _CHUNK:
                self._files.write(self._chunks, first * CHUNK_DIGEST_BYTES, data)
            elif kind == _ZEROS:
                self._files.punch(self._leaves, first * LEAF_BYTES, count * LEAF_BYTES)
            else:
                self._files.write(self._leaves, first * LEAF_BYTES, data)

    def _read(self, path: str, offset: int, length: int) -> bytes:
        try:
            found = self._files.read(path, offset, length)
        except FileNotFoundError:
            found = b""
        return found if len(found) == length else found + bytes(length - len(found))


class Staging:
    """Changes of one cycle to one disk, in ascending order; `finish` gives the root the disk will have.

    `fresh` starts from a disk of zeros: what a full copy does.  Nothing is written when nothing changes.
    """

    def __init__(self, files: Files, digests: PageDigests, tag: str, size_bytes: int, *, fresh: bool) -> None:
        self._files = files
        self._digests = digests
        self._path = digests.staged_path(tag)
        self._size = size_bytes
        self._fresh = fresh
        self._buffer = bytearray(_HEAD.pack(_MAGIC, size_bytes, fresh))
        self._written = 0
        self._changed = fresh
        self._open: int | None = None
        self._table = bytearray()
        self._new_chunks: dict[int, bytes] = {}
        self.discard()

    def add(self, frame: Frame) -> None:
        """Take over the leaves of a frame of this disk."""
        for piece in frame.pieces:
            if piece.leaves:
                self._data(piece.extent.offset // PAGE_BYTES, piece.leaves)
            else:
                self._zero(piece.extent.offset // PAGE_BYTES, -(-piece.extent.length // PAGE_BYTES))

    def finish(self) -> str:
        """The root after this cycle; the staged changes are durable then."""
        self._close_chunk()
        if not self._changed:
            return self._digests.root(self._size)
        for index, digest in sorted(self._new_chunks.items()):
            self._record(_CHUNK, index, CHUNK_DIGEST_BYTES, digest)
        self._flush()
        self._files.sync(self._path)
        table = bytearray(chunk_count(self._size) * CHUNK_DIGEST_BYTES)
        if not self._fresh:
            table = self._digests.chunk_table(self._size)
        for index, digest in self._new_chunks.items():
            table[index * CHUNK_DIGEST_BYTES : (index + 1) * CHUNK_DIGEST_BYTES] = digest
        return root(self._size, table)

    def discard(self) -> None:
        """Forget what was staged."""
        if self._files.size(self._path) is not None:
            self._files.remove(self._path)

    def _data(self, first: int, leaves: bytes) -> None:
        self._record(_LEAVES, first, len(leaves), leaves)
        count, done = len(leaves) // LEAF_BYTES, 0
        while done < count:
            index, inside = divmod(first + done, LEAVES_PER_CHUNK)
            step = min(count - done, LEAVES_PER_CHUNK - inside)
            self._open_chunk(index)
            self._table[inside * LEAF_BYTES : (inside + step) * LEAF_BYTES] = leaves[
                done * LEAF_BYTES : (done + step) * LEAF_BYTES
            ]
            done += step

    def _zero(self, first: int, count: int) -> None:
        if self._fresh:
            return
        self._record(_ZEROS, first, count, b"")
        done = 0
        while done < count:
            index, inside = divmod(first + done, LEAVES_PER_CHUNK)
            step = min(count - done, LEAVES_PER_CHUNK - inside)
            if step == LEAVES_PER_CHUNK:
                self._close_chunk()
                self._new_chunks[index] = ZERO_CHUNK
            else:
                self._open_chunk(index)
                self._table[inside * LEAF_BYTES : (inside + step) * LEAF_BYTES] = bytes(step * LEAF_BYTES)
            done += step

    def _open_chunk(self, index: int) -> None:
        if self._open != index:
            self._close_chunk()
            self._open = index
            self._table = bytearray(CHUNK_TABLE_BYTES) if self._fresh else self._digests.chunk(index)

    def _close_chunk(self) -> None:
        if self._open is not None:
            self._new_chunks[self._open] = chunk_digest(self._table)
            self._open = None

    def _record(self, kind: int, first: int, amount: int, data: bytes) -> None:
        self._changed = True
        self._buffer += _RECORD.pack(kind, first, amount) + data
        if len(self._buffer) > _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._files.write(self._path, self._written, bytes(self._buffer))
        self._written += len(self._buffer)
        self._buffer.clear()


def without_known_zeros(extents: Iterable[Extent], known: PageDigests) -> Iterator[Extent]:
    """The same extents, but of ZERO ones only the pages that are not known to be zeros.

    A disk that is read whole has holes of any length: they are passed over a chunk at a time.
    """
    for extent in extents:
        if extent.kind is ExtentKind.DATA:
            yield extent
        else:
            yield from coalesce(_not_zero(extent, known))


def _not_zero(extent: Extent, known: PageDigests) -> Iterator[Extent]:
    at = extent.offset
    while at < extent.end:
        index = at // CHUNK_BYTES
        end = min((index + 1) * CHUNK_BYTES, extent.end)
        leaves = known.leaves(at, end - at) if known.chunk_digest(index) != ZERO_CHUNK else b""
        for place in range(0, len(leaves), LEAF_BYTES):
            if leaves[place : place + LEAF_BYTES] != ZERO_LEAF:
                start = at + place // LEAF_BYTES * PAGE_BYTES
                yield Extent(start, min(PAGE_BYTES, extent.end - start), ExtentKind.ZERO)
        at = end


def _records(files: Files, path: str) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, first page or chunk, amount, bytes) of a staged file, read a mebibyte at a time."""
    at, size, window = _HEAD.size, files.size(path) or 0, b""
    while at < size or window:
        window += files.read(path, at, min(_BUFFER_BYTES, size - at)) if at < size else b""
        at = min(at + _BUFFER_BYTES, size)
        used = 0
        while used + _RECORD.size <= len(window):
            kind, first, amount = _RECORD.unpack_from(window, used)
            length = 0 if kind == _ZEROS else amount
            if used + _RECORD.size + length > len(window):
                break
            yield kind, first, amount, window[used + _RECORD.size : used + _RECORD.size + length]
            used += _RECORD.size + length
        if used == 0 and at >= size:
            raise Damaged(path, "staged digests end too early")
        window = window[used:]
