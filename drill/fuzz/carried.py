"""Which pages a cycle log carries as data: a second reading of docs/formats.md that shares nothing with the engine."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping

from drill.sim.content import PAGE

_PROLOGUE_BYTES = 12
_RECORD = struct.Struct("<BBHIII32x")
_EXTENT = struct.Struct("<QQB")
_LEAF_BYTES = 16
_HEADER, _FRAME = 1, 2


def data_pages(log: bytes) -> Mapping[int, set[int]]:
    """Numbers of the pages that travel as data, by the disk's index in the header."""
    found: dict[int, set[int]] = defaultdict(set)
    at = _PROLOGUE_BYTES
    while True:
        kind, _, disk, count, _, stored = _RECORD.unpack_from(log, at)
        at += _RECORD.size
        if kind == _FRAME:
            for offset, length, is_zero in _EXTENT.iter_unpack(log[at : at + count * _EXTENT.size]):
                if not is_zero:
                    pages = range(offset // PAGE, -(-(offset + length) // PAGE))
                    found[disk].update(pages)
                    at += len(pages) * _LEAF_BYTES
            at += count * _EXTENT.size
        elif kind != _HEADER:
            return found
        at += stored
