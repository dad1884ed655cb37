"""Which processes belong to a lab, proved from what the kernel says about each of them.

Every process that a lab starts carries the lab's mark in its environment, and every mount namespace of a lab holds a
mount whose source is the mark.  A process with either is a member, whoever started it and however it was orphaned; a
process with neither is never touched.  The mark names the folder of all labs by device and inode, so that labs of
another state root, or of a chroot, are never mistaken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Refused, Unknown
from drill.lab.roots import labs_root

PREFIX = "drill-lab:"
MARK_VARIABLE = "DRILL_LAB"
ROLE_VARIABLE = "DRILL_LAB_ROLE"
"""`libvirtd` while it is started, `libvirtd@123` when it is process 123: children inherit it and are not it."""


@dataclass(frozen=True, slots=True)
class Member:
    """A live process inside a lab.  `place` is a host's name, `controller` or `fabric`.

    `role` is what a process that `up` starts is there for, and empty for its children and for everybody else's;
    `starting` is true from its fork until it is what its role says.
    """

    pid: int
    place: str
    role: str
    starting: bool
    command: str


def mark(lab: str, place: str = "") -> str:
    """The mark of one place of a lab; without a place, what all marks of that lab begin with."""
    identity = labs_root().stat()
    return f"{PREFIX}{identity.st_dev:x}.{identity.st_ino:x}:{lab}:{place}"


def of_lab(lab: str) -> tuple[Member, ...]:
    """Every live member of a lab of this state root; zombies do not count."""
    try:
        return tuple(_scan(mark(lab)))
    except FileNotFoundError:
        return ()


def any_lab() -> bool:
    """Whether some lab, of whatever state root, has a live process with the same root folder as ours."""
    ours = os.stat("/")
    return any(_root_is(member.pid, ours) for member in _scan(PREFIX))


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def end(pids: list[int], timeout_seconds: float = 10.0) -> None:
    """Kill these processes and wait until they are gone.  Raises Unknown when one stays."""
    for pid in pids:
        _kill(pid)
    await_true(lambda: not any(map(alive, pids)), timeout_seconds, f"ending {pids}")


def end_lab(lab: str, timeout_seconds: float = 20.0) -> int:
    """Kill every member of a lab, again and again until none is found; returns how many there were.

    Raises Refused when the caller itself is inside the lab and Unknown when a process does not go.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + timeout_seconds
    while found := of_lab(lab):
        if os.getpid() in {member.pid for member in found}:
            raise Refused(reason=f"this process is itself inside lab {lab}", cure="run it outside the lab")
        if time.monotonic() > deadline:
            left = ", ".join(f"{member.pid} ({member.command})" for member in found)
            raise Unknown(action=f"ending lab {lab}", cause=f"still running after {timeout_seconds:.0f} s: {left}")
        for member in found:
            ended.add(member.pid)
            _kill(member.pid)
        time.sleep(0.01)
    return len(ended)


def await_true(condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    """Poll until the condition holds.  Raises Unknown, naming `what`, when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Unknown(action=what, cause=f"not done after {timeout_seconds:.0f} s")
        time.sleep(0.01)


def _scan(beginning: str) -> Iterator[Member]:
    by_namespace: dict[str, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and alive(int(entry)):
            try:
                member = _examine(int(entry), beginning, by_namespace)
            except OSError:  # it ended while we looked
                continue
            if member is not None:
                yield member


def _root_is(pid: int, root: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/root"), root)
    except OSError:  # it ended while we looked
        return False


def _examine(pid: int, beginning: str, by_namespace: dict[str, str]) -> Member | None:
    environment = dict(
        pair.partition("=")[::2] for pair in Path(f"/proc/{pid}/environ").read_text("utf-8", "replace").split("\0")
    )
    found = environment.get(MARK_VARIABLE, "")
    if not found.startswith(beginning):
        namespace = os.readlink(f"/proc/{pid}/ns/mnt")
        if namespace not in by_namespace:
            by_namespace[namespace] = _mark_mounted(pid, beginning)
        found = by_namespace[namespace]
    if not found:
        return None
    command = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    role, _, holder = environment.get(ROLE_VARIABLE, "").partition("@")
    mine = holder in ("", str(pid))
    return Member(
        pid=pid,
        place=found.rpartition(":")[2],
        role=role if mine else "",
        starting=bool(role) and not holder,
        command=command,
    )


def _mark_mounted(pid: int, beginning: str) -> str:
    for line in Path(f"/proc/{pid}/mountinfo").read_text("utf-8", "replace").splitlines():
        source = line.rpartition(" - ")[2].split()[1]
        if source.startswith(beginning):
            return source
    return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
