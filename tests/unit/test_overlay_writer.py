"""The overlay writer, read back by qemu-img and checked by `qemu-img check`."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from drill.errors import Damaged, Usage
from drill.host.files import LocalFiles
from drill.model.extent import Extent, ExtentKind
from drill.replication import pages
from drill.replication.frame import Frame, Piece
from drill.replication.overlay import Overlay, union
from drill.replication.qcow2 import CLUSTER_BYTES, OverlayWriter
from tests.contract import overlay_reader
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import content

D, Z = ExtentKind.DATA, ExtentKind.ZERO
PAGE = 4096


def pieces(disk: bytearray, rng: random.Random, count: int) -> list[Piece]:
    """Random sorted pages of data and zeros, applied to `disk` as well."""
    at, found = 0, []
    for _ in range(count):
        start = at + rng.choice([0, 0, 1, 3, 15, 16, 200]) * PAGE
        end = min(start + rng.choice([1, 1, 2, 16, 17, 40]) * PAGE, len(disk))
        if start >= end:
            break
        kind = rng.choice([D, D, Z])
        data = rng.randbytes(end - start) if kind is D else b""
        disk[start:end] = data or bytes(end - start)
        view = memoryview(data)
        found.append(Piece(Extent(start, end - start, kind), view, pages.leaves(view)))
        at = end
    return found


@pytest.mark.parametrize("size", [512, PAGE, 65536, 65536 + 512, (300 << 20) + 1536], ids=str)
def test_what_was_written_is_what_qemu_reads(tmp_path: Path, size: int) -> None:
    files = LocalFiles(tmp_path)
    rng = random.Random(size)
    disk = bytearray(rng.randbytes(min(size, 1 << 20)).ljust(size, b"\0"))
    (tmp_path / "base.raw").write_bytes(disk)
    backing, kind = "base.raw", "raw"
    for layer in range(3 if size < 1 << 20 else 1):
        name = f"layer{layer}.qcow2"
        writer = OverlayWriter(files, name, size_bytes=size, backing=backing, backing_format=kind)
        writer.add(Frame(0, tuple(pieces(disk, rng, 60))))
        writer.finish()
        assert content(tmp_path / name, "qcow2") == disk
        assert size > 1 << 20 or overlay_reader.content(files.read, name, "qcow2", {}) == disk
        check = subprocess.run(
            ["qemu-img", "check", "--output=json", "-f", "qcow2", str(tmp_path / name)], capture_output=True, check=True
        )
        found = json.loads(check.stdout)
        assert (found["check-errors"], found.get("leaks", 0), found.get("corruptions", 0)) == (0, 0, 0)
        backing, kind = name, "qcow2"


def test_an_overlay_without_changes_is_small_and_shows_its_backing(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / "base.raw").write_bytes(b"x" * (8 << 20))
    OverlayWriter(files, "empty.qcow2", size_bytes=8 << 20, backing="base.raw", backing_format="raw").finish()
    assert content(tmp_path / "empty.qcow2", "qcow2") == b"x" * (8 << 20)
    assert (tmp_path / "empty.qcow2").stat().st_blocks * 512 <= 32768


def test_a_single_page_takes_a_page(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / "base.raw").write_bytes(b"x" * (8 << 20))
    writer = OverlayWriter(files, "one.qcow2", size_bytes=8 << 20, backing="base.raw", backing_format="raw")
    data = memoryview(b"y" * PAGE)
    writer.add(Frame(0, (Piece(Extent(5 * PAGE, PAGE, D), data, pages.leaves(data)),)))
    empty = OverlayWriter(files, "empty.qcow2", size_bytes=8 << 20, backing="base.raw", backing_format="raw")
    for one in (writer, empty):
        one.finish()
    os.sync()
    blocks = [(tmp_path / name).stat().st_blocks * 512 for name in ("one.qcow2", "empty.qcow2")]
    assert blocks[0] - blocks[1] <= 3 * PAGE  # the page, its entry, the file system's own


def test_qemu_can_write_to_an_overlay_of_ours(tmp_path: Path) -> None:
    """Refcounts, flags and lengths are such that QEMU may go on where we stopped."""
    files = LocalFiles(tmp_path)
    disk = bytearray(b"x" * (1 << 20))
    (tmp_path / "base.raw").write_bytes(disk)
    writer = OverlayWriter(files, "a.qcow2", size_bytes=1 << 20, backing="base.raw", backing_format="raw")
    writer.add(Frame(0, tuple(pieces(disk, random.Random(7), 20))))
    writer.finish()
    argv = ["qemu-io", "-f", "qcow2", "-c", "write -P 0x41 1000 300000", "-c", "discard 500000 100000"]
    subprocess.run([*argv, str(tmp_path / "a.qcow2")], check=True, capture_output=True, timeout=60)
    after = content(tmp_path / "a.qcow2", "qcow2")
    assert after[1000:301000] == b"A" * 300000
    assert after[:1000] == disk[:1000]
    assert after[700_000:] == disk[700_000:]
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(tmp_path / "a.qcow2")], check=True, timeout=60)


def test_a_file_over_two_gibibytes_has_all_its_refcounts(tmp_path: Path) -> None:
    """One refcount block counts 2 GiB of clusters; the file is sparse, only its books are real."""
    files = LocalFiles(tmp_path)
    size = 5 << 30
    files.truncate("base.raw", size)
    writer = OverlayWriter(files, "big.qcow2", size_bytes=size, backing="base.raw", backing_format="raw")
    page = memoryview(b"z" * PAGE)
    leaf = pages.leaves(page)
    for cluster in range(0, size, 65536):
        writer.add(Frame(0, (Piece(Extent(cluster, PAGE, D), page, leaf),)))
    writer.finish()
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(tmp_path / "big.qcow2")], check=True, timeout=60)


@pytest.mark.parametrize(("backing", "kind"), [("", "raw"), ("x" * 2000, "raw"), ("base", "vmdk")])
def test_a_backing_that_cannot_be_named_is_refused(tmp_path: Path, backing: str, kind: str) -> None:
    with pytest.raises(Usage):
        OverlayWriter(LocalFiles(tmp_path), "a", size_bytes=512, backing=backing, backing_format=kind)


def one_page() -> MemoryFiles:
    """An overlay `a` over `base.raw` with one page, the third of its cluster.  Data is in its third cluster of 64 KiB,
    then come the L2 table, the refcount block and the refcount table."""
    files = MemoryFiles()
    writer = OverlayWriter(files, "a", size_bytes=8 << 20, backing="base.raw", backing_format="raw")
    writer.data(2 * PAGE, b"x" * PAGE)
    writer.finish()
    return files


L2 = 3 * CLUSTER_BYTES


@pytest.mark.parametrize(
    ("at", "patch"),
    [
        pytest.param(0, b"QFI\xfa", id="another magic"),
        pytest.param(24, b"\xff" * 8, id="a size beyond any disk"),
        pytest.param(30, b"\x01", id="another size"),
        pytest.param(4, b"\0\0\0\x02", id="another version"),
        pytest.param(CLUSTER_BYTES, b"\0" * 7 + b"\x01", id="an L2 table that is nowhere"),
        pytest.param(L2, b"\0" * 8, id="data that lies nowhere"),
        pytest.param(L2 + 8, b"\0\0\0\x30", id="zeros and data at once"),
        pytest.param(L2 + 12, b"\0\0\0\x20", id="data that begins inside a page"),
        pytest.param(L2 + 8, b"\0\0\0\x80", id="zeros that begin inside a page"),
        pytest.param(L2 + 15, b"\x3f", id="a page more"),
        pytest.param(4 * CLUSTER_BYTES, b"\0\x02", id="a cluster counted twice"),
    ],
)
def test_an_overlay_of_ours_that_is_not_as_it_was_written_is_damaged(at: int, patch: bytes) -> None:
    """Also where QEMU would read it and see other bytes."""
    files = one_page()
    Overlay(files, "a").check()
    assert files.read("a", at, len(patch)) != patch
    files.write("a", at, patch)
    with pytest.raises(Damaged):
        Overlay(files, "a").check()


def test_what_folding_reads_of_an_overlay_is_whole_pages_or_damaged() -> None:
    files = one_page()
    files.write("a", L2 + 12, b"\0\0\0\x20")
    with pytest.raises(Damaged, match="inside a page"):
        list(union([Overlay(files, "a")], 0))


@pytest.mark.parametrize("size", [0, 2000, CLUSTER_BYTES, 2 * CLUSTER_BYTES, 3 * CLUSTER_BYTES])
def test_an_overlay_that_was_cut_is_damaged_and_never_short(size: int) -> None:
    files = one_page()
    files.truncate("a", size)
    with pytest.raises(Damaged):
        Overlay(files, "a").check()


def test_data_that_was_cut_off_is_damaged_when_it_is_read() -> None:
    files = one_page()
    (run,) = union([Overlay(files, "a")], 0)
    files.truncate("a", 2 * CLUSTER_BYTES + 2 * PAGE)
    with pytest.raises(Damaged, match="too early"):
        run.read()


def test_a_refcount_table_that_is_nowhere_is_damaged() -> None:
    """The header is made to fit: only the table itself can tell."""
    files = one_page()
    files.write("a", 48, (1 << 40).to_bytes(8, "big") + (900).to_bytes(4, "big"))
    with pytest.raises(Damaged, match="nowhere"):
        Overlay(files, "a").check()


def test_data_lies_where_the_table_says_and_not_where_it_would_have_been_written() -> None:
    """Side by side in the disk, and the other way round in the file."""
    files = MemoryFiles()
    writer = OverlayWriter(files, "a", size_bytes=8 << 20, backing="base.raw", backing_format="raw")
    writer.data(0, b"".join(bytes([letter]) * CLUSTER_BYTES for letter in b"ABC"))
    writer.finish()
    (run,) = union([Overlay(files, "a")], 0)
    assert (run.offset, run.length) == (0, 3 * CLUSTER_BYTES)
    table = 5 * CLUSTER_BYTES
    first, second = (files.read("a", table + at, 8) for at in (0, 16))
    files.write("a", table, second)
    files.write("a", table + 16, first)
    runs = list(union([Overlay(files, "a")], 0))
    assert b"".join(run.read()[:1] * (run.length // CLUSTER_BYTES) for run in runs) == b"BAC"
