"""The page digests that stored bytes really have: read as QEMU would read a disk of a point, from the base upwards."""

from __future__ import annotations

from collections.abc import Iterator

from drill.ports import Files
from drill.replication.extents import PAGE_BYTES
from drill.replication.folding import Chains
from drill.replication.manifest import StoredDisk
from drill.replication.overlay import RANGE_BYTES, RANGE_CLUSTERS, Overlay, union
from drill.replication.pages import CHUNK_TABLE_BYTES, LEAF_BYTES, leaves

_NO_TABLE = bytes(CHUNK_TABLE_BYTES)


def tables(files: Files, item: str, top: StoredDisk, chunk: int) -> Iterator[tuple[str, bytearray, bool]]:
    """Per file of the chain of `top`, the base first: the file, the leaves of a chunk as far as up to there, and
    whether the file says anything of it.  The table is the same object each time.

    Damaged and FileNotFoundError where the chain cannot be followed.
    """
    table = bytearray()
    for file in reversed(list(Chains(files, item).down(top.file, top.format))):
        path = f"{item}/{file}"
        if file.endswith(".raw"):
            table[:] = _leaves_of(files, path, chunk)
            yield file, table, True
        else:
            yield file, table, _overlaid(table, Overlay(files, path), chunk)


def table(files: Files, item: str, top: StoredDisk, chunk: int) -> bytes:
    """The leaves of a chunk of a disk; a chunk that is short at the disk's end is padded with zero leaves."""
    return bytes(list(tables(files, item, top, chunk))[-1][1])


def _leaves_of(files: Files, path: str, chunk: int) -> bytes:
    """The page digests of a chunk of a base; what lies behind its end is zeros, and holes are not read."""
    data = files.next_data(path, chunk * RANGE_BYTES)
    if data is None or data >= (chunk + 1) * RANGE_BYTES:
        return _NO_TABLE
    found = files.read(path, chunk * RANGE_BYTES, RANGE_BYTES)
    if found == bytes(len(found)):
        return _NO_TABLE
    return leaves(memoryview(found)).ljust(CHUNK_TABLE_BYTES, b"\0")


def _overlaid(table: bytearray, overlay: Overlay, chunk: int) -> bool:
    """Take over what an overlay says of a chunk; False when it says nothing."""
    is_changed = False
    for run in union([overlay], chunk * RANGE_CLUSTERS):
        is_changed = True
        at = (run.offset - chunk * RANGE_BYTES) // PAGE_BYTES * LEAF_BYTES
        pages = -(-run.length // PAGE_BYTES) * LEAF_BYTES
        table[at : at + pages] = leaves(memoryview(run.read())) if run.overlay else bytes(pages)
    return is_changed
