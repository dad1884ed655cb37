"""A domain's two consoles: what the serial one prints, and a picture of the graphical one."""

from __future__ import annotations

import struct
import time
import zlib

import libvirt

from drill.errors import BadInput
from drill.hypervisor.connection import Handle

CONSOLE_BYTES_MAX = 1024 * 1024
PICTURE_BYTES_MAX = 64 * 1024 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = 64 * 1024
_NOTHING_YET = -2
_POLL_SECONDS = 0.02


def listen(handle: Handle, name: str, seconds: float) -> bytes:
    """What the serial console prints within `seconds`, at most 1 MiB; what it printed before is not there.

    The console has one reader at a time: an earlier one, perhaps of a process that died, is displaced and gets an
    error.  Returns early when the domain goes off.  Raises libvirtError.
    """
    stream = handle.newStream(libvirt.VIR_STREAM_NONBLOCK)
    flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE | libvirt.VIR_DOMAIN_CONSOLE_SAFE
    handle.lookupByName(name).openConsole(None, stream, flags)
    heard = bytearray()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and len(heard) < CONSOLE_BYTES_MAX:
            piece = stream.recv(_CHUNK)
            if piece == _NOTHING_YET:
                time.sleep(_POLL_SECONDS)
            elif not piece:
                break
            else:
                heard += piece
    finally:
        stream.abort()
    return bytes(heard[:CONSOLE_BYTES_MAX])


def screenshot(handle: Handle, name: str) -> bytes:
    """The picture as PNG (QEMU 7.2 sends PNG, older ones PPM, which is converted).  Raises libvirtError, BadInput."""
    stream = handle.newStream(0)
    handle.lookupByName(name).screenshot(stream, 0)
    picture = bytearray()
    while piece := stream.recv(_CHUNK):
        picture += piece
        if len(picture) > PICTURE_BYTES_MAX:
            stream.abort()
            raise BadInput(where=f"screenshot of {name}", problem=f"more than {PICTURE_BYTES_MAX} bytes")
    stream.finish()
    return bytes(picture) if picture.startswith(PNG_SIGNATURE) else png_from_ppm(bytes(picture), name)


def png_from_ppm(picture: bytes, name: str) -> bytes:
    """A binary PPM (P6, 8 bits per colour) as PNG; BadInput for anything else."""
    where = f"screenshot of {name}"
    fields = picture[:64].split(maxsplit=4)
    if len(fields) < 4 or fields[0] != b"P6" or fields[3] != b"255" or not (fields[1] + fields[2]).isdigit():
        raise BadInput(where=where, problem="it is neither PNG nor PPM")
    width, height = int(fields[1]), int(fields[2])
    header = b"\n".join((b"P6", b"%d %d" % (width, height), b"255")) + b"\n"
    pixels = picture[len(header) :]
    if not picture.startswith(header) or len(pixels) != width * height * 3 or not pixels:
        raise BadInput(where=where, problem="its PPM header does not fit its size")
    rows = b"".join(b"\0" + pixels[row * width * 3 : (row + 1) * width * 3] for row in range(height))
    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", shape), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
