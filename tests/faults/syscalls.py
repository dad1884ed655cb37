"""A running process that is killed when it enters its N-th system call of a name: strace attached to the real agent.

The call itself does not happen, so killing at call N leaves what calls 1 to N-1 did.  strace counts per thread, from
the moment it attached or the thread began; the first thread that comes so far takes the process with it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.micro_machines import await_done

STORAGE = ("pwrite64", "ftruncate", "fdatasync", "fsync", "rename", "unlink", "mkdir")
"""Whatever changes files, or makes a change durable."""
NETWORK = ("sendto", "recvfrom")


@dataclass(frozen=True, slots=True)
class Boundary:
    """The moment before the N-th call of this name by one thread."""

    call: str
    number: int


@contextmanager
def killed_at(pid: int, boundary: Boundary) -> Iterator[None]:
    """While the block lasts, process `pid` dies by SIGKILL at the boundary, if it comes there."""
    inject = f"inject={boundary.call}:signal=SIGKILL:when={boundary.number}"
    with _attached(pid, ["-e", f"trace={boundary.call}", "-e", inject, "-o", "/dev/null"]):
        yield


@contextmanager
def _attached(pid: int, options: list[str]) -> Iterator[None]:
    argv = ["strace", "-f", "-qq", "-p", str(pid), *options]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
        try:
            await_done(lambda: _must_be_traced(pid, tracer), f"strace of {pid}")
            yield
        finally:
            # A tracer that ends lets go of what it traced; asked politely, strace may wait for threads that died.
            tracer.kill()


def _must_be_traced(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else ""
    for task in Path(f"/proc/{pid}/task").iterdir():
        assert f"TracerPid:\t{tracer.pid}" in (task / "status").read_text(), "not attached yet"
