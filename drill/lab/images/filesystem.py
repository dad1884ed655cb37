"""Filesystems made from a folder, without mounting anything."""

from __future__ import annotations

from pathlib import Path

from drill.lab.images.commands import run

BLOCK_BYTES = 4096
FILL_S = 120.0


def make_filesystem(raw: Path, size_bytes: int, tree: Path) -> None:
    """Make a raw image with an ext4 that holds a tree; its tables are written now, not later by the guest's kernel."""
    with raw.open("wb") as image:
        image.truncate(size_bytes)
    options = "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    run(
        ["mke2fs", "-q", "-t", "ext4", "-b", str(BLOCK_BYTES), "-m", "0", "-E", options, "-d", str(tree), str(raw)],
        deadline_s=FILL_S,
    )
