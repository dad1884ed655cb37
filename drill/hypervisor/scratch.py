"""Room for what the guest overwrites while a job is open (fact 3, I32).

A pull job keeps the old content of every cluster that the guest writes in a scratch file per disk.  When those cannot
grow, the guest's writes fail or the guest is paused while the job looks healthy.  So a job is begun only where all of
its disks could be overwritten and a fifth of the room would be left, and given up when no more than that fifth is left,
whoever took the rest.  What is left is asked of the file system four times a second; for a guest that fills it faster
than that, QEMU tells when a scratch file passes half of what is still good (a block threshold).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import libvirt

from drill.errors import DrillError, Failed
from drill.hypervisor import safe_xml
from drill.hypervisor.connection import Connection, Handle

FULL_PART = 0.8
"""A job is given up when this part of its room is used."""
SPARE_BYTES = 32 << 20
POLL_SECONDS = 0.25
_Domain: TypeAlias = Any  # a virDomain


@dataclass(frozen=True, slots=True)
class Room:
    """What a job may use in `folder`, in bytes; `worst` is all of its disks overwritten."""

    folder: Path
    worst: int

    @property
    def needed(self) -> int:
        """What must be free when it begins."""
        return int(self.worst / FULL_PART) + 2 * SPARE_BYTES

    @property
    def least(self) -> int:
        """What must stay free while it is open."""
        return int(self.worst / FULL_PART * (1 - FULL_PART)) + SPARE_BYTES

    def left(self) -> int:
        """Bytes that may still be written there."""
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def check(self) -> None:
        """Failed where a guest that overwrites all of its disks would come near the end of the room."""
        left = self.left()
        if left < self.needed:
            raise Failed(
                "beginning a cycle",
                f"{self.folder} has {left >> 20} MiB free, scratch files may need {self.needed >> 20} MiB",
                f"free {(self.needed - left >> 20) + 1} MiB there",
            )


class Thresholds:
    """QEMU's own word that a scratch file has grown; sets `woken`."""

    def __init__(self, connection: Connection, domain: _Domain, woken: threading.Event) -> None:
        self._connection = connection
        self._domain = domain
        self._woken = woken
        self._callback: int | None = None

    def set(self, bytes_more: int) -> None:
        """Wake when any scratch file has grown by so much; where libvirt has no such word, polling is all there is."""

        def act(handle: Handle) -> None:
            if self._callback is None:
                event = libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD
                self._callback = handle.domainEventRegisterAny(self._domain, event, self._wake, None)
            for device, path in _devices(self._domain.backupGetXMLDesc(0)):
                self._domain.setBlockThreshold(device, os.stat(path).st_size + bytes_more)

        with suppress(DrillError, OSError):
            self._connection.call("watch a scratch file", act)

    def clear(self) -> None:
        """Hear no more."""
        callback, self._callback = self._callback, None
        if callback is not None:
            with suppress(DrillError):
                self._connection.call("stop watching", lambda handle: handle.domainEventDeregisterAny(callback))

    def _wake(self, *_: object) -> None:
        self._woken.set()


def _devices(text: str) -> Iterable[tuple[str, str]]:
    """How libvirt calls a job's scratch files (`vda[3]`), and where they are."""
    root = safe_xml.read(text, where="backup XML")
    for disk in root.findall("disks/disk"):
        scratch, index = disk.find("scratch"), disk.get("index")
        if index is not None and scratch is not None:
            yield f"{disk.get('name')}[{index}]", scratch.get("file", "")
