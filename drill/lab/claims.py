"""Who may work on a lab, and the folders that a lab needs on a machine without libvirt's own packages.

A lab is claimed by a lock on its folder, so that nothing is left when the folder goes.  The mount points that had to
be made are noted, and removed when no lab at all is left: removing one takes away what is mounted on it in other
namespaces, so both happen under one lock on the root folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from drill.errors import Refused
from drill.lab import members
from drill.lab.place import state_folder
from drill.lab.roots import STATE_INSIDE, labs_root

CLAIM_SECONDS = 60.0
BOUND = {
    "run": Path("/run/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "etc": Path("/etc/libvirt"),
    "log": Path("/var/log/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "lock": Path("/run/lock"),  # libvirt locks the terminal of a console it reads there; a machine may lack it
    "drill": STATE_INSIDE,
}
"""The folders of a host, and where they appear inside it."""
_MADE = ".mount-points"


@contextlib.contextmanager
def claimed(lab: str) -> Iterator[Path]:
    """Work on a lab alone: its folder, made when it is not there.

    Raises Refused when another drill works on the lab for longer than a minute.
    """
    folder = state_folder(lab)
    deadline = time.monotonic() + CLAIM_SECONDS
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with _opened(folder) as handle:
            if _locked(handle) and _same(handle, folder):
                yield folder
                return
        if time.monotonic() > deadline:
            raise Refused(reason=f"another drill is working on lab {lab}", cure="wait for it, or end it")
        time.sleep(0.02)


@contextlib.contextmanager
def mount_points() -> Iterator[None]:
    """Make the mount points that are missing and keep them for as long as it takes to mount something there."""
    with _root_locked():
        made = [point for point in BOUND.values() if not point.exists()]
        if made:
            with (labs_root() / _MADE).open("a") as note:
                note.writelines(f"{point}\n" for point in made)
            for point in made:
                point.mkdir(parents=True)
        yield


def remove_mount_points() -> None:
    """Remove the mount points that we made, and the folder of labs, unless a lab is left that may need them."""
    note = labs_root() / _MADE
    with _root_locked():
        if members.any_lab():
            return
        if note.exists():
            for line in note.read_text().splitlines():
                _remove_empty(Path(line))
            note.unlink()
        _remove_empty(labs_root())
        _remove_empty(labs_root().parent)


@contextlib.contextmanager
def _root_locked() -> Iterator[None]:
    with _opened(Path("/")) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(handle: int, folder: Path) -> bool:
    """Whether the folder locked is the one that is there now: the holder before us may have removed it."""
    try:
        return os.fstat(handle).st_ino == folder.stat().st_ino
    except FileNotFoundError:
        return False


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or not there
        folder.rmdir()
