"""Foreign tools, run to their end, with the memory they took."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from drill.errors import Failed, Unknown

SECONDS = 1800.0
LOOK_SECONDS = 0.02


class Runner:
    """Runs tools one after another; `peak_mib` is of the largest process since it was set to 0."""

    def __init__(self) -> None:
        self.peak_mib = 0.0

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None, stdin: str = "") -> str:
        """Run a tool; returns what it printed.  Failed when it does not exit 0, Unknown when the time is over."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
            told.write(stdin.encode())
            told.seek(0)
            process = subprocess.Popen(
                argv, env=None if env is None else {**os.environ, **env}, stdin=told, stdout=said, stderr=said
            )
            expired = not self._ended(process)
            if expired:
                process.kill()
            process.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if expired:
            raise Unknown(argv[0], f"not done within {SECONDS:.0f} s")
        if process.returncode:
            raise Failed(argv[0], text.strip()[-400:])
        return text

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the end, looking at the peak meanwhile: what the kernel sums up at the end has our own in it."""
        until = time.monotonic() + SECONDS
        handle = os.pidfd_open(process.pid)
        try:
            while time.monotonic() < until:
                if select.select([handle], [], [], LOOK_SECONDS)[0]:
                    return True
                self.peak_mib = max(self.peak_mib, peak_mib(process.pid))
        finally:
            os.close(handle)
        return False


def peak_mib(pid: int) -> float:
    """The most memory that a process has had resident; 0 when it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def sync(path: Path) -> None:
    """Make a file, or all files below a folder, durable."""
    for file in (found for found in ([path] if path.is_file() else path.rglob("*")) if found.is_file()):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def stored_bytes(path: Path) -> int:
    """Bytes of the disk that a file, or all files below a folder, take."""
    if not path.exists():
        return 0
    return sum(file.lstat().st_blocks * 512 for file in ([path] if path.is_file() else path.rglob("*")))
