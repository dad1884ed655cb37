"""One domain under libvirt: checkpoints, bitmaps and pull-mode backup jobs as they really behave (the Backups port).

What is not obvious (guarantees § 1, ground § 1): a checkpoint stays whatever becomes of its job; a killed QEMU takes
the session's bitmaps with it while libvirt still lists the checkpoints; a stored bitmap comes back `in-use`; a job that
nobody ended blocks the next; a domain that is defined anew has lost its checkpoints, not its bitmaps; full and
incremental are chosen per disk; a disk does not grow while a job is open.

`instants` is the truth that an oracle holds points against: the content of every disk at each instant, by `begun_us`,
which no two jobs share however the clock jumps; `taken` has the instant of every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from drill.errors import Failed, Unknown, Unreachable, Usage
from drill.model.extent import Extent, ExtentKind
from drill.model.machine import Disk, Machine
from drill.sim.clock import SimClock
from drill.sim.content import Content
from drill.sim.disk import Bitmap, FrozenDisk, SimDisk
from drill.sim.guest import SimGuest
from drill.sim.process import Process
from drill.sim.processors import SimProcessors

CHUNK = 1 << 20
LOCK_SECONDS = 30.0
_UUID = "3f0c9a52-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Instant:
    """All disks of the domain at one instant; `frozen` is whether the guest's file systems were, in truth.

    `at` is the monotonic clock's, on which no two things happen at once.
    """

    number: int
    frozen: bool
    disks: Mapping[str, Content]
    at: float


class SimHypervisor:
    """libvirt, QEMU and the guest's disks; they outlive every agent.

    `frozen`: QEMU is there and answers nothing, neither libvirt nor a reader of its export.  `paused`: the scratch
    file of a job could not grow; job and export look healthy, and only who ends the job lets the guest run (fact 3).
    """

    def __init__(self, domain: str, disks: Mapping[str, SimDisk], clock: SimClock) -> None:
        self.domain = domain
        self.disks = dict(disks)
        self.clock = clock
        self.running = True
        self.reachable = True
        self.frozen = self.paused = False
        self.session = 1
        self.checkpoints: dict[str, frozenset[str]] = {}
        self.job: SimJob | None = None
        self.instants: dict[int, Instant] = {}
        self.during: list[Callable[[], None]] = []
        self.taken: dict[str, int] = {}
        self.on_drop: Callable[[str], None] = _nobody
        self.guest = SimGuest(clock, _nobody)
        self.processors = SimProcessors(clock)
        self.begin_seconds, self.refuses_checkpoints = 0.0, False

    @property
    def writes(self) -> bool:
        """Whether the guest can write now."""
        return self.running and not self.paused and not self.processors.stand and not self.guest.frozen

    def starve(self) -> None:
        """The scratch file of the open job is full when the guest writes next."""
        self.paused = self.job is not None

    def give_up(self) -> None:
        """The job ends, at 80 % of its scratch or because its agent wants it so, and the guest runs."""
        self.job, self.paused = None, False

    def kill(self) -> None:
        """SIGKILL of QEMU."""
        self._end(cleanly=False)

    def stop(self) -> None:
        """A clean end: power-off, SIGTERM, managed save."""
        self._end(cleanly=True)

    def start(self) -> None:
        """QEMU again, with what the images hold."""
        self.session += not self.running
        self.running, self.frozen, self.paused = True, False, False

    def freeze(self) -> None:
        """QEMU answers nothing any more."""
        self.frozen = self.running

    def define_anew(self) -> None:
        """Undefine and define: libvirt's checkpoints are gone, the bitmaps are not."""
        self.checkpoints.clear()

    def resize(self, target: str, size: int) -> bool:
        """Grow a disk; not while a job is open (`Device is in use`)."""
        if self.job is not None or target not in self.disks or size <= self.disks[target].size:
            return False
        self.disks[target].grow(size)
        return True

    def add(self, target: str, disk: SimDisk) -> bool:
        """Plug a disk in."""
        if target in self.disks or self.job is not None:
            return False
        self.disks[target] = disk
        return True

    def remove(self, target: str) -> bool:
        """Unplug a disk; the last one stays."""
        if self.job is not None or target not in self.disks or len(self.disks) == 1:
            return False
        del self.disks[target]
        return True

    def provable(self, checkpoint: str, target: str) -> bool:
        """Whether libvirt can count the dirty bytes of a disk since a checkpoint."""
        covers = checkpoint in self.checkpoints and target in self.checkpoints[checkpoint]
        return covers and target in self.disks and self.disks[target].good(checkpoint)

    def forget(self, checkpoint: str) -> None:
        """Delete a checkpoint and its bitmaps, however they are."""
        if checkpoint in self.checkpoints:
            self.on_drop(checkpoint)
            del self.checkpoints[checkpoint]
        for disk in self.disks.values():
            disk.bitmaps.pop(checkpoint, None)

    def begin(self, checkpoint: str, bases: Mapping[str, str | None]) -> SimJob:
        """Take a checkpoint and open a job; without any effect when it fails."""
        self.pass_time()
        self.clock.sleep(self.begin_seconds)
        if self.refuses_checkpoints:
            raise Failed("begin a cycle", "an internal snapshot is being taken")
        if self.job is not None:
            self.clock.sleep(LOCK_SECONDS)
            raise Failed("begin a cycle", "cannot acquire state change lock")
        strangers = set(bases) - set(self.disks)
        if strangers:
            raise Failed("begin a cycle", f"no disk {sorted(strangers)}")
        if checkpoint in self.checkpoints or any(checkpoint in disk.bitmaps for disk in self.disks.values()):
            raise Failed("begin a cycle", f"Bitmap already exists: {checkpoint}")
        for target, base in bases.items():
            if base is not None and not self.provable(base, target):
                raise Failed("begin a cycle", f"missing or broken bitmap {base} of {target}")
        begun = self.clock.now_us()
        while begun in self.instants:
            begun += 1
        dirty = {t: None if base is None else set(self.disks[t].bitmaps[base].dirty) for t, base in bases.items()}
        frozen = {target: disk.frozen() for target, disk in self.disks.items()}
        content = {target: one.content for target, one in frozen.items()}
        number, at = len(self.instants), self.clock.monotonic()
        self.instants[begun] = Instant(number, self.guest.frozen, content, at)
        if tracked := frozenset(target for target in bases if self.disks[target].tracked):
            for target in tracked:
                self.disks[target].bitmaps[checkpoint] = Bitmap()
            self.checkpoints[checkpoint] = tracked
        self.taken[checkpoint] = begun
        self.job = SimJob(self, frozen, dirty, dict(bases), checkpoint, (begun, max(begun, self.clock.now_us())))
        return self.job

    def answer(self, operation: str) -> None:
        """Unknown after half a minute when QEMU does not answer."""
        if self.frozen:
            self.clock.sleep(LOCK_SECONDS)
            raise Unknown(operation, "QEMU does not answer")

    def pass_time(self) -> None:
        """The guest goes on meanwhile: what is in `during` happens, one entry at a time."""
        if self.during:
            self.during.pop(0)()

    def _end(self, *, cleanly: bool) -> None:
        if self.running:
            self.running, self.job = False, None
            self.guest.rebooted()
            self.processors.rebooted()
            for disk in self.disks.values():
                disk.close(cleanly=cleanly)


def _nobody(_checkpoint: str) -> None:
    """Nobody watches."""


class SimJob:
    """An open job.  `carried` is what its reader has asked for or was told to be zeros, by disk, as (start, end)."""

    def __init__(
        self,
        hypervisor: SimHypervisor,
        frozen: Mapping[str, FrozenDisk],
        dirty: Mapping[str, set[int] | None],
        bases: Mapping[str, str | None],
        checkpoint: str,
        instant: tuple[int, int],
    ) -> None:
        self.begun_us, self.taken_us = instant
        self.frozen = frozen
        self.bases = bases
        self.checkpoint = checkpoint
        self.carried: dict[str, list[tuple[int, int]]] = {target: [] for target in bases}
        self.dirty = dirty
        self._hypervisor = hypervisor

    @property
    def open(self) -> bool:
        """Whether it is still there."""
        return self._hypervisor.job is self

    def answer(self, operation: str) -> None:
        """Unknown when QEMU does not answer."""
        self._hypervisor.answer(operation)

    def end(self) -> None:
        """Abort, which is the normal end."""
        if self.open:
            self._hypervisor.give_up()

    def extents(self, target: str) -> Iterator[Extent]:
        """What differs from the base of a disk."""
        for extent in self.frozen[target].extents(self.dirty[target]):
            if extent.kind is ExtentKind.ZERO:
                self.carried[target].append((extent.offset, extent.end))
            yield extent

    def whole(self, target: str) -> Iterator[Extent]:
        """All of a disk."""
        for extent in self.frozen[target].extents(None):
            if extent.kind is ExtentKind.ZERO:
                self.carried[target].append((extent.offset, extent.end))
            yield extent

    def read(self, target: str, offset: int, length: int) -> memoryview:
        """Bytes from the instant, whatever the guest writes meanwhile."""
        self._hypervisor.pass_time()
        self._hypervisor.answer(f"reading {target}")
        if not self.open:
            raise Failed(f"reading {target}", "the export is gone")
        if not 0 < length <= CHUNK:
            raise RuntimeError(f"a read of {length} bytes")
        self.carried[target].append((offset, offset + length))
        return memoryview(self.frozen[target].read(offset, length))


class SimBackups:
    """The Backups port as one agent sees it: every call may fail before its effect, or lose its answer after it."""

    def __init__(self, hypervisor: SimHypervisor, process: Process) -> None:
        self._hypervisor = hypervisor
        self._process = process

    def machine(self, domain: str) -> Machine:
        """The domain's shape."""
        hypervisor = self._ask("machine", domain)
        disks = tuple(
            Disk(target=target, path=f"/images/{target}.qcow2", format="qcow2", size_bytes=disk.size)
            for target, disk in hypervisor.disks.items()
        )
        self._answer("machine")
        return Machine(name=domain, uuid=_UUID, memory_mib=64, vcpus=1, disks=disks, nics=())

    def without_bitmap(self, domain: str) -> frozenset[str]:
        """Disks that can hold no bitmap."""
        hypervisor = self._ask("without_bitmap", domain)
        found = frozenset(target for target, disk in hypervisor.disks.items() if not disk.tracked)
        self._answer("without_bitmap")
        return found

    def provable(self, domain: str, checkpoint: str) -> Mapping[str, int]:
        """Disks whose bitmap can be counted, and how much it counts."""
        hypervisor = self._ask("provable", domain)
        if not hypervisor.running:
            raise Failed("prove a checkpoint", f"{domain} is off")
        found = {
            target: len(disk.bitmaps[checkpoint].dirty) * disk.granule
            for target, disk in hypervisor.disks.items()
            if hypervisor.provable(checkpoint, target)
        }
        self._answer("provable")
        return found

    def lineage(self, domain: str) -> Mapping[str, str]:
        """Which QEMU has the images open."""
        hypervisor = self._ask("lineage", domain)
        if not hypervisor.running:
            raise Failed("look at the images", f"{domain} is off")
        self._answer("lineage")
        return dict.fromkeys(hypervisor.disks, f"QEMU {hypervisor.session}")

    def checkpoints(self, domain: str, prefix: str) -> tuple[str, ...]:
        """Names, oldest first."""
        hypervisor = self._ask("checkpoints", domain)
        found = tuple(name for name in hypervisor.checkpoints if name.startswith(prefix))
        self._answer("checkpoints")
        return found

    def drop(self, domain: str, checkpoint: str) -> None:
        """Delete a checkpoint."""
        hypervisor = self._ask("drop", domain)
        if not hypervisor.running:
            raise Failed("drop a checkpoint", f"{domain} is off")
        hypervisor.forget(checkpoint)
        self._answer("drop")

    def drop_all(self, domain: str, prefix: str) -> None:
        """Delete our checkpoints, also of a domain that is off."""
        hypervisor = self._ask("drop_all", domain)
        for name in [one for one in hypervisor.checkpoints if one.startswith(prefix)]:
            hypervisor.forget(name)
        self._answer("drop_all")

    def begin(self, domain: str, checkpoint: str, bases: Mapping[str, str | None]) -> AgentJob:
        """Take a checkpoint and open a job."""
        hypervisor = self._ask("begin", domain)
        if not hypervisor.running:
            raise Failed("begin a cycle", f"{domain} is off")
        job = AgentJob(hypervisor.begin(checkpoint, bases), self._process)
        self._answer("begin")
        return job

    def abort_leftover(self, domain: str) -> bool:
        """End a job that a dead agent left."""
        hypervisor = self._ask("abort_leftover", domain)
        found = hypervisor.job is not None
        hypervisor.give_up()
        self._answer("abort_leftover")
        return found

    def _ask(self, operation: str, domain: str) -> SimHypervisor:
        if self._process.armed:
            self._process.ask(f"libvirt {operation}", domain)
        if not self._hypervisor.reachable:
            raise Unreachable("libvirt", "qemu:///system", "connection refused")
        if domain != self._hypervisor.domain:
            raise Usage(f"no domain {domain}")
        if operation != "machine":
            self._hypervisor.answer(operation)
        return self._hypervisor

    def _answer(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"libvirt answer {operation}", "")


class AgentJob:
    """An open job in the hands of the agent that began it (the BackupJob port)."""

    def __init__(self, job: SimJob, process: Process) -> None:
        self.begun_us, self.taken_us = job.begun_us, job.taken_us
        self.job = job
        self._process = process

    def extents(self, disk: str) -> Iterable[Extent]:
        """What differs from the base."""
        self._ask("extents", disk)
        return self._listed(disk) if self._process.armed else self.job.extents(disk)

    def whole(self, disk: str) -> Iterable[Extent]:
        """All of a disk."""
        self._ask("extents", disk)
        return self.job.whole(disk)

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Bytes of a range."""
        self._ask("read", disk)
        data = self.job.read(disk, offset, length)
        if self._process.armed and self._process.spoils("nbd short", disk):
            return data[: length // 2]
        return data

    def _listed(self, disk: str) -> Iterator[Extent]:
        """The list of extents may break off in its middle."""
        for extent in self.job.extents(disk):
            self._process.ask_for("nbd list", disk)
            yield extent

    def witness(self, disk: str) -> str:
        """SHA-256 of all of it."""
        self._ask("witness", disk)
        return self.job.frozen[disk].content.sha256()

    def size(self, disk: str) -> int:
        """Bytes at the instant."""
        return self.job.frozen[disk].content.size

    def end(self) -> None:
        """End the job; a second time is fine."""
        if self.job.open:
            self._ask("end", "")
            self.job.answer("end a cycle")
            self.job.end()

    def _ask(self, operation: str, disk: str) -> None:
        if self._process.armed:
            self._process.ask(f"libvirt {operation}" if operation == "end" else f"nbd {operation}", disk)
