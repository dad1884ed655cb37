"""Checkpoints and pull-mode backup jobs of one libvirt host: what a cycle asks of it (ground § 1).

What is libvirt's and what is proof: the list of checkpoints proves nothing (a bitmap may be gone), job statistics say
success after any abort, and abort is the normal end of a pull job.  So a checkpoint is provable for a disk only where
libvirt can count the dirty bytes of its bitmap, and a job is over only when libvirt has none any more.

Scratch files and sockets lie in `folder`, on the host's own long-mounted file system: QEMU may live in an older mount
namespace than ours.  A full scratch file pauses the guest (fact 3), so a job is begun only where the file system has
room for all that the guest could overwrite.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import libvirt

from drill.errors import DrillError, Failed, Unknown, Unsupported
from drill.hypervisor import checkpoints, domain_xml, lineage, safe_xml
from drill.hypervisor.connection import Connection, Handle
from drill.hypervisor.export import Export
from drill.model.extent import Extent
from drill.model.machine import Machine
from drill.ports import Clock

FOLDER = "/var/lib/libvirt/drill"
END_SECONDS = 60.0
"""libvirt ends a job within milliseconds of the abort; while the state lock is held by another job it waits 30 s."""
POLL_SECONDS = 0.002
WATCH_SECONDS = 2.0
RESERVE_BYTES = 64 << 20
_Domain: TypeAlias = Any  # a virDomain


class LibvirtBackups:
    """The Backups port."""

    def __init__(self, connection: Connection, clock: Clock, folder: str = FOLDER) -> None:
        self._connection = connection
        self._clock = clock
        self._folder = Path(folder)

    def machine(self, domain: str) -> Machine:
        """The domain's shape.  Unsupported for a disk whose changes cannot be tracked."""

        def ask(handle: Handle) -> Machine:
            found = handle.lookupByName(domain)
            machine = domain_xml.parse(found.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            sized = tuple(replace(disk, size_bytes=int(found.blockInfo(disk.target)[0])) for disk in machine.disks)
            return replace(machine, disks=sized)

        machine = self._connection.call(f"read domain {domain}", ask)
        for disk in machine.disks:
            if disk.format != "qcow2":
                raise Unsupported(
                    "change tracking",
                    f"disk {disk.target} of {domain} is {disk.format}, which cannot hold a dirty bitmap",
                    "convert it to qcow2",
                )
        return machine

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

        self._connection.call(f"drop our checkpoints of {domain}", act, changes=True)

    def begin(self, domain: str, checkpoint: str, bases: Mapping[str, str | None]) -> LibvirtJob:
        """Take `checkpoint` and open a job over all disks in `bases`, at one instant.

        Failed leaves no job; the checkpoint may be there, as litter.
        """
        self._make_folder()

        def act(handle: Handle) -> _Begun:
            found = _running(handle, domain)
            targets = checkpoints.all_targets(found)
            self._check_room(found, bases)
            paths = _Paths(self._folder, str(found.UUIDString()))
            paths.clear()
            runs = found.state()[0] == libvirt.VIR_DOMAIN_RUNNING
            begun = self._clock.now_us()
            found.backupBegin(_backup_xml(paths, bases, targets), checkpoints.xml_of(checkpoint, bases, targets), 0)
            return _Begun(found, paths, runs, begun, self._clock.now_us())

        return LibvirtJob(
            self._connection, self._connection.call(f"begin a cycle of {domain}", act, changes=True), bases
        )

    def abort_leftover(self, domain: str) -> bool:
        """End a backup job of ours; Failed for a job that is not ours, which is left alone."""

        def act(handle: Handle) -> bool:
            found = handle.lookupByName(domain)
            if not _has_job(found):
                return False
            if not _is_ours(found, self._folder):
                raise Failed("beginning a cycle", f"{domain} has a job that is not drill's", "wait for its end")
            _end_job(found)
            _resume_if_starved(found)
            return True

        return self._connection.call(f"look for a job of {domain}", act, changes=True)

    def _make_folder(self) -> None:
        """The folder belongs to whoever owns libvirt's own, so that QEMU may create its socket there."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o770, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                owner = (self._folder.parent / "qemu").stat()
                os.chown(self._folder, owner.st_uid, owner.st_gid)

    def _check_room(self, found: _Domain, bases: Iterable[str]) -> None:
        """Refuse where the guest, overwriting all of its disks during the job, would fill the file system."""
        room = _room(self._folder)
        needed = sum(int(found.blockInfo(target)[0]) for target in bases) + RESERVE_BYTES
        if room < needed:
            raise Failed(
                "beginning a cycle",
                f"{self._folder} has {room >> 20} MiB free, scratch files may need {needed >> 20} MiB",
                f"free {(needed - room >> 20) + 1} MiB there",
            )


class LibvirtJob:
    """An open job.  `begun_us` and `taken_us` enclose the instant."""

    def __init__(self, connection: Connection, begun: _Begun, bases: Mapping[str, str | None]) -> None:
        self.begun_us, self.taken_us = begun.begun_us, begun.taken_us
        self._connection = connection
        self._domain = begun.domain
        self._paths = begun.paths
        self._was_running = begun.was_running
        self._open = True
        self._over = threading.Event()
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
        return self._exports[disk].extents()

    def whole(self, disk: str) -> Iterator[Extent]:
        """All of the disk: sorted, not coalesced."""
        return self._exports[disk].extents(whole=True)

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes."""
        return self._exports[disk].read(offset, length)

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
        self._over.set()
        for export in self._exports.values():
            export.close()

        def act(_: Handle) -> None:
            if _has_job(self._domain):
                _end_job(self._domain)
            if self._was_running:
                _resume_if_starved(self._domain)

        self._connection.call("end a cycle's job", act, changes=True)
        self._paths.clear()
        self._open = False

    def _watch(self) -> None:
        """Hang up on a QEMU that says nothing; give the job up before its scratch fills the file system."""
        while not self._over.wait(WATCH_SECONDS):
            for export in self._exports.values():
                export.hang_up_if_silent()
            if _room(self._paths.folder) < RESERVE_BYTES // 2:
                with suppress(DrillError):
                    self._connection.call("give up a cycle", lambda _: self._domain.abortJob(), changes=True)


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
    """A job as libvirt began it; `was_running` is how the guest was before."""

    domain: _Domain
    paths: _Paths
    was_running: bool
    begun_us: int
    taken_us: int


def _room(folder: Path) -> int:
    """Bytes that may still be written there."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


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


def _has_job(domain: _Domain) -> bool:
    if not domain.isActive():
        return False
    return bool(domain.jobStats().get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE)


def _is_ours(domain: _Domain, folder: Path) -> bool:
    if domain.jobStats().get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        return False
    root = safe_xml.read(domain.backupGetXMLDesc(0), where="backup XML")
    server = root.find("server")
    return server is not None and Path(server.get("socket", "")).parent == folder


def _end_job(domain: _Domain) -> None:
    """Abort, then wait: the completion event comes before the job is gone (ground 1.10)."""
    try:
        domain.abortJob()
    except libvirt.libvirtError:
        if _has_job(domain):
            raise
    until = time.monotonic() + END_SECONDS
    while _has_job(domain):
        if time.monotonic() > until:
            raise Unknown("ending a cycle's job", f"libvirt still has it after {END_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _resume_if_starved(domain: _Domain) -> None:
    """A guest paused by an I/O error during our job was paused by our scratch (ground 1.7): let it run again."""
    if not domain.isActive():
        return
    state, reason = domain.state()
    if state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
        domain.resume()
