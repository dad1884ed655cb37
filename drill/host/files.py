"""A directory tree of the host with explicit durability."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drill.errors import BadInput, Refused

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_BLOCK_BYTES = 4096
_BYPASS_BYTES = 1 << 18
_BOUNCE_BYTES = 1 << 20
_EARLY_BYTES = 4 << 20
"""So much of a file that was written in short pieces begins its way to the disk: the sync at the end finds less."""
_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01
_libc = ctypes.CDLL(None, use_errno=True)


class LocalFiles:
    """The Files port below one folder, which is created when missing.  Files are 0600, folders 0700.

    No path leaves the folder: absolute ones and those with an empty, `.` or `..` part are refused, and a link is never
    followed by its last part.

    Long writes at page boundaries bypass the page cache where the file system lets them.  A full copy would push all
    else out of it, and leave the whole way to the disk to the sync at its end (1 GiB: 0.40 s and then 0.48 s of sync,
    0.2 s of processor and ten times that while the hypervisor has to find the memory; past the cache 0.7 s, 0.0 s and
    0.08 s).
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bypasses = True
        self._bounce = threading.local()
        self._in_cache: dict[str, int] = {}  # bytes written since their way to the disk last began

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from `offset`; short only at the end of the file."""
        with self._opened(path, os.O_RDONLY) as file:
            wanted = max(0, os.fstat(file).st_size - offset) if length is None else length
            parts = []
            while wanted > 0 and (part := os.pread(file, wanted, offset)):
                parts.append(part)
                offset, wanted = offset + len(part), wanted - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        if self._bypasses and len(view) >= _BYPASS_BYTES and not (offset | len(view)) % _BLOCK_BYTES:
            try:
                self._write_past_cache(path, offset, view)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._bypasses = False  # tmpfs, or blocks larger than ours
            else:
                return
        with self._opened(path, os.O_WRONLY | os.O_CREAT) as file:
            cached = self._in_cache.get(path, 0) + len(view)
            while view:
                done = os.pwrite(file, view, offset)
                offset, view = offset + done, view[done:]
            if cached >= _EARLY_BYTES:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                cached = 0
            self._in_cache[path] = cached

    def truncate(self, path: str, size: int) -> None:
        """Set the size."""
        with self._opened(path, os.O_WRONLY | os.O_CREAT) as file:
            os.ftruncate(file, size)

    def punch(self, path: str, offset: int, length: int) -> None:
        """Make a range a hole; where the file system cannot, write zeros."""
        with self._opened(path, os.O_WRONLY) as file:
            length = min(length, os.fstat(file).st_size - offset)
            if length <= 0:
                return
            mode, place = _PUNCH_HOLE | _KEEP_SIZE, (ctypes.c_int64(offset), ctypes.c_int64(length))
            if _libc.fallocate64(file, mode, *place) == 0:
                return
            if ctypes.get_errno() != errno.EOPNOTSUPP:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        self._write_zeros(path, offset, length)

    def sync(self, path: str) -> None:
        """Fdatasync."""
        self._in_cache.pop(path, None)
        with self._opened(path, os.O_RDONLY) as file:
            os.fdatasync(file)

    def sync_folder(self, path: str) -> None:
        """Fsync of the directory."""
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
            os.fsync(folder)

    def replace(self, source: str, target: str) -> None:
        """Rename over."""
        os.replace(self._path(source), self._path(target))

    def remove(self, path: str) -> None:
        """Unlink."""
        self._in_cache.pop(path, None)
        self._path(path).unlink()

    def make_folder(self, path: str) -> None:
        """Mkdir with parents."""
        self._path(path).mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove_folder(self, path: str) -> None:
        """Rmdir."""
        self._path(path).rmdir()

    def list(self, path: str) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(os.listdir(self._path(path))))

    def size(self, path: str) -> int | None:
        """Size of a file, None when there is none of that name."""
        try:
            return os.stat(self._path(path), follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def next_data(self, path: str, offset: int) -> int | None:
        """By SEEK_DATA; a file system without holes has data everywhere."""
        with self._opened(path, os.O_RDONLY) as file:
            try:
                return os.lseek(file, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return None
                raise

    def locate(self, path: str) -> str:
        """The absolute path."""
        return str(self._path(path))

    def claim(self, name: str) -> None:
        """Lock the file `name` in the folder (flock).  The descriptor is left open on purpose: the kernel lets go."""
        lock = os.open(self._path(name), os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise Refused(f"another agent has {self._root}", cure="stop it, or name another folder") from error

    def _path(self, path: str) -> Path:
        parts = path.split("/") if path else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise BadInput(f"path {path!r}", "it may leave its folder")
        return self._root.joinpath(*parts)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        file = os.open(self._path(path), flags | _FLAGS, 0o600)
        try:
            yield file
        finally:
            os.close(file)

    def _write_past_cache(self, path: str, offset: int, view: memoryview) -> None:
        """Write whole blocks straight to the disk, from memory that is aligned as that demands, copied where not."""
        is_aligned = _is_aligned(view)
        with self._opened(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as file:
            while view:
                done = os.pwrite(file, view if is_aligned else self._aligned(view), offset)
                done -= done % _BLOCK_BYTES
                if not done:
                    raise OSError(errno.EIO, "a direct write made no progress", path)
                offset, view = offset + done, view[done:]

    def _aligned(self, view: memoryview) -> memoryview:
        """The beginning of `view` at a page boundary, in memory of this thread's own."""
        bounce = getattr(self._bounce, "memory", None)
        if bounce is None:
            bounce = self._bounce.memory = mmap.mmap(-1, _BOUNCE_BYTES)
        count = min(len(view), _BOUNCE_BYTES)
        aligned = memoryview(bounce)[:count]
        aligned[:] = view[:count]
        return aligned

    def _write_zeros(self, path: str, offset: int, length: int) -> None:
        block = bytes(1 << 20)
        for start in range(offset, offset + length, len(block)):
            self.write(path, start, block[: offset + length - start])


def _is_aligned(view: memoryview) -> bool:
    """Whether memory begins at a block boundary; of memory that may not be written it is not known."""
    return not view.readonly and ctypes.addressof(ctypes.c_char.from_buffer(view)) % _BLOCK_BYTES == 0
