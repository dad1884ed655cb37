"""The shipped engine on simulated ports: one item, its source process, its receiver process, and what can befall them.

Everything below the ports is simulated, everything above is what ships: `ItemSource` and `JournalFile` on one side,
`Store`, `Receiver` and `ReceiverRole` on the other.  Only the thread that calls a cycle when it is due is left out: a
step calls it instead.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from drill.errors import Damaged, DrillError, Unknown, Unreachable
from drill.fuzz.keeping import Keeping
from drill.fuzz.neighbours import Neighbour
from drill.fuzz.papers import Papers
from drill.model.cycle import LogHeader
from drill.model.point import Point, ProtectionOrder
from drill.replication import manifest, reserve
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.grants import GrantFiles
from drill.replication.journal import NAME, Journal, JournalFile
from drill.replication.manifest import SealedPoint
from drill.replication.receiver import Receiver
from drill.replication.store import Store
from drill.sim.clock import SimClock
from drill.sim.content import PAGE, Content
from drill.sim.disk import SimDisk
from drill.sim.files import SimFiles
from drill.sim.guest import SimFreezer
from drill.sim.hypervisor import SimBackups, SimHypervisor
from drill.sim.images import SimImages
from drill.sim.inode import Folder
from drill.sim.lanes import OneLane
from drill.sim.network import SimLink, SimNetwork
from drill.sim.process import Killed, Process
from drill.wiring.receiving import ReceiverRole

APPLICATION_SECONDS = 3600
ITEM = "3f0c9a52-0000-4000-8000-000000000001"
DOMAIN = "vm"
SOURCE, RECEIVER = "source", "receiver"
POINTS_MAX = Keeping().most
RESERVE_BYTES = 16 * PAGE
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A disk as a walk begins with it; sizes in bytes."""

    target: str
    size: int
    granule: int
    cluster: int
    tracked: bool = True

    def disk(self) -> SimDisk:
        """The empty disk."""
        return SimDisk(self.size, granule=self.granule, cluster=self.cluster, tracked=self.tracked)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the receiver stands on where that is not simulated."""

    files: SimFiles
    runs: SimFiles
    images: SimImages


class World:
    """Both sides.  `noted` counts faults that happened; `salt` reseeds the simulator's choices."""

    def __init__(self, disks: Sequence[DiskPlan], noted: Counter[str], ground: Ground | None = None) -> None:
        self.noted = noted
        self.happened: set[str] = set()
        self.on_offer: Callable[[LogHeader], None] = _nobody
        self.rng = Random(0)  # noqa: S311 - a simulation must repeat itself
        self.clock = SimClock()
        self.plans = {plan.target: plan for plan in disks}
        self.hypervisor = SimHypervisor(DOMAIN, {plan.target: plan.disk() for plan in disks}, self.clock)
        self.hypervisor.guest.noted = self.note
        self.processes = {SOURCE: Process(self.note), RECEIVER: Process(self.note)}
        self.files = {
            SOURCE: SimFiles(self.processes[SOURCE], self.rng, "source"),
            RECEIVER: SimFiles(self.processes[RECEIVER], self.rng, "store"),
        }
        self.runs = SimFiles(self.processes[RECEIVER], self.rng, "runs")
        self.images = SimImages({"store": self.files[RECEIVER], "runs": self.runs})
        if ground is not None:
            self.files[RECEIVER], self.runs, self.images = ground.files, ground.runs, ground.images
        self.papers = Papers(ITEM, self.clock.now_us, self.note)
        self.network = SimNetwork(_Taker(self), self.rng, self.note, self.clock.sleep, self.papers.arrive)
        self.on_rival: Callable[[], object] = _nothing
        self._rival: ItemSource | None = None
        self.copies: dict[str, dict[str, Folder]] = {}
        self.neighbours: list[Neighbour] = []
        self.source: ItemSource | None = None
        self.store: Store | None = None
        self.receiver: Receiver | None = None
        self.role: ReceiverRole | None = None
        self.protected = True
        self._nonces = 0

    def note(self, kind: str) -> None:
        """Count a fault that happened."""
        self.noted[kind] += 1
        self.happened.add(kind)

    def reseed(self, salt: int) -> None:
        """The simulator's choices from here on depend on `salt` alone."""
        self.rng.seed(salt)

    def start(self, side: str) -> None:
        """A fresh process; what it reads at its start may fail or kill it like anything else."""
        self.stop(side)
        process = self.processes[side] = Process(self.note)
        self.files[side].process = process
        if side == RECEIVER:
            self.runs.process = process

    def open(self, side: str) -> None:
        """What a process does first: the receiver opens its store, the source takes up its journal."""
        if side == RECEIVER:
            self.store = Store.claimed(self.files[RECEIVER], self.clock, OneLane(), POINTS_MAX, RESERVE_BYTES)
            self.receiver = Receiver(self.store, self.images, self.runs)
            self.role = ReceiverRole(self.store, self.receiver, GrantFiles(self.files[RECEIVER]))
            self.receiver.points(ITEM)
        else:
            self._take_up()

    def stop(self, side: str) -> None:
        """The process is gone."""
        self.processes[side].kill()
        if side == SOURCE:
            for host in (self.hypervisor, *(one.hypervisor for one in self.neighbours)):
                host.guest.parent_died()
                host.processors.parent_died()
            self.source = None
        else:
            self.store = self.receiver = self.role = None

    def second_receiver(self, work: Callable[[], object]) -> None:
        """A second process opens the receiver's store, and while `work` goes on logs come to it; then it is gone.

        Refused, without `work`, where the store does not let it in.
        """
        files, first = self.files[RECEIVER], self.processes[RECEIVER]
        served = self.store, self.receiver, self.role
        second = self.processes[RECEIVER] = files.process = Process(_nobody)
        try:
            self.open(RECEIVER)
            work()
        finally:
            second.kill()
            self.processes[RECEIVER] = files.process = first
            self.store, self.receiver, self.role = served

    def protect(self) -> None:
        """An order to replicate, given to a source that has none of this item."""
        if self.source is not None:
            return
        file = JournalFile(self.files[SOURCE], ITEM)
        try:
            file.load()
        except Damaged:
            self.note("journal given up")
        order = ProtectionOrder(
            item=ITEM,
            domain=DOMAIN,
            receiver="-",
            interval_seconds=30,
            application_consistent_every_seconds=APPLICATION_SECONDS,
        )
        file.save(Journal(order=order))
        self.source = self.make_source(file, Journal(order=order))

    def rival_cycle(self) -> str:
        """A cycle of a second agent, which was told to replicate the same item and has a state of its own."""
        if self._rival is None:
            process = Process(_nobody)
            files = SimFiles(process, self.rng, "rival")
            file = JournalFile(files, ITEM)
            order = ProtectionOrder(item=ITEM, domain=DOMAIN, receiver="-", interval_seconds=30)
            file.save(Journal(order=order))
            self._rival = self.make_source(file, Journal(order=order), process, files)
        rival = self._rival
        return outcome_of(lambda: rival.cycle(witness=False))

    def returned_source(self) -> ItemSource | None:
        """The source as it knows itself now, on a host of its own with the disks as they are: an old primary."""
        process = Process(_nobody)
        files = SimFiles(process, self.rng, "returned")
        files.put_back(self.files[SOURCE].copied())
        file = JournalFile(files, ITEM)
        if outcome_of(file.load) != "done" or (journal := file.load()) is None or journal.ended:
            return None
        disks = {target: disk.twin() for target, disk in self.hypervisor.disks.items()}
        host = SimHypervisor(DOMAIN, disks, SimClock())
        return self.make_source(file, journal, process, files, host)

    def spare(self) -> SimDisk:
        """A disk that is not plugged in."""
        return SimDisk(64 * 1024, granule=65536, cluster=65536)

    def points(self) -> tuple[SealedPoint, ...]:
        """What the receiver serves now; raises what it raises, Unreachable when it is down."""
        if self.store is None:
            raise Unreachable("the receiver", "peer:8084", "it is down")
        return self.store.points(ITEM)

    def contents(self, points: Sequence[SealedPoint]) -> list[tuple[Point, Mapping[str, Content]]]:
        """Every point with what a guest would read from its disks; without disks where the store calls it damaged."""
        folder = f"/store/{ITEM}/"
        whole = [sealed for sealed in points if not sealed.damaged]
        read = self.images.contents((folder + disk.file, disk.format) for sealed in whole for disk in sealed.disks)
        return [
            (sealed.point, {} if sealed.damaged else {disk.target: read[folder + disk.file] for disk in sealed.disks})
            for sealed in points
        ]

    def clear_runs(self) -> None:
        """Test failovers are over: nothing of them is left."""
        self.runs.empty()

    def readable(self, points: Sequence[SealedPoint]) -> list[tuple[Point, Mapping[str, Content | None]]]:
        """The same where some of it rotted: None for what cannot be read at all."""
        found: list[tuple[Point, Mapping[str, Content | None]]] = []
        for sealed in points:
            disks: dict[str, Content | None] = {}
            for disk in sealed.disks:
                try:
                    disks[disk.target] = self.images.content(f"/store/{ITEM}/{disk.file}", disk.format)
                except (DrillError, ValueError, IndexError, struct.error):
                    disks[disk.target] = None
            found.append((sealed.point, disks))
        return found

    def orphans(self, points: Sequence[SealedPoint]) -> frozenset[str]:
        """Files of the store that none of its points needs."""
        needed = {f"{ITEM}/{name}" for name in (manifest.NAME, manifest.SCRUB)}
        below = [(f"{ITEM}/{disk.file}", disk.format) for point in points for disk in point.disks]
        while below:
            path, kind = below.pop()
            facts = self.images.describe(f"/store/{path}", kind)
            if path not in needed and facts.backing:
                below.append((f"{ITEM}/{facts.backing}", facts.backing_format or "raw"))
            needed.add(path)
        targets = {disk.target for disk in points[-1].disks} if points else set()
        return frozenset(
            path
            for path in self.files[RECEIVER].paths() - needed
            if path != reserve.NAME
            and ("/digests/" not in path or path.rpartition("/")[2].split(".")[0] not in targets)
        )

    def reserved(self) -> int | None:
        """Pages that the receiver keeps for the day on which its disk is full; fewer than all of them where it was cut
        short in taking them, None where it has none."""
        files = self.files[RECEIVER]
        return len(files.inode(reserve.NAME).pages) if reserve.NAME in files.paths() else None

    def has_reserve(self) -> bool:
        """Whether the receiver can do what must work on a full disk: with a whole reserve, and nothing else wrong."""
        files, process = self.files[RECEIVER], self.processes[RECEIVER]
        hindered = process.armed or files.read_only or files.failed_syncs
        return files.room is not None and self.reserved() == RESERVE_BYTES // PAGE and not hindered

    def named(self) -> frozenset[str]:
        """Files that the manifest names: of those that no point needs any more, upkeep lets go in time."""
        found = manifest.peek(self.files[RECEIVER], ITEM)
        return frozenset(f"{ITEM}/{name}" for name in found.value.files) if found else frozenset()

    def journal_is_certain(self) -> bool:
        """Whether a power failure on the source would leave its journal as it is."""
        return self.files[SOURCE].certain(f"{ITEM}/{NAME}")

    def fingerprint(self, side: str = "", instead: SimFiles | None = None) -> int:
        """A number for all that is durable on both sides, and for what libvirt has; `instead` of a side's files."""
        every = {**self.files, side: instead} if instead else self.files
        files = [(side, path, found.fingerprint(path)) for side, found in every.items() for path in found.paths()]
        bitmaps = [(name, *disk.bitmaps) for name, disk in self.hypervisor.disks.items()]
        return hash((frozenset(files), tuple(self.hypervisor.checkpoints), tuple(bitmaps)))

    def close(self) -> None:
        """Nobody needs it any more: let go of what refers back, so that no collector must look for it."""
        self.source = self.store = self.receiver = self.role = self._rival = None
        self.neighbours.clear()
        self.on_rival = _nothing
        self.on_offer = self.hypervisor.on_drop = self.hypervisor.guest.noted = _nobody
        self.hypervisor.during, self.hypervisor.job = [], None
        for process in self.processes.values():
            process.noted = _nobody
        self.network.close()

    def _take_up(self) -> None:
        file = JournalFile(self.files[SOURCE], ITEM)
        try:
            journal = file.load()
        except Damaged:
            return
        if journal is not None and not journal.ended:
            self.source = self.make_source(file, journal)

    def make_source(
        self,
        file: JournalFile,
        journal: Journal,
        process: Process | None = None,
        files: SimFiles | None = None,
        host: SimHypervisor | None = None,
    ) -> ItemSource:
        """The engine's source over this world's ports."""
        return ItemSource(self.source_ports(process or self.processes[SOURCE], files, host), file, journal)

    def source_ports(
        self, process: Process, files: SimFiles | None = None, host: SimHypervisor | None = None
    ) -> SourcePorts:
        """The ports of a source that runs in a process."""
        host = host or self.hypervisor
        return SourcePorts(
            backups=SimBackups(host, process),
            freezer=SimFreezer(host.guest, process),
            link=SimLink(self.network, process),
            files=files or self.files[SOURCE],
            clock=self.clock,
            lanes=OneLane(),
            nonce=self.nonce,
        )

    def nonce(self) -> str:
        """A fresh string."""
        self._nonces += 1
        return f"n{self._nonces:07d}"


def _nobody(_: object) -> None:
    """Nobody watches."""


def _nothing() -> None:
    """Nothing happens."""


class _Taker:
    """The receiver process behind the network."""

    def __init__(self, world: World) -> None:
        self._world = world

    def head(self, item: str) -> Point | None:
        """The newest point."""
        self._world.papers.admit("head", item)
        return self._do(lambda role: role.head(item))

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests of chunks of a disk of the head."""
        return self._do(lambda role: role.chunks(item, epoch, sequence, disk, first, count))

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests of chunks of a disk of the head."""
        return self._do(lambda role: role.leaves(item, epoch, sequence, disk, chunks))

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Pages of a disk of the head that rotted."""
        return self._do(lambda role: role.rotten(item, epoch, sequence, disk))

    def accept(self, header: LogHeader) -> None:
        """Look at a header, as the first half of `receive` does."""
        self._world.papers.send(header)
        self._world.on_offer(header)
        store = self._world.store
        self._do(lambda _: store.accept(header) if store is not None else None)

    def receive(self, header: LogHeader, source: Callable[[int], bytes | memoryview]) -> Point:
        """Take a log."""
        self._world.papers.send(header)
        return self._do(lambda role: role.receive(header, lambda: None, source))

    def _do(self, work: Callable[[ReceiverRole], T]) -> T:
        """As the agent's service does: what is no error of ours is an outcome that nobody knows."""
        role = self._world.role
        if role is None:
            raise Unreachable("the agent's receiver role", "peer:8084", "connection refused")
        try:
            return work(role)
        except (OSError, MemoryError) as error:
            raise Unknown("receive", str(error)) from error


def outcome_of(work: Callable[[], object]) -> str:
    """What became of some work, in a word: `done`, the error's name, or `killed`."""
    try:
        work()
    except DrillError as error:
        return error.id
    except (OSError, MemoryError) as error:
        return type(error).__name__
    except Killed:
        return "killed"
    return "done"
