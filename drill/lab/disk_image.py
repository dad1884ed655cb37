"""Disks for primaries: an ext4 filesystem filled without mounting anything, packed into a qcow2 that stands alone.

A protected disk has to be qcow2 of version 3, for only that keeps bitmaps (ground 1.15), and has no backing file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from drill.errors import Usage
from drill.lab.images.commands import run
from drill.lab.images.filesystem import make_filesystem

DATA_BYTES_MIN = 16 << 20
COPY_S = 120.0
IDENTITY = "etc"
"""The folder of the machine's identity on a data disk; the guest mounts that disk on /data."""


def empty_disk(file: Path, size_bytes: int, identity: Mapping[str, str], payload_bytes: int = 0) -> None:
    """Write a data disk: a fresh ext4 with the identity's files in /etc and `payload_bytes` of noise in /payload."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".disk-") as name:
        work = Path(name)
        tree, raw = work / "tree", work / "raw"
        tree.mkdir()
        if identity:
            _write(tree / IDENTITY, identity)
        if payload_bytes:
            (tree / "payload").write_bytes(os.urandom(payload_bytes))
        make_filesystem(raw, size_bytes, tree)
        _pack(raw, file)


def installed_disk(file: Path, root: Path, size_bytes: int, identity: Mapping[str, str]) -> None:
    """Write a root disk: a copy of an installed system's raw image with the identity's files in /data/etc.

    Raises Usage when the image does not fit into `size_bytes`.
    """
    if root.stat().st_size > size_bytes:
        raise Usage(f"{file.name}: {size_bytes} bytes are too few for the image of {root.stat().st_size}")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".disk-") as name:
        work = Path(name)
        raw, script = work / "raw", work / "script"
        run(["cp", "--sparse=always", str(root), str(raw)], deadline_s=COPY_S)
        _write(work / IDENTITY, identity)
        script.write_text("".join(f"write {work / IDENTITY / key} /data/etc/{key}\n" for key in identity))
        run(["debugfs", "-w", "-f", str(script), str(raw)], deadline_s=COPY_S)
        os.truncate(raw, size_bytes)
        _pack(raw, file)


def _pack(raw: Path, file: Path) -> None:
    packed = raw.with_name("packed")
    run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(raw), str(packed)],
        deadline_s=COPY_S,
    )
    packed.rename(file)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
