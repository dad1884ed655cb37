"""What the Images port promises, with QEMU's own tools."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from drill.errors import Damaged, DrillError, Failed, Usage
from drill.hypervisor.images import QemuImages, remove_bitmap
from drill.ports import ImageFacts, Images

SIZE = (1 << 20) + 512


@pytest.fixture
def images() -> Images:
    return QemuImages()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.raw"
    path.write_bytes(b"base" * (SIZE // 4))
    return path


def test_an_overlay_shows_what_is_below_it(images: Images, base: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "over.qcow2")
    images.create_overlay(path, str(base), "raw", SIZE)
    assert images.describe(path, "qcow2") == ImageFacts(
        format="qcow2", size_bytes=SIZE, backing=str(base), backing_format="raw"
    )
    expected = hashlib.sha256(base.read_bytes()).hexdigest()
    assert images.content_sha256(path, "qcow2") == images.content_sha256(str(base), "raw") == expected


def test_content_is_what_a_guest_would_read_not_what_the_file_holds(images: Images, base: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "over.qcow2")
    images.create_overlay(path, str(base), "raw", SIZE)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -z 0 4k", path], check=True, capture_output=True)
    content = bytes(4096) + base.read_bytes()[4096:]
    assert images.content_sha256(path, "qcow2") == hashlib.sha256(content).hexdigest()


def test_an_existing_path_is_never_written_over(images: Images, base: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(Usage):
        images.create_overlay(str(tmp_path / "kept"), str(base), "raw", SIZE)
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_raw_image_that_looks_like_a_qcow2_is_read_as_raw(images: Images, base: Path, tmp_path: Path) -> None:
    """What a guest writes into its disk must never decide which files of the host are opened."""
    trap = tmp_path / "trap.qcow2"
    images.create_overlay(str(trap), str(base), "raw", SIZE)
    disk = tmp_path / "disk.raw"
    written = trap.read_bytes().ljust(SIZE, b"\0")
    disk.write_bytes(written)
    assert images.content_sha256(str(disk), "raw") == hashlib.sha256(written).hexdigest()
    path = str(tmp_path / "over.qcow2")
    images.create_overlay(path, str(disk), "raw", len(written))
    assert images.content_sha256(path, "qcow2") == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize("format_", ["vmdk", "", "qcow2,backing.file.filename=/etc/shadow"])
def test_a_format_that_is_not_ours_is_refused(images: Images, base: Path, format_: str) -> None:
    with pytest.raises(Usage):
        images.describe(str(base), format_)


@pytest.mark.parametrize("path", ["base.raw", "-base", "json:{}", "nbd://host/x"])
def test_a_path_that_is_not_absolute_is_refused(images: Images, path: str) -> None:
    with pytest.raises(Usage):
        images.content_sha256(path, "raw")


def test_what_is_no_image_is_an_error_and_not_an_answer(images: Images, tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 1000)
    with pytest.raises((Damaged, Failed)):
        images.describe(str(tmp_path / "rubbish"), "qcow2")
    with pytest.raises(DrillError):
        images.content_sha256(str(tmp_path / "missing"), "qcow2")


def test_an_image_whose_backing_is_gone_has_no_content(images: Images, base: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "over.qcow2")
    images.create_overlay(path, str(base), "raw", SIZE)
    base.unlink()
    with pytest.raises(Failed):
        images.content_sha256(path, "qcow2")


def test_a_bitmap_is_removed_once_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    path = str(tmp_path / "a.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", path, "mark"], check=True)
    remove_bitmap(path, "mark")
    remove_bitmap(path, "mark")
    shown = subprocess.run(["qemu-img", "info", "-f", "qcow2", path], check=True, capture_output=True, text=True)
    assert "mark" not in shown.stdout
    with pytest.raises(Failed):
        remove_bitmap(str(tmp_path / "missing"), "mark")
