"""How the allocator of this process treats buffers of a mebibyte, taken and freed by the thousand.

By itself glibc maps each anew and gives it back at once: the kernel then clears 256 pages for every mebibyte that
passes through, and more slowly where a hypervisor has to find the memory first.  Here freed memory is kept for the next
buffer.  It stays bounded, because what is in flight is (drill/ports.py, Lanes).
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 64 << 20
_ARENAS = 2


def keep_freed_buffers() -> None:
    """Let freed buffers be used again.  Nothing happens where the C library has no `mallopt`."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)
