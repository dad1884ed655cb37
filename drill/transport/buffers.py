"""Memory for what arrives: used again and again, and lying so that it can go to a disk without being copied.

A disk that is written past the page cache takes memory at page boundaries only.  In a long frame what is to be written
comes last and is whole pages; so a buffer ends at a page boundary, and the pages in it begin at one.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref

LONG_BYTES = 1 << 18
"""From here on a frame carries pages, most likely; below it a new piece of memory costs less than keeping one."""
KEPT = 8
"""Buffers kept for the next frames: as many as lanes and reader have under way, and those two more."""


class Buffers:
    """Buffers of at most `most_bytes`, for one thread that takes them; any thread may let go of one."""

    def __init__(self, most_bytes: int) -> None:
        self._size = -(-most_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._free: list[mmap.mmap] = []

    def take(self, length: int) -> memoryview:
        """So many bytes, of any content; they are free again when the last view of them is gone."""
        if length < LONG_BYTES:
            return memoryview(bytearray(length))
        memory = self._free.pop() if self._free else mmap.mmap(-1, self._size)
        view = (ctypes.c_ubyte * length).from_buffer(memory, self._size - length)
        weakref.finalize(view, self._give_back, memory)
        return memoryview(view).cast("B")

    def _give_back(self, memory: mmap.mmap) -> None:
        if len(self._free) < KEPT:
            self._free.append(memory)
