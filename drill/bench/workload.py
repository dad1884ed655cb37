"""The work that all tools are given: a disk half full, then writes scattered over it, both from seeds.

    disk      2 GiB, of which 1 GiB is allocated in runs of 8 MiB; every other MiB is noise, the rest text (which
              compresses to a third), and no two pages are the same, so that nobody gains by finding copies
    writes    64 MiB in pieces of 4 to 64 KiB at page boundaries of the allocated part, noise: about 63 MiB of pages,
              about 175 MiB of clusters of 64 KiB

The same seed gives the same bytes (ground § 2).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = 4096
UNIT_BYTES = 1 << 20
RUN_UNITS = 8
WRITE_PAGES_MAX = 16
_POOL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes in bytes; `disk_bytes` and `allocated_bytes` are multiples of 8 MiB."""

    disk_bytes: int = 2 << 30
    allocated_bytes: int = 1 << 30
    changed_bytes: int = 64 << 20


def allocated_units(shape: Shape, seed: int) -> list[int]:
    """The MiB of the disk that hold data, ascending."""
    runs = shape.disk_bytes // (RUN_UNITS * UNIT_BYTES)
    wanted = shape.allocated_bytes // (RUN_UNITS * UNIT_BYTES)
    chosen = sorted(_chance(f"runs {seed}").sample(range(runs), wanted))
    return [run * RUN_UNITS + unit for run in chosen for unit in range(RUN_UNITS)]


def fill(file: Path, shape: Shape, seed: int) -> None:
    """Write the disk as a raw sparse file."""
    rng, pool = _chance(f"disk {seed}"), _text(seed)
    with file.open("wb") as disk:
        disk.truncate(shape.disk_bytes)
        for unit in allocated_units(shape, seed):
            disk.seek(unit * UNIT_BYTES)
            disk.write(rng.randbytes(UNIT_BYTES) if unit % 2 else _page_by_page(rng, pool))


def writes(shape: Shape, disk_seed: int, write_seed: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of what a guest writes between two cycles, in the order in which it does."""
    rng, units = _chance(f"writes {disk_seed} {write_seed}"), allocated_units(shape, disk_seed)
    left = shape.changed_bytes // PAGE_BYTES
    while left > 0:
        pages = min(left, rng.randint(1, WRITE_PAGES_MAX))
        place = rng.randrange(UNIT_BYTES // PAGE_BYTES - pages + 1)
        yield rng.choice(units) * UNIT_BYTES + place * PAGE_BYTES, rng.randbytes(pages * PAGE_BYTES)
        left -= pages


def apply(file: Path, found: Iterator[tuple[int, bytes]]) -> None:
    """Write the same into a raw file: what every tool's result must equal."""
    disk = os.open(file, os.O_WRONLY)
    try:
        for offset, data in found:
            os.pwrite(disk, data, offset)
    finally:
        os.close(disk)


def _chance(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same seed gives the same bytes


def _text(seed: int) -> bytes:
    rng = _chance(f"text {seed}")
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4000)]
    return " ".join(rng.choices(words, k=_POOL_BYTES // 4)).encode()[:_POOL_BYTES]


def _page_by_page(rng: random.Random, pool: bytes) -> bytes:
    parts = []
    for _ in range(UNIT_BYTES // PAGE_BYTES):
        start = rng.randrange(_POOL_BYTES - PAGE_BYTES)
        parts.append(b"%016x" % rng.getrandbits(64) + pool[start : start + PAGE_BYTES - 16])
    return b"".join(parts)
