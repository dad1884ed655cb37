"""A second reading of our overlays, from QEMU's description of qcow2 and not from the writer.

For tests that look at hundreds of points; others let qemu-img read, and one test holds the two against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

Reader = Callable[[str], bytes]


def content(read: Reader, name: str, format: str, seen: dict[str, bytes]) -> bytes:
    """What a guest would read from `name`; `seen` remembers files that never change."""
    if name not in seen:
        seen[name] = read(name) if format == "raw" else _overlay(read, name, seen)
    return seen[name]


def _overlay(read: Reader, name: str, seen: dict[str, bytes]) -> bytes:
    file = read(name)
    magic, version, at, length, bits, size, _, l1_size, l1_at = struct.unpack_from(">4sIQIIQIIQ", file)
    (incompatible,) = struct.unpack_from(">Q", file, 72)
    assert (magic, version, bits, incompatible) == (b"QFI\xfb", 3, 16, 0x10)
    kind, kind_length = struct.unpack_from(">II", file, 104)
    assert kind == 0xE2792ACA
    backing_format = file[112 : 112 + kind_length].decode()
    disk = bytearray(content(read, file[at : at + length].decode(), backing_format, seen))
    assert len(disk) == size
    for l1_index in range(l1_size):
        (l1,) = struct.unpack_from(">Q", file, l1_at + 8 * l1_index)
        if l1:
            _apply(file, l1 & 0x00FFFFFFFFFFFE00, l1_index * 4096, disk)
    return bytes(disk)


def _apply(file: bytes, l2_at: int, first: int, disk: bytearray) -> None:
    """One L2 table: 4,096 entries of a host offset, 32 zero bits and 32 allocation bits."""
    table = file[l2_at : l2_at + 65536]
    for index, (entry, zero, allocated) in enumerate(struct.iter_unpack(">QII", table)):
        if not zero | allocated:
            continue
        assert not zero & allocated
        host = entry & 0x00FFFFFFFFFFFE00
        for bit in range(32):
            start = (first + index) * 65536 + bit * 2048
            end = min(start + 2048, len(disk))
            if start >= end or not (zero | allocated) >> bit & 1:
                continue
            if zero >> bit & 1:
                disk[start:end] = bytes(end - start)
            else:
                part = file[host + bit * 2048 : host + bit * 2048 + end - start]
                disk[start:end] = part + bytes(end - start - len(part))
