"""What an image says of itself, looked at before any tool of QEMU's opens it (guarantees § Facts 11, § Security 6).

qemu-img follows whatever a header names: a backing file and a data file anywhere on the host, or on the network.  So
every image of a chain is a plain file, none is reached through a link, its header holds nothing but what drill's own
tools write into one, and what lies beneath it is in a folder that the caller names.  The format is
docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from drill.errors import Damaged, Failed, Refused

IMAGE_BYTES_MAX = 1 << 50
CHAIN_MAX = 256
BACKING_MAX = 1023
FORMATS = ("raw", "qcow2")
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT, _FEATURE_NAMES, _BITMAPS = 0xE2792ACA, 0x6803F857, 0x23852875
_EXTENDED_L2 = 1 << 4
_TABLE_BYTES_MAX = 32 << 20
_READ_BYTES = 1 << 16
_RULE = "I10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A qcow2 as far as drill has use for it; `backing` as it stands in the header, None where it stands alone."""

    size_bytes: int
    backing: str | None
    backing_format: str | None


def check_chain(path: str, format: str, folders: tuple[str, ...]) -> None:
    """Every image from `path` down is what it should be and lies in one of `folders`, or in its own folder.

    Damaged or Refused otherwise; Failed for a file that is not there.
    """
    kind = format
    for _ in range(CHAIN_MAX):
        found = check(path, kind)
        if found is None or found.backing is None:
            return
        below = os.path.join(os.path.dirname(path), found.backing)
        folder = os.path.dirname(below)
        if below != os.path.normpath(below) or not (folder == os.path.dirname(path) or _inside(folder, folders)):
            raise Refused(f"{path} stands on {found.backing[:200]!r}, outside its folder", _RULE)
        path, kind = below, str(found.backing_format)
    raise Damaged(path, f"a chain of more than {CHAIN_MAX} images")


def check(path: str, format: str) -> Header | None:
    """The header of a qcow2, None of a raw file; Damaged or Refused when it is not one that drill may open."""
    with _opened(path) as file:
        size = os.fstat(file).st_size
        if size > IMAGE_BYTES_MAX:
            raise Damaged(path, f"{size} bytes, more than any disk has")
        if format == "raw":
            return None
        head = os.pread(file, _READ_BYTES, 0)
    fields = _fields(path, head, size)
    formats = [data for kind, data in _extensions(path, head, fields) if kind == _BACKING_FORMAT]
    backing = _backing(path, head, fields)
    if backing is not None and (len(formats) != 1 or formats[0].decode(errors="replace") not in FORMATS):
        raise Refused(f"{path} does not say in which format {backing[:200]!r} is", _RULE)
    return Header(
        size_bytes=fields.size,
        backing=backing,
        backing_format=formats[0].decode() if backing is not None else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """The fixed part of a header, checked."""

    cluster_bytes: int
    size: int
    length: int
    backing_offset: int
    backing_size: int


def _fields(path: str, head: bytes, file_bytes: int) -> _Fields:
    if len(head) < _HEADER.size:
        raise Damaged(path, "too short for the header of a qcow2")
    magic, version, backing_offset, backing_size, bits, size, crypt, l1, l1_at, refcounts_at, refcounts, *rest = (
        _HEADER.unpack_from(head)
    )
    snapshots, _, incompatible, _, _, order, length = rest
    if magic != b"QFI\xfb" or version != 3:
        raise Damaged(path, f"it is no qcow2 of version 3 ({magic!r} {version})")
    if not 9 <= bits <= 21 or order > 6 or length < _HEADER.size or length % 8 or length > 1 << bits:
        raise Damaged(path, f"clusters of 2^{bits} bytes, counts of 2^{order} bits, a header of {length} bytes")
    if crypt or snapshots or incompatible & ~_EXTENDED_L2:
        raise Refused(
            f"{path} is encrypted ({crypt}), has snapshots ({snapshots}) or features ({incompatible:#x}) that no image "
            "of drill's has",
            _RULE,
        )
    cluster = 1 << bits
    if not 0 < size <= IMAGE_BYTES_MAX or size % 512:
        raise Damaged(path, f"a disk of {size} bytes")
    for what, at, length_bytes in (("L1 table", l1_at, l1 * 8), ("refcount table", refcounts_at, refcounts * cluster)):
        if at % cluster or length_bytes > _TABLE_BYTES_MAX or at + length_bytes > max(file_bytes, 1 << 22):
            raise Damaged(path, f"its {what}, {length_bytes} bytes at {at}, is not inside it")
    if l1 * (cluster // 16) * cluster < size:
        raise Damaged(path, f"its L1 table of {l1} entries does not cover {size} bytes")
    return _Fields(
        cluster_bytes=cluster, size=size, length=length, backing_offset=backing_offset, backing_size=backing_size
    )


def _extensions(path: str, head: bytes, fields: _Fields) -> Iterator[tuple[int, bytes]]:
    at, end = fields.length, min(len(head), fields.cluster_bytes, fields.backing_offset or len(head))
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(head, at)
        if kind == 0:
            return
        if length > end - at - _EXTENSION.size:
            raise Damaged(path, "an extension of its header reaches beyond it")
        if kind not in (_BACKING_FORMAT, _FEATURE_NAMES, _BITMAPS):
            raise Refused(f"{path} has a header extension {kind:#x} that no image of drill's has", _RULE)
        yield kind, head[at + _EXTENSION.size : at + _EXTENSION.size + length]
        at += _EXTENSION.size + -(-length // 8) * 8


def _backing(path: str, head: bytes, fields: _Fields) -> str | None:
    """A path, never a protocol, a `json:` or something with control characters in it."""
    if not fields.backing_offset:
        return None
    at, length = fields.backing_offset, fields.backing_size
    if not 0 < length <= BACKING_MAX or at + length > min(len(head), fields.cluster_bytes):
        raise Damaged(path, f"the name of what it stands on, {length} bytes at {at}, is not inside its header")
    name = head[at : at + length].decode(errors="replace")
    if not name.isprintable() or ":" in name or "\ufffd" in name or ".." in PurePosixPath(name).parts:
        raise Refused(f"{path} stands on {name[:200]!r}, which is no plain path", _RULE)
    return name


def _inside(folder: str, folders: tuple[str, ...]) -> bool:
    return any(folder == one or folder.startswith(f"{one.rstrip('/')}/") for one in folders)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A plain file, opened without following a link and without waiting for a pipe's other end."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Failed(f"opening {path}", "there is no such file") from error
    except OSError as error:
        raise Refused(f"{path} is no plain file: {error.strerror}", _RULE) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Refused(f"{path} is no plain file", _RULE)
        yield file
    finally:
        os.close(file)
