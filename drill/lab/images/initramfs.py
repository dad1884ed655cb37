"""An initramfs written from a list of entries: newc archive, shared libraries and kernel modules in dependency order.

Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.  Every entry belongs to root and carries no
date, so that equal contents give equal archives.
"""

from __future__ import annotations

import lzma
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import zstandard

from drill.errors import Failed
from drill.lab.images.commands import run

_TRAILER = "TRAILER!!!"
_MODULE_ENDINGS = (".ko", ".ko.xz", ".ko.zst")
LIST_S = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the archive, absolute in the guest; `mode` holds type and permissions as in `stat(2)`."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    """A folder that everybody may read."""
    return Entry(path, stat.S_IFDIR | 0o755)


def program(path: str, content: bytes) -> Entry:
    """An executable file."""
    return Entry(path, stat.S_IFREG | 0o755, content)


def text(path: str, content: str) -> Entry:
    """A plain file."""
    return Entry(path, stat.S_IFREG | 0o644, content.encode())


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The newc archive of these entries; folders that a path needs are added before it.  Later entries win."""
    chosen = {entry.path: entry for entry in entries}
    folders = {str(parent) for path in chosen for parent in Path(path).parents} - {"/"} - set(chosen)
    ordered = sorted([*chosen.values(), *map(directory, folders)], key=lambda entry: entry.path)
    packed = bytearray()
    for number, entry in enumerate([*ordered, Entry("/" + _TRAILER, 0)], start=1):
        name = entry.path.lstrip("/").encode() + b"\0"
        owner_links_date = (0, 0, 1, 0)
        filesystem = (0, 0)
        fields = (number, entry.mode, *owner_links_date, len(entry.content), *filesystem, *entry.device, len(name), 0)
        packed += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        packed += bytes(-len(packed) % 4)
        packed += entry.content
        packed += bytes(-len(packed) % 4)
    return bytes(packed)


def found(tree: Path, path: str) -> Path:
    """A file of an unpacked tree by its absolute path, whether or not the tree has /bin and /usr/bin apart.

    Raises Failed when it is in neither place.
    """
    bare = path.removeprefix("/usr")
    for candidate in (tree / bare.lstrip("/"), tree / "usr" / bare.lstrip("/")):
        if candidate.exists():
            return candidate
    raise Failed(f"find {path}", "it is in none of the packages")


def libraries(tree: Path, programs: Iterable[str]) -> Iterator[Entry]:
    """The programs and every shared library they name, the loader included, at the paths where they look for them."""
    loader = found(tree, "/lib64/ld-linux-x86-64.so.2")
    folders = [tree / parent / "x86_64-linux-gnu" for parent in ("lib", "usr/lib")]
    yield program("/lib64/ld-linux-x86-64.so.2", loader.resolve().read_bytes())
    for path in programs:
        binary = found(tree, path)
        yield program(path, binary.read_bytes())
        listed = run(
            [str(loader), "--list", "--library-path", ":".join(map(str, folders)), str(binary)], deadline_s=LIST_S
        )
        if "not found" in listed:
            raise Failed(f"resolve the libraries of {path}", listed.strip())
        for library in re.findall(r"=> (\S+/x86_64-linux-gnu/\S+) ", listed):
            yield program(f"/lib/x86_64-linux-gnu/{Path(library).name}", Path(library).read_bytes())


def _plain(module: Path) -> bytes:
    content = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(content)
    if module.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def _module_name(file_name: str) -> str:
    return file_name.split(".ko", maxsplit=1)[0].replace("-", "_")


def _depends_on(module: bytes) -> list[str]:
    named = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in named[1].decode().split(",") if name] if named else []


def modules(tree: Path, wanted: Iterable[str], where_present: Iterable[str] = ()) -> Mapping[str, bytes]:
    """Kernel modules by name, each after those it depends on; what the kernel has built in is left out.

    Raises Failed for a wanted name that is neither a module nor built in.
    """
    roots = [root for root in (tree / "lib/modules", tree / "usr/lib/modules") if root.is_dir()]
    files = {_module_name(path.name): path for root in roots for path in root.rglob("*.ko*") if _is_module(path)}
    built_in = {
        _module_name(Path(line).name)
        for root in roots
        for listing in root.glob("*/modules.builtin")
        for line in listing.read_text().splitlines()
    }
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered or name in built_in:
            return
        if name not in files:
            raise Failed(f"find the kernel module {name}", "it is neither built in nor in the kernel's packages")
        content = _plain(files[name])
        for needed in _depends_on(content):
            add(needed)
        ordered[name] = content

    for name in wanted:
        add(_module_name(name))
    for name in map(_module_name, where_present):
        if name in files:
            add(name)
    return ordered


def _is_module(path: Path) -> bool:
    return path.name.endswith(_MODULE_ENDINGS)
