"""Memory for what arrives: at page boundaries from behind, and never given twice."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from drill.transport.buffers import LONG_BYTES, Buffers

MOST = 2 << 20


@pytest.mark.parametrize("length", [LONG_BYTES, LONG_BYTES + 45, (1 << 20) + 4174, MOST])
def test_the_last_byte_of_a_long_buffer_is_the_last_of_a_page(length: int) -> None:
    view = Buffers(MOST).take(length)
    assert len(view) == length
    assert (ctypes.addressof(ctypes.c_char.from_buffer(view)) + length) % mmap.PAGESIZE == 0


def test_a_short_buffer_is_zeros_of_its_own() -> None:
    assert bytes(Buffers(MOST).take(45)) == bytes(45)


def test_a_buffer_is_used_again_only_when_no_view_of_it_is_left() -> None:
    buffers = Buffers(MOST)
    whole = buffers.take(LONG_BYTES)
    whole[:4] = b"kept"
    part = whole[:4]
    del whole
    other = buffers.take(LONG_BYTES)
    other[:4] = b"else"
    assert bytes(part) == b"kept"
    address = ctypes.addressof(ctypes.c_char.from_buffer(part))
    del part
    again = buffers.take(LONG_BYTES)
    assert ctypes.addressof(ctypes.c_char.from_buffer(again)) == address
