"""Checkpoints and pull-mode backup jobs of one libvirt host: what a cycle asks of it (ground § 1).

What is libvirt's and what is proof: the list of checkpoints proves nothing (a bitmap may be gone), job statistics say
success after any abort, and abort is the normal end of a pull job.  So a checkpoint is provable for a disk only where
libvirt can count the dirty bytes of its bitmap, and a job is over only when libvirt has none any more.

Scratch files and sockets lie in `folder`, on the host's own long-mounted file system: QEMU may live in an older mount
namespace than ours.  A full scratch file pauses the guest (fact 3): drill/hypervisor/scratch.py keeps it from that.
A disk that can hold no bitmap (raw, qcow2 of version 2) is in every job and in no checkpoint: it is read whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import libvirt

from drill.errors import DrillError, Failed
from drill.hypervisor import checkpoints, domain_xml, jobs, lineage
from drill.hypervisor.connection import Connection, Handle
from drill.hypervisor.domain_lock import DomainLocks
from drill.hypervisor.export import Export
from drill.hypervisor.release import Hold, Releaser
from drill.hypervisor.scratch import POLL_SECONDS as WATCH_SECONDS
from drill.hypervisor.scratch import Room, Thresholds
from drill.model.extent import Extent
from drill.model.machine import Machine
from drill.ports import Clock

FOLDER = "/var/lib/libvirt/drill"
LOOK_EVERY = 4
"""Every so many looks at the room, QEMU's silence and the guest's state are looked at too."""
_Domain: TypeAlias = Any  # a virDomain


class LibvirtBackups:
    """The Backups port."""

    def __init__(
        self, connection: Connection, clock: Clock, folder: str = FOLDER, releaser: Releaser | None = None
    ) -> None:
        """`releaser` ends the job of an agent that was killed."""
        self._connection = connection
        self._clock = clock
        self._releaser = releaser
        self._folder = Path(folder)
        self._locks = DomainLocks(self._folder)

    def machine(self, domain: str) -> Machine:
        """The domain's shape."""

        def ask(handle: Handle) -> Machine:
            found = handle.lookupByName(domain)
            machine = domain_xml.parse(found.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            sized = tuple(replace(disk, size_bytes=int(found.blockInfo(disk.target)[0])) for disk in machine.disks)
            return replace(machine, disks=sized)

        return self._connection.call(f"read domain {domain}", ask)

    def without_bitmap(self, domain: str) -> frozenset[str]:
        """Disks that can hold no bitmap."""
        return self._connection.call(
            f"look at the disks of {domain}", lambda handle: checkpoints.without_bitmap(handle.lookupByName(domain))
        )

    def provable(self, domain: str, checkpoint: str) -> dict[str, int]:
        """Disks whose bitmap libvirt can still count, and its count; none for a checkpoint that is not there."""

        def ask(handle: Handle) -> dict[str, int]:
            found = checkpoints.find(_running(handle, domain), checkpoint)
            return {} if found is None else checkpoints.tracked(found)

        return self._connection.call(f"prove checkpoint {checkpoint} of {domain}", ask)

    def lineage(self, domain: str) -> dict[str, str]:
        """Which process has had the images open, and which files they are."""

        def ask(handle: Handle) -> dict[str, str]:
            live = domain_xml.disks(_running(handle, domain).XMLDesc(0))
            return lineage.words(domain, {disk.target: disk.path for disk in live})

        return self._connection.call(f"look who has the images of {domain} open", ask)

    def checkpoints(self, domain: str, prefix: str) -> tuple[str, ...]:
        """Names that begin with `prefix`, parents before children."""

        def ask(handle: Handle) -> tuple[str, ...]:
            found = handle.lookupByName(domain).listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
            return tuple(name for name in (str(one.getName()) for one in found) if name.startswith(prefix))

        return self._connection.call(f"list checkpoints of {domain}", ask)

    def drop(self, domain: str, checkpoint: str) -> None:
        """Delete a checkpoint and what is left of its bitmaps; one that is gone is fine."""

        def act(handle: Handle) -> None:
            checkpoints.drop(_running(handle, domain), checkpoint)

        self._connection.call(f"drop checkpoint {checkpoint} of {domain}", act, changes=True)

    def drop_all(self, domain: str, prefix: str) -> None:
        """Delete our checkpoints and their bitmaps; where the domain is off, libvirt cannot, and qemu-img does."""
        names = self.checkpoints(domain, prefix)

        def act(handle: Handle) -> None:
            found = handle.lookupByName(domain)
            for name in reversed(names):
                if found.isActive():
                    checkpoints.drop(found, name)
                else:
                    checkpoints.drop_offline(found, name)
            self._locks.release(str(found.UUIDString()))

        self._connection.call(f"drop our checkpoints of {domain}", act, changes=True)

    def begin(self, domain: str, checkpoint: str, bases: Mapping[str, str | None]) -> LibvirtJob:
        """Take `checkpoint` and open a job over all disks in `bases`, at one instant.

        Failed leaves no job; the checkpoint may be there, as litter.
        """

        def act(handle: Handle) -> _Begun:
            found = _running(handle, domain)
            self._claim(found)
            targets = checkpoints.all_targets(found)
            without_bitmap = checkpoints.without_bitmap(found)
            tracked = [target for target in bases if target not in without_bitmap]
            mark = checkpoints.xml_of(checkpoint, tracked, targets) if tracked else None
            room = Room(self._folder, sum(int(found.blockInfo(target)[0]) for target in bases))
            room.check()
            paths = _Paths(self._folder, str(found.UUIDString()))
            paths.clear()
            runs = not jobs.is_starved(found)
            self._watch_outside(domain)
            begun = self._clock.now_us()
            found.backupBegin(_backup_xml(paths, bases, targets), mark, 0)
            return _Begun(found, paths, room, runs, begun, self._clock.now_us())

        begun = self._connection.call(f"begin a cycle of {domain}", act, changes=True)
        return LibvirtJob(self._connection, begun, bases, lambda: self._watch_ended(domain))

    def abort_leftover(self, domain: str) -> bool:
        """End a backup job of ours; Failed for a job that is not ours, which is left alone.

        From here until `drop_all` the domain is this process's alone; Refused while another agent has it.
        """

        def act(handle: Handle) -> bool:
            found = handle.lookupByName(domain)
            self._claim(found)
            if not jobs.has_job(found):
                return False
            if not jobs.is_ours(found, self._folder):
                raise Failed("beginning a cycle", f"{domain} has a job that is not drill's", "wait for its end")
            jobs.end_job(found)
            jobs.resume_if_starved(found)
            return True

        return self._connection.call(f"look for a job of {domain}", act, changes=True)

    def _watch_outside(self, domain: str) -> None:
        """Without a watch the cycle goes on: what a killed agent leaves is cleared by the next one."""
        with suppress(DrillError):
            if self._releaser is not None:
                self._releaser.hold(domain, Hold.JOB, float("inf"))

    def _watch_ended(self, domain: str) -> None:
        if self._releaser is not None:
            self._releaser.let_go(domain, Hold.JOB)

    def _claim(self, found: _Domain) -> None:
        self._make_folder()
        self._locks.claim(str(found.UUIDString()), str(found.name()))

    def _make_folder(self) -> None:
        """The folder belongs to whoever owns libvirt's own, so that QEMU may create its socket there."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o770, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                owner = (self._folder.parent / "qemu").stat()
                os.chown(self._folder, owner.st_uid, owner.st_gid)


class LibvirtJob:
    """An open job.  `begun_us` and `taken_us` enclose the instant."""

    def __init__(
        self, connection: Connection, begun: _Begun, bases: Mapping[str, str | None], ended: Callable[[], None]
    ) -> None:
        self.begun_us, self.taken_us = begun.begun_us, begun.taken_us
        self._connection = connection
        self._domain = begun.domain
        self._paths, self._room, self._ended = begun.paths, begun.room, ended
        self._was_running = begun.was_running
        self._open = True
        self._over, self._woken, self._ending = False, threading.Event(), threading.Lock()
        self._given_up = ""
        self._exports: dict[str, Export] = {}
        try:
            for target, base in bases.items():
                bitmap = None if base is None else bitmap_name(target)
                self._exports[target] = Export(str(self._paths.socket), target, bitmap)
        except BaseException:
            self.end()
            raise
        threading.Thread(target=self._watch, name="backup job", daemon=True).start()

    def extents(self, disk: str) -> Iterator[Extent]:
        """What differs from the base, or all of the disk: sorted, not coalesced."""
        try:
            yield from self._exports[disk].extents()
        except Failed as error:
            raise self._meant(error) from error

    def whole(self, disk: str) -> Iterator[Extent]:
        """All of the disk: sorted, not coalesced."""
        return self._exports[disk].extents(whole=True)

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes."""
        try:
            return self._exports[disk].read(offset, length)
        except Failed as error:
            raise self._meant(error) from error

    def witness(self, disk: str) -> str:
        """SHA-256 (hex) of the whole export as nbdcopy reads it."""
        return self._exports[disk].witness()

    def size(self, disk: str) -> int:
        """Bytes of the disk at the instant."""
        return self._exports[disk].size_bytes

    def end(self) -> None:
        """Abort the job, wait until it is gone, remove its files, resume a guest that its scratch paused."""
        if not self._open:
            return
        self._over = True
        self._woken.set()
        for export in self._exports.values():
            export.close()
        self._abort("end a cycle's job")
        self._paths.clear()
        self._open = False
        self._ended()

    def _abort(self, action: str) -> None:
        """End the job and let a guest run that it starved."""

        def act(_: Handle) -> None:
            if jobs.has_job(self._domain):
                jobs.end_job(self._domain)
            if self._was_running:
                jobs.resume_if_starved(self._domain)

        with self._ending:
            self._connection.call(action, act, changes=True)

    def _meant(self, error: Failed) -> Failed:
        """Why an export broke off, where it was we who ended it."""
        return Failed("the cycle", self._given_up, "free room there, or send more often") if self._given_up else error

    def _watch(self) -> None:
        """Hang up on a QEMU that says nothing; give the job up before its scratch fills the room, or when it has."""
        thresholds, looks = Thresholds(self._connection, self._domain, self._woken), 0
        while not self._over:
            woken = self._woken.wait(WATCH_SECONDS)
            if self._over:
                break
            self._woken.clear()
            left, looks = self._room.left(), looks + 1
            if left < self._room.least:
                self._give_up(f"only {left >> 20} MiB are left for its scratch files in {self._paths.folder}")
                break
            if looks % LOOK_EVERY == 0:
                for export in self._exports.values():
                    export.hang_up_if_silent()
                if self._is_starved():
                    self._give_up("the guest was paused by an input/output error")
                    break
            if woken or looks == 1:
                thresholds.set((left - self._room.least) // 2)
        thresholds.clear()

    def _is_starved(self) -> bool:
        with suppress(DrillError):
            starved = self._connection.call("look at the guest", lambda _: jobs.is_starved(self._domain))
            return starved and self._was_running
        return False

    def _give_up(self, reason: str) -> None:
        self._given_up = reason
        with suppress(DrillError):
            self._abort("give up a cycle")


class _Paths:
    """The socket and the scratch files of one domain, named after its UUID."""

    def __init__(self, folder: Path, uuid: str) -> None:
        self.folder = folder
        self._uuid = uuid
        self.socket = folder / f"{uuid}.sock"

    def scratch(self, target: str) -> Path:
        return self.folder / f"{self._uuid}.{target}.scratch"

    def clear(self) -> None:
        """Remove what a killed QEMU left; libvirt removes its own."""
        for path in (self.socket, *self.folder.glob(f"{self._uuid}.*.scratch")):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A job as libvirt began it; `was_running`: no input/output error had paused the guest before."""

    domain: _Domain
    paths: _Paths
    room: Room
    was_running: bool
    begun_us: int
    taken_us: int


def bitmap_name(target: str) -> str:
    """The name under which a job exports the changes of a disk."""
    return f"backup-{target}"


def _backup_xml(paths: _Paths, bases: Mapping[str, str | None], targets: Iterable[str]) -> str:
    """A pull job; full or incremental is said per disk (ground 1.14)."""
    root = ET.Element("domainbackup", mode="pull")
    ET.SubElement(root, "server", transport="unix", socket=str(paths.socket))
    disks = ET.SubElement(root, "disks")
    for target in targets:
        if target not in bases:
            ET.SubElement(disks, "disk", name=target, backup="no")
            continue
        base = bases[target]
        disk = ET.SubElement(disks, "disk", name=target, backup="yes", type="file", exportname=target)
        if base is None:
            disk.set("backupmode", "full")
        else:
            disk.set("backupmode", "incremental")
            disk.set("incremental", base)
            disk.set("exportbitmap", bitmap_name(target))
        ET.SubElement(disk, "scratch", file=str(paths.scratch(target)))
    return ET.tostring(root, encoding="unicode")


def _running(handle: Handle, name: str) -> _Domain:
    domain = handle.lookupByName(name)
    if not domain.isActive():
        raise Failed("the cycle", f"{name} is off", "start it: changes are read from a running QEMU")
    return domain
