"""Who has had a domain's images open: what proves that nobody wrote to them behind QEMU's back (guarantees I31).

While one QEMU has an image open it holds the image's lock, and its bitmaps see every write.  Once it has closed the
image, `dd`, a copy put back or a reverted snapshot leave bitmaps that look whole and are not (ground 1.17).  So the
word for an image names the process, by its start time and this boot, and the file: any other word means that there was
a time in between of which nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from drill.errors import Failed

RUN_FOLDER = Path("/run/libvirt/qemu")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def words(name: str, images: Mapping[str, str], *, folder: Path = RUN_FOLDER) -> dict[str, str]:
    """Per disk (target → path of its image) the word; Failed where the QEMU of domain `name` is not found."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        process = f"{_BOOT.read_text().strip()} {pid} {started(Path(f'/proc/{pid}/stat').read_text())}"
        found = {target: os.stat(path) for target, path in images.items()}
    except (OSError, ValueError) as error:
        raise Failed(f"looking for the QEMU of {name}", str(error)) from error
    return {target: f"{process} {one.st_dev}:{one.st_ino}" for target, one in found.items()}


def started(stat: str) -> int:
    """Clock ticks since boot at which a process started: field 22 of /proc/PID/stat (its name may hold anything)."""
    return int(stat.rpartition(")")[2].split()[19])
