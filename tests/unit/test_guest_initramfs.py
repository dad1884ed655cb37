"""An initramfs: its archive can be read back, modules come after what they need, libraries and recipes are checked."""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from drill.errors import Failed, Usage
from drill.lab import images
from drill.lab.images import initramfs, recipe
from drill.lab.images.initramfs import Entry, archive


def read_back(packed: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of every entry of a newc archive, the trailer left out."""
    at = 0
    while True:
        assert packed[at : at + 6] == b"070701"
        fields = [int(packed[at + 6 + 8 * field : at + 14 + 8 * field], 16) for field in range(13)]
        mode, size, name_bytes = fields[1], fields[6], fields[11]
        name = packed[at + 110 : at + 110 + name_bytes - 1].decode()
        begin = -(-(at + 110 + name_bytes) // 4) * 4
        if name == "TRAILER!!!":
            return
        yield name, mode, packed[begin : begin + size]
        at = -(-(begin + size) // 4) * 4


def test_an_archive_holds_its_entries_behind_their_folders() -> None:
    packed = archive([initramfs.program("/a/b/tool", b"12345"), initramfs.link("/a/short", "/a/b/tool")])
    assert [(name, stat.S_IFMT(mode), content) for name, mode, content in read_back(packed)] == [
        ("a", stat.S_IFDIR, b""),
        ("a/b", stat.S_IFDIR, b""),
        ("a/b/tool", stat.S_IFREG, b"12345"),
        ("a/short", stat.S_IFLNK, b"/a/b/tool"),
    ]


def test_the_later_of_two_entries_with_one_name_is_taken() -> None:
    packed = archive([initramfs.text("/init", "first"), initramfs.text("/init", "second")])
    assert [content for _, _, content in read_back(packed)] == [b"second"]


def test_equal_entries_give_equal_archives_in_whatever_order() -> None:
    entries = [Entry(f"/{name}", 0o100644, name.encode()) for name in "abc"]
    assert archive(entries) == archive(reversed(entries))


def kernel(tmp_path: Path, *, built_in: str = "", **depends: str) -> Path:
    """An unpacked kernel whose modules depend on one another as told: `ring="core"`."""
    folder = tmp_path / "lib/modules/1.2"
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text(built_in)
    for name, needed in depends.items():
        (folder / f"{name}.ko").write_bytes(b"ELF\0depends=%s\0name=%s\0" % (needed.encode(), name.encode()))
    return tmp_path


def test_a_module_comes_after_what_it_depends_on(tmp_path: Path) -> None:
    tree = kernel(tmp_path, block="ring,core", ring="core", core="", other="")
    assert list(initramfs.modules(tree, ["block"])) == ["core", "ring", "block"]


def test_a_built_in_module_is_left_out(tmp_path: Path) -> None:
    tree = kernel(tmp_path, built_in="kernel/fs/ext-4.ko\n", block="")
    assert list(initramfs.modules(tree, ["ext_4", "block"])) == ["block"]


def test_a_module_that_is_nowhere_fails_unless_it_is_wanted_only_where_present(tmp_path: Path) -> None:
    tree = kernel(tmp_path, block="")
    with pytest.raises(Failed, match="kernel module ghost"):
        initramfs.modules(tree, ["ghost"])
    assert list(initramfs.modules(tree, [], ["ghost", "block"])) == ["block"]


@pytest.mark.parametrize("ending", ["xz", "zst"])
def test_a_compressed_module_is_unpacked(tmp_path: Path, ending: str) -> None:
    plain = b"ELF\0depends=\0"
    packed = lzma.compress(plain) if ending == "xz" else zstandard.ZstdCompressor().compress(plain)
    folder = kernel(tmp_path) / "lib/modules/1.2"
    (folder / f"net.ko.{ending}").write_bytes(packed)
    assert initramfs.modules(tmp_path, ["net"]) == {"net": plain}


def test_a_file_is_found_whether_or_not_usr_is_merged(tmp_path: Path) -> None:
    for place in ("bin/one", "usr/bin/two"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    assert initramfs.found(tmp_path, "/usr/bin/one") == tmp_path / "bin/one"
    assert initramfs.found(tmp_path, "/bin/two") == tmp_path / "usr/bin/two"


@pytest.mark.parametrize("name", ["micro", "debian"])
def test_a_recipe_names_only_files_that_are_there(name: str) -> None:
    page = recipe.read(name)
    taken = [*page.files, *(page.system.files if page.system else ())]
    assert [file for file in taken if not (recipe.folder(name) / file).is_file()] == []


def test_nothing_is_cached_in_an_empty_cache(tmp_path: Path) -> None:
    assert images.cached("micro", tmp_path) is None


def test_an_image_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no guest image is called 'macro'"):
        images.cached("macro", tmp_path)
