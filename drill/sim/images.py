"""Disk images as a tool that is not ours reads them (the Images port), over simulated files.

A second reading of qcow2, from QEMU's description of the format and not from our writer: clusters of any size, plain
and extended L2 entries, holes that read as the image below.  Where the file is not what the format says, it raises
Damaged, as qemu-img would refuse.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from drill.errors import Damaged, Failed
from drill.ports import ImageFacts
from drill.sim.content import PAGE, ZERO_PAGE, Content
from drill.sim.files import SimFiles
from drill.sim.inode import Inode

_OFFSET = 0x00FFFFFFFFFFFE00
_EXTENDED_L2 = 0x10
_BACKING_FORMAT = 0xE2792ACA
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_CLUSTER_BITS = 16
_PIECE = 128
"""Bytes of a table that are skipped at once where all are zeros."""
_EMPTY = bytes(_PIECE)


class SimImages:
    """Images in the trees that are named; a path is `/name/path-in-the-tree`."""

    def __init__(self, trees: Mapping[str, SimFiles]) -> None:
        self._trees = trees
        self._read: dict[Inode, tuple[int, Inode | None, Content]] = {}
        self._headers: dict[Inode, tuple[int, _Header]] = {}

    def create_overlay(self, path: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """An empty qcow2 over `backing`."""
        files, name = self._place(path)
        if files.size(name) is not None:
            raise Failed("creating an overlay", f"{path} is there already")
        self._inode(backing)
        kind = backing_format.encode()
        extensions = (
            struct.pack(">II", _BACKING_FORMAT, len(kind)) + kind.ljust(-(-len(kind) // 8) * 8, b"\0") + bytes(8)
        )
        end = _HEADER.size + len(extensions)
        l1 = -(-size_bytes // (1 << (2 * _CLUSTER_BITS - 3)))
        fields = (end, len(backing), _CLUSTER_BITS, size_bytes, 0, l1, 1 << _CLUSTER_BITS, 0, 0, 0, 0, 0, 0, 0, 4, 104)
        files.write(name, 0, _HEADER.pack(b"QFI\xfb", 3, *fields) + extensions + backing.encode())
        files.truncate(name, 2 << _CLUSTER_BITS)

    def describe(self, path: str, format: str) -> ImageFacts:
        """Read the header."""
        inode = self._inode(path)
        if format == "raw":
            return ImageFacts(format="raw", size_bytes=inode.size, backing=None, backing_format=None)
        head = _Header(inode, path)
        return ImageFacts(
            format="qcow2", size_bytes=head.size, backing=head.backing, backing_format=head.backing_format
        )

    def content_sha256(self, path: str, format: str) -> str:
        """SHA-256 (hex) of the guest-visible content."""
        return self.content(path, format).sha256()

    def scribble(self, path: str) -> None:
        """A guest that runs on an image changes its file."""
        files, name = self._place(path)
        files.write(name, files.inode(name).size, b"changed by a guest")

    def content(self, path: str, format: str) -> Content:
        """What a guest would read, the images below included; Damaged or Failed where there is nothing to read."""
        return self._content(path, format, 0, {})[0]

    def contents(self, images: Iterable[tuple[str, str]]) -> dict[str, Content]:
        """The same of several images (path and format), each file looked at once."""
        seen: dict[str, tuple[Content, int]] = {}
        return {path: self._content(path, kind, 0, seen)[0] for path, kind in images}

    def _content(self, path: str, format: str, depth: int, seen: dict[str, tuple[Content, int]]) -> tuple[Content, int]:
        """The content and the sum of the versions of all files it comes from; `seen` has those of the same look."""
        if path in seen:
            return seen[path]
        if depth > 400:
            raise Damaged(path, "it stands on itself")
        inode = self._inode(path)
        if format == "raw":
            below, below_inode, versions = None, None, inode.version
        else:
            head = self._header(inode, path)
            if head.backing is None:
                raise Damaged(path, "an overlay that names no image below")
            place = head.backing if head.backing.startswith("/") else f"{path.rpartition('/')[0]}/{head.backing}"
            below_inode = self._inode(place)
            below, below_versions = self._content(place, head.backing_format or "raw", depth + 1, seen)
            versions = inode.version + below_versions
        known = self._read.get(inode)
        if known is not None and known[0] == versions and known[1] is below_inode:
            found = known[2]
        else:
            found = _raw(inode) if below is None else _laid_over(inode, self._header(inode, path), below)
            self._read[inode] = (versions, below_inode, found)
        seen[path] = (found, versions)
        return found, versions

    def _header(self, inode: Inode, path: str) -> _Header:
        known = self._headers.get(inode)
        if known is None or known[0] != inode.version:
            known = self._headers[inode] = (inode.version, _Header(inode, path))
        return known[1]

    def _inode(self, path: str) -> Inode:
        files, name = self._place(path)
        try:
            return files.inode(name)
        except FileNotFoundError as error:
            raise Failed("reading an image", f"no file {path}") from error

    def _place(self, path: str) -> tuple[SimFiles, str]:
        _, tree, name = path.split("/", 2)
        return self._trees[tree], name


class _Header:
    __slots__ = ("backing", "backing_format", "bits", "extended", "l1_at", "l1_size", "size")

    def __init__(self, inode: Inode, path: str) -> None:
        head = inode.pages.get(0, ZERO_PAGE)
        magic, version, at, length, self.bits, self.size, _, self.l1_size, self.l1_at, *rest = _HEADER.unpack_from(head)
        incompatible = rest[4]
        if magic != b"QFI\xfb" or version != 3 or incompatible & ~_EXTENDED_L2 or not 9 <= self.bits <= 21:
            raise Damaged(path, "no qcow2 of a kind that is known")
        self.extended = bool(incompatible & _EXTENDED_L2)
        self.backing = head[at : at + length].decode() if at else None
        self.backing_format: str | None = None
        place = rest[-1]
        while at and place + 8 <= at:
            kind, size = struct.unpack_from(">II", head, place)
            if kind == 0:
                break
            if kind == _BACKING_FORMAT:
                self.backing_format = head[place + 8 : place + 8 + size].decode()
            place += 8 + -(-size // 8) * 8


def _raw(inode: Inode) -> Content:
    return Content(inode.size, {n: page for n, page in inode.pages.items() if page != ZERO_PAGE})


def _laid_over(inode: Inode, head: _Header, below: Content) -> Content:
    pages = {n: page for n, page in below.pages.items() if n * PAGE < head.size}
    cluster, width = 1 << head.bits, 16 if head.extended else 8
    per_table = cluster // width
    for index, entry in _entries(inode, head.l1_at, head.l1_size * 8, 8):
        l2_at = int.from_bytes(entry, "big") & _OFFSET
        for inner, found in _entries(inode, l2_at, cluster, width):
            _cluster(inode, pages, (index * per_table + inner) * cluster, cluster, found)
    last = head.size // PAGE
    if head.size % PAGE and last in pages:
        pages[last] = pages[last][: head.size % PAGE].ljust(PAGE, b"\0")
    return Content(head.size, {n: page for n, page in pages.items() if page != ZERO_PAGE and n * PAGE < head.size})


def _cluster(inode: Inode, pages: dict[int, bytes], start: int, cluster: int, entry: bytes) -> None:
    """Lay one cluster over what is below: per piece absent, zeros or data."""
    word = int.from_bytes(entry[:8], "big")
    host = word & _OFFSET
    if len(entry) == 8:
        kinds = [(True, bool(word & 1))] if host or word & 1 else []
    else:
        zero, allocated = struct.unpack_from(">II", entry, 8)
        kinds = [(bool(allocated >> bit & 1), bool(zero >> bit & 1)) for bit in range(32)] if zero | allocated else []
    if not kinds:
        return
    piece = cluster // len(kinds)
    for number, (allocated, zeros) in enumerate(kinds):
        if zeros:
            _lay(pages, start + number * piece, bytes(piece))
        elif allocated:
            _lay(pages, start + number * piece, _bytes(inode, host + number * piece, piece))


def _lay(pages: dict[int, bytes], offset: int, data: bytes) -> None:
    for done in range(0, len(data), PAGE):
        number, inside = divmod(offset + done, PAGE)
        part = data[done : done + PAGE]
        if len(part) == PAGE:
            pages[number] = part
        else:
            old = pages.get(number, ZERO_PAGE)
            pages[number] = old[:inside] + part + old[inside + len(part) :]


def _bytes(inode: Inode, offset: int, length: int) -> bytes:
    first, last = offset // PAGE, (offset + length - 1) // PAGE
    data = b"".join([inode.pages.get(n, ZERO_PAGE) for n in range(first, last + 1)])
    return data[offset % PAGE : offset % PAGE + length]


def _entries(inode: Inode, offset: int, length: int, width: int) -> list[tuple[int, bytes]]:
    """Entries of a table that are not all zeros, with their numbers; pages that are holes are skipped."""
    found = []
    for number in range(offset // PAGE, -(-(offset + length) // PAGE)):
        page = inode.pages.get(number)
        if page is None:
            continue
        start = number * PAGE
        for piece in range(max(0, offset - start), min(PAGE, offset + length - start), _PIECE):
            if page[piece : piece + _PIECE] == _EMPTY:
                continue
            for at in range(piece, min(piece + _PIECE, offset + length - start), width):
                entry = page[at : at + width]
                if entry.strip(b"\0"):
                    found.append(((start + at - offset) // width, entry))
    return found
