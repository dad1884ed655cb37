"""One agent per domain: a lock file beside the scratch files, held for as long as an agent replicates the domain.

Two agents that replicate one domain would drop each other's checkpoints as litter and end each other's jobs.  The lock
is the kernel's (flock): it goes with the process that holds it, so a dead agent's is free at once.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from drill.errors import Refused

PATIENCE_SECONDS = 3.0
"""The process that lets go for a dead agent holds the lock for as long as ending a job takes."""
POLL_SECONDS = 0.05


class DomainLocks:
    """The locks that this process holds, by the domain's UUID."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._held: dict[str, int] = {}

    def claim(self, uuid: str, name: str) -> None:
        """Hold the lock of a domain from now on; Refused, with the holder's process, when another has it."""
        with self._guard:
            if uuid not in self._held:
                self._held[uuid] = self._take(uuid, name)

    def release(self, uuid: str) -> None:
        """Let go and remove the file; none held is fine."""
        with self._guard:
            descriptor = self._held.pop(uuid, None)
            if descriptor is not None:
                self._path(uuid).unlink(missing_ok=True)
                os.close(descriptor)

    def _path(self, uuid: str) -> Path:
        return self._folder / f"{uuid}.lock"

    def _take(self, uuid: str, name: str) -> int:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            descriptor = os.open(self._path(uuid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            else:
                if self._is_current(descriptor, uuid):
                    os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
                    return descriptor
                holder = "that just ended"
            os.close(descriptor)
            if time.monotonic() > until:
                cure = "end the other agent, or unprotect the machine there"
                raise Refused(f"{name} is replicated by another agent, process {holder}", cure=cure)
            time.sleep(POLL_SECONDS)

    def _is_current(self, descriptor: int, uuid: str) -> bool:
        """Whether the file that was locked is still the one of that name: its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path(uuid)))
        except FileNotFoundError:
            return False
