"""One disk of a backup job, read over NBD: which runs changed, their bytes, and a witness by a foreign tool.

QEMU speaks of a disk in two metadata contexts that are asked for in one pass: `base:allocation` (flag 2: reads as
zeros) and `qemu:dirty-bitmap:<name>` (flag 1: changed).  A reply may cover less than was asked, and each context its
own length; only what both cover is taken (NBD protocol, NBD_REPLY_TYPE_BLOCK_STATUS).  Lengths are 32 bits wide, so a
window stays below 4 GiB.

Reading is synchronous, one connection per thread that reads: libnbd lets go of the interpreter meanwhile, so a few
threads keep as many requests in flight (3 GB/s from qemu-nbd, 0.12 s of processor per GiB).  Rejected: `aio_pread`, of
which libnbd 1.14's Python binding never releases the buffer (1 GiB read is 1 GiB leaked).
"""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import nbd

from drill.errors import Failed, Unknown, Unsupported
from drill.model.extent import Extent
from drill.replication.extents import Run, covered, overlap

REQUEST_BYTES = 1 << 18
"""QEMU takes memory for each request and gives it back: 0.20 s of processor per GiB at 256 KiB, 0.65 s at 1 MiB."""
READ_BYTES = 1 << 20
WINDOW_BYTES = 2 << 30
SILENCE_SECONDS = 60
"""A guest's disk that gives no byte for this long is as good as gone; the cycle is given up and retried."""
COPY_FLOOR_BYTES_PER_SECOND = 10 << 20
ALLOCATION = "base:allocation"
_ZERO, _DIRTY = 2, 1
_Handle: TypeAlias = Any  # an nbd.NBD


@dataclass
class _Line:
    """One connection for reading; `since` is when the read that is under way began."""

    handle: _Handle
    socket: socket.socket
    since: float | None = None


class Export:
    """The export `name` behind a unix socket; `bitmap` names its dirty bitmap, None where all of it is wanted."""

    def __init__(self, socket: str, name: str, bitmap: str | None) -> None:
        self._socket = socket
        self._name = name
        self._dirty = None if bitmap is None else f"qemu:dirty-bitmap:{bitmap}"
        contexts = [ALLOCATION] if self._dirty is None else [ALLOCATION, self._dirty]
        self._lines: list[_Line] = []
        self._idle: queue.SimpleQueue[_Line] = queue.SimpleQueue()
        self._status = self._connect(contexts)
        self.size_bytes = int(self._status.handle.get_size())

    def extents(self, *, whole: bool = False) -> Iterator[Extent]:
        """What changed, or all of the disk: sorted, not coalesced.  Failed when the export breaks off."""
        at = 0
        while at < self.size_bytes:
            count = min(WINDOW_BYTES, self.size_bytes - at)
            dirty, zero = self._runs(at, count)
            if whole:
                dirty = [(count, True)]
            step = covered(dirty, zero)
            if step == 0:
                raise Failed(f"reading the map of {self._name}", f"QEMU said nothing of byte {at}")
            yield from overlap(at, dirty, zero)
            at += step

    def read(self, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes; each thread that reads at the same time has a connection of its own.

        Failed when the export breaks off, or when QEMU says nothing for a minute.
        """
        line = self._line()
        line.since = time.monotonic()
        try:
            parts = [
                line.handle.pread(min(REQUEST_BYTES, offset + length - at), at)
                for at in range(offset, offset + length, REQUEST_BYTES)
            ]
        except nbd.Error as error:
            raise Failed(f"reading {self._name}", str(error)) from error
        finally:
            line.since = None
        self._idle.put(line)
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    def witness(self) -> str:
        """SHA-256 (hex) of the whole export as nbdcopy reads it."""
        uri = f"nbd+unix:///{self._name}?socket={self._socket}"
        return sha256_of([uri], self.size_bytes, f"reading {self._name} whole")

    def hang_up_if_silent(self) -> None:
        """End reads that have waited for too long; called every second or so by whoever watches the job."""
        for line in list(self._lines):
            since = line.since
            if since is not None and time.monotonic() - since > SILENCE_SECONDS:
                line.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the export; closing twice is fine.  libnbd closes a handle when nobody holds it."""
        for line in self._lines:
            line.socket.close()
        self._lines.clear()
        self._idle = queue.SimpleQueue()

    def _line(self) -> _Line:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._connect(())

    def _connect(self, contexts: Sequence[str]) -> _Line:
        """A handle on a socket of which we keep a duplicate, so that it can be hung up from another thread."""
        handle, connection = nbd.NBD(), socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(SILENCE_SECONDS)
            connection.connect(self._socket)
            connection.settimeout(None)
            handle.set_export_name(self._name)
            handle.set_pread_initialize(False)
            for context in contexts:
                handle.add_meta_context(context)
            handle.connect_socket(os.dup(connection.fileno()))
            missing = [context for context in contexts if not handle.can_meta_context(context)]
        except (nbd.Error, OSError) as error:
            connection.close()
            raise Failed(f"opening the export {self._name}", str(error)) from error
        if missing:
            connection.close()
            raise Unsupported("change tracking", f"QEMU's export {self._name} lacks {', '.join(missing)}")
        line = _Line(handle, connection)
        self._lines.append(line)
        return line

    def _runs(self, at: int, count: int) -> tuple[list[Run], list[Run]]:
        """(dirty, zero) runs from byte `at` on, as far as QEMU answers."""
        replies: dict[str, list[int]] = {}

        def collect(context: str, _offset: int, entries: list[int], _error: object) -> int:
            replies[context] = entries
            return 0

        try:
            self._status.handle.block_status(count, at, collect)
        except nbd.Error as error:
            raise Failed(f"reading the map of {self._name}", str(error)) from error
        zero = _pairs(replies.get(ALLOCATION, []), _ZERO)
        dirty = [(count, True)] if self._dirty is None else _pairs(replies.get(self._dirty, []), _DIRTY)
        return dirty, zero


def sha256_of(source: Sequence[str], size_bytes: int, action: str) -> str:
    """SHA-256 (hex) of `size_bytes` that nbdcopy reads from `source` (an NBD address, or a server in brackets).

    Failed when the tool fails or gives another number of bytes, Unknown when it takes too long.
    """
    deadline = 30 + size_bytes / COPY_FLOOR_BYTES_PER_SECOND
    hasher, count = hashlib.sha256(), 0
    argv = ["nbdcopy", "--", *source, "-"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        timer = threading.Timer(deadline, process.kill)
        timer.start()
        try:
            if process.stdout is None or process.stderr is None:
                raise RuntimeError("pipes were asked for")
            while data := process.stdout.read(READ_BYTES):
                hasher.update(data)
                count += len(data)
            complaint = process.stderr.read(4096).decode(errors="replace").strip()
            code = process.wait()
        finally:
            expired = not timer.is_alive()
            timer.cancel()
            process.kill()
    if expired:
        raise Unknown(action, f"nbdcopy took more than {deadline:.0f} s")
    if code != 0 or count != size_bytes:
        raise Failed(action, f"nbdcopy gave {count} of {size_bytes} bytes: {complaint or f'exit code {code}'}")
    return hasher.hexdigest()


def _pairs(entries: Sequence[int], flag: int) -> list[Run]:
    return [(entries[i], bool(entries[i + 1] & flag)) for i in range(0, len(entries) - 1, 2)]
