"""Processes that hold a lock file, found and ended: a service that runs while its server registers (spec B9)."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Refused, Unknown

STOP_SECONDS = 30.0
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds the lock of a file."""

    pid: int
    file: Path


def holders(files: Iterable[Path]) -> Iterator[Holder]:
    """Who holds which of these files by flock, in this process's sight."""
    for file in files:
        with suppress(FileNotFoundError):
            status = file.stat()
            place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
            for line in _LOCKS.read_text("ascii").splitlines():
                parts = line.split()
                if parts[1:2] == ["FLOCK"] and parts[5] == place and int(parts[4]) > 0:
                    yield Holder(pid=int(parts[4]), file=file)


def stop(holder: Holder, seconds: float = STOP_SECONDS) -> None:
    """End a process by SIGTERM and wait for it; Unknown when it goes on.

    The pid is pinned before it is seen once more to hold the lock, so that no other process is ended in its place.
    """
    if holder.pid == os.getpid():
        raise Refused(f"{holder.file} is held by this process")
    try:
        pinned = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        if holder not in holders([holder.file]):
            return
        signal.pidfd_send_signal(pinned, signal.SIGTERM)
        ended, _, _ = select.select([pinned], [], [], seconds)
    finally:
        os.close(pinned)
    if not ended:
        raise Unknown(f"stopping process {holder.pid}", f"it goes on after {seconds:g} s")
