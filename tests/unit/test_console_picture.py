"""An older QEMU's screenshot is PPM: it becomes a PNG with the same pixels, or is refused."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.hypervisor.console import PNG_SIGNATURE, png_from_ppm


def chunks(picture: bytes) -> dict[bytes, bytes]:
    """Chunk type -> data, every checksum verified."""
    found, rest = {}, picture.removeprefix(PNG_SIGNATURE)
    while rest:
        length = struct.unpack(">I", rest[:4])[0]
        kind, data, sum32 = rest[4:8], rest[8 : 8 + length], rest[8 + length : 12 + length]
        assert struct.pack(">I", zlib.crc32(kind + data)) == sum32
        found[kind], rest = data, rest[12 + length :]
    return found


@given(width=st.integers(1, 9), height=st.integers(1, 9), data=st.data())
def test_a_ppm_becomes_a_png_with_the_same_pixels(width: int, height: int, data: st.DataObject) -> None:
    size = width * height * 3
    pixels = data.draw(st.binary(min_size=size, max_size=size))
    found = chunks(png_from_ppm(b"P6\n%d %d\n255\n" % (width, height) + pixels, "web"))
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (width, height, 8, 2, 0, 0, 0)
    rows = zlib.decompress(found[b"IDAT"])
    stride = width * 3 + 1
    assert b"".join(rows[at + 1 : at + stride] for at in range(0, len(rows), stride)) == pixels


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GIF89a", id="another format"),
        pytest.param(b"P6\n2 2\n65535\n" + bytes(24), id="16 bits per colour"),
        pytest.param(b"P6\n2 2\n255\n" + bytes(11), id="too short"),
        pytest.param(b"P6\n2 2\n255\n" + bytes(13), id="too long"),
        pytest.param(b"P6\n0 2\n255\n", id="no width"),
        pytest.param(b"P6\n-2 -2\n255\n" + bytes(12), id="negative"),
        pytest.param(b"P6 2 2 255 " + bytes(12), id="another header"),
    ],
)
def test_what_is_neither_is_refused(picture: bytes) -> None:
    with pytest.raises(BadInput, match="screenshot of web"):
        png_from_ppm(picture, "web")
