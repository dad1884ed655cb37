"""The source role: one thread per protected item, cycles at their interval, and what the host tells of itself."""

from __future__ import annotations

import logging
import platform
import secrets
import string
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from drill.errors import Damaged, DrillError, Refused, Unreachable, Usage
from drill.host import bridges
from drill.host.clock import HostClock
from drill.host.files import LocalFiles
from drill.host.lanes import ThreadLanes
from drill.hypervisor import picture
from drill.hypervisor.backup import LibvirtBackups
from drill.hypervisor.connection import Connection
from drill.hypervisor.freezer import LibvirtFreezer
from drill.model.point import CycleRecord, HostPicture, ItemState, ItemStatus, Point, ProtectionOrder
from drill.model.seed import Seed
from drill.ports import Backups, Clock, Files, Freezer, Lanes, SourceAgent
from drill.replication import names
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.exporting import export
from drill.replication.journal import Journal, JournalFile, Seeding
from drill.replication.quiesce import HOURS_MAX, HOURS_MIN
from drill.replication.seeding import SeedMedium
from drill.transport.client import receiver_at
from drill.transport.service import Service
from drill.wiring import seeding
from drill.wiring.seeding import Copies

T = TypeVar("T")
BUSY_SECONDS = 30.0
CYCLES_KEPT = 64
RETRY_SECONDS = 30.0
"""A cycle that failed is repeated after this long, or at its interval, whichever is sooner."""
log = logging.getLogger("drill.agent.source")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWorld:
    """The ports all items share."""

    backups: Backups
    freezer: Freezer
    files: Files
    clock: Clock
    lanes: Lanes


class Worker:
    """One item: its cycles run in a thread of its own, and no error ever ends that thread."""

    def __init__(self, world: SourceWorld, file: JournalFile, journal: Journal) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._stopped = False
        self._wake = threading.Event()
        self._cycles: deque[CycleRecord] = deque(maxlen=CYCLES_KEPT)
        self._missed = 0
        self._last_error = ""
        self._source = self._make(file, journal)
        self._file = file
        self._thread = threading.Thread(target=self._run, name=f"item {journal.order.item}", daemon=True)

    @property
    def order(self) -> ProtectionOrder:
        """What is replicated."""
        return self._source.journal.order

    def start(self) -> None:
        """Begin with a cycle at once."""
        self._thread.start()

    def stop(self) -> None:
        """Return when no cycle is running and none will begin."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def change(self, order: ProtectionOrder) -> None:
        """Go on under another receiver or interval."""
        with self._lock:
            self._source.save(replace(self._source.journal, order=order))
            self._source = self._make(self._file, self._source.journal)
        self._wake.set()

    def cycle(self, *, witness: bool, application_consistent: bool) -> Point:
        """One cycle now, after the one that may be running."""
        with self._lock:
            if self._stopped:
                raise Refused(f"item {self.order.item} is no longer protected")
            witness = witness or self.order.witness
            return self._cycle(witness=witness, application_consistent=application_consistent)

    def seeded(self, work: Callable[[ItemSource, SourcePorts], T]) -> T:
        """Do something with the item's first copy while no cycle runs; Refused when one does for too long."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise Refused(f"item {self.order.item} is being copied", "H2", "wait for the cycle, or unprotect the item")
        try:
            return work(self._source, self._ports)
        finally:
            self._lock.release()
            self._wake.set()

    def end(self) -> None:
        """Stop, drop our checkpoints, delete the journal."""
        self.stop()
        with self._lock:
            self._source.end()

    def status(self) -> ItemStatus:
        """What is observed now; does not wait for a running cycle."""
        journal = self._source.journal
        known = journal.acknowledged
        return ItemStatus(
            item=journal.order.item,
            domain=journal.order.domain,
            state=_state(journal, self._last_error),
            epoch=known.point.epoch if known else "",
            acknowledged_sequence=known.point.sequence if known else 0,
            last_point=known.point if known else None,
            last_error=self._last_error,
            cycles=tuple(self._cycles),
            missed_cycles=self._missed,
            application_failures=self._source.interval.failures,
            application_reason=self._source.interval.reason,
        )

    def _make(self, file: JournalFile, journal: Journal) -> ItemSource:
        world = self._world
        self._ports = ports = SourcePorts(
            backups=world.backups,
            freezer=world.freezer,
            link=receiver_at(journal.order.receiver),
            files=world.files,
            clock=world.clock,
            lanes=world.lanes,
            nonce=_nonce,
        )
        return ItemSource(ports, file, journal)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped:
            if self._wake.wait(max(0.0, due - time.monotonic())):
                self._wake.clear()
                due = min(due, time.monotonic() + self.order.interval_seconds)
                continue
            if not self._lock.acquire(blocking=False):
                self._missed += 1
            else:
                try:
                    if not self._went_well():
                        due = min(due, time.monotonic() - self.order.interval_seconds + RETRY_SECONDS)
                finally:
                    self._lock.release()
            due += self.order.interval_seconds
            while due < time.monotonic():
                self._missed += 1
                due += self.order.interval_seconds

    def _went_well(self) -> bool:
        """One cycle; whatever it raises is said in the log and in the status."""
        try:
            self._cycle(witness=self.order.witness, application_consistent=False)
        except DrillError as error:
            log.warning("cycle failed: item=%s error=%s message=%s", self.order.item, error.id, error)
        except Exception:
            log.exception("cycle failed unexpectedly: item=%s", self.order.item)
        return not self._last_error

    def _cycle(self, *, witness: bool, application_consistent: bool) -> Point:
        try:
            point, record = self._source.cycle(witness=witness, application_consistent=application_consistent)
        except Exception as error:
            self._last_error = str(error) if isinstance(error, DrillError) else f"{type(error).__name__}: {error}"
            raise
        self._last_error = ""
        self._cycles.append(record)
        log.info(
            "point sealed: item=%s epoch=%s sequence=%d sent_bytes=%d seconds=%.3f",
            point.item,
            point.epoch,
            point.sequence,
            point.sent_bytes,
            record.total_seconds,
        )
        if alarm := self._source.interval.alarm:
            log.warning("no application-consistent point: item=%s reason=%s", point.item, alarm)
        return point


class SourceRole:
    """drill.ports.SourceAgent on this host."""

    def __init__(self, world: SourceWorld, connection: Connection, host: str) -> None:
        self._world = world
        self._connection = connection
        self._host = host
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._copies = Copies()

    def resume(self) -> None:
        """Take up every order that an earlier process was given."""
        for item in self._world.files.list(""):
            if item.startswith("."):
                continue
            file = JournalFile(self._world.files, item)
            try:
                journal = file.load()
            except Damaged as error:
                log.error("item not taken up, protect it again: item=%s message=%s", item, error)
                continue
            if journal is not None and not journal.ended:
                self._add(file, journal)

    def protect(self, order: ProtectionOrder) -> None:
        """Take an order; checked before it is written down.  Another interval or receiver replaces the old one."""
        names.item(order.item)
        if order.interval_seconds < 1:
            raise Usage(f"an interval of {order.interval_seconds} s", "30, 300 or 900 seconds are usual")
        _check_application_interval(order.application_consistent_every_seconds)
        receiver_at(order.receiver)
        self._world.backups.machine(order.domain)
        with self._lock:
            worker = self._workers.get(order.item)
            if worker is None:
                self._begin(order)
            elif worker.order.domain != order.domain:
                raise Refused(f"item {order.item} is domain {worker.order.domain}", cure="unprotect it first")
            elif worker.order != order:
                worker.change(order)

    def export_seed(self, order: ProtectionOrder, folder: str) -> Seed:
        """Write the first copy to a medium; an item that is not replicated yet begins to wait for it."""
        names.item(order.item)
        machine = self._world.backups.machine(order.domain)
        location = seeding.export_location(folder, self._world.files.locate(""), machine)
        with self._lock:
            worker = self._workers.get(order.item) or self._begin(order, Seeding(written=False))
        if worker.order.domain != order.domain:
            raise Refused(f"item {order.item} is domain {worker.order.domain}", cure="unprotect it first")
        medium = SeedMedium(location, order.domain, self._copies.begun(order.item))

        def work(source: ItemSource, ports: SourcePorts) -> Seed:
            return export(source, ports, medium, _known_head(ports, order.item), witness=order.witness)

        try:
            return worker.seeded(work)
        finally:
            self._copies.ended(order.item)

    def cancel_seed(self, item: str) -> None:
        """The next cycle copies over the network."""

        def work(source: ItemSource, ports: SourcePorts) -> None:
            del ports
            if source.journal.seeding is not None:
                source.save(replace(source.journal, seeding=None, pending=None))

        self._worker(item).seeded(work)

    def seed_progress(self, item: str) -> tuple[int, int]:
        """How far an export is."""
        return self._copies.of(item)

    def unprotect(self, item: str) -> None:
        """Stop replicating an item and drop our checkpoints; the replica stays."""
        names.item(item)
        with self._lock:
            worker = self._workers.pop(item, None)
        if worker is None:
            file = JournalFile(self._world.files, item)
            journal = file.load()
            if journal is None:
                return
            worker = Worker(self._world, file, journal)
        worker.end()

    def cycle(self, item: str, *, witness: bool, application_consistent: bool = False) -> Point:
        """Replicate now."""
        return self._worker(item).cycle(witness=witness, application_consistent=application_consistent)

    def status(self, item: str) -> ItemStatus:
        """What is observed now."""
        return self._worker(item).status()

    def items(self) -> tuple[ItemStatus, ...]:
        """All items, sorted."""
        with self._lock:
            workers = sorted(self._workers.items())
        return tuple(worker.status() for _, worker in workers)

    def picture(self) -> HostPicture:
        """Everything on this host that a drill might leave behind."""
        return picture.take(
            self._connection,
            host=self._host,
            taken_us=self._world.clock.now_us(),
            interfaces=bridges.interfaces(),
            firewall=bridges.guards(),
        )

    def kernel(self) -> str:
        """The release of this host's kernel."""
        return platform.release()

    def guard(self, bridge: str) -> None:
        """Cut a bridge off from this host."""
        bridges.guard(bridge)

    def unguard(self, bridge: str) -> None:
        """Take the guard away."""
        bridges.unguard(bridge)

    def bridge_members(self, bridge: str) -> tuple[str, ...]:
        """Interfaces enslaved to a bridge."""
        return bridges.bridge_members(bridge)

    def reach(self, address: str, port: int, timeout_seconds: float) -> bool:
        """Whether a TCP connection from here succeeds."""
        return bridges.reach(address, port, timeout_seconds)

    def _begin(self, order: ProtectionOrder, seeding: Seeding | None = None) -> Worker:
        """A new journal; one that was being ended is replaced, and its checkpoints become litter of the first look."""
        file = JournalFile(self._world.files, order.item)
        with suppress(Damaged):  # nothing is built upon it
            file.load()
        journal = Journal(order=order, seeding=seeding)
        file.save(journal)
        return self._add(file, journal)

    def _add(self, file: JournalFile, journal: Journal) -> Worker:
        worker = Worker(self._world, file, journal)
        self._workers[journal.order.item] = worker
        worker.start()
        return worker

    def _worker(self, item: str) -> Worker:
        with self._lock:
            worker = self._workers.get(item)
        if worker is None:
            raise Usage(f"this agent does not replicate item {item}", "protect it first")
        return worker


def source_service(state_folder: str, uri: str, host: str) -> Service:
    """The source role of the host whose libvirt is at `uri`; what it was told before is taken up at once."""
    connection, clock = Connection(uri), HostClock()
    world = SourceWorld(
        backups=LibvirtBackups(connection, clock),
        freezer=LibvirtFreezer(connection),
        files=LocalFiles(state_folder),
        clock=clock,
        lanes=ThreadLanes(6, 10),
    )
    role = SourceRole(world, connection, host)
    role.resume()
    agent: SourceAgent = role
    return Service("source", (SourceAgent,), agent)


def _check_application_interval(seconds: int) -> None:
    """Usage unless application-consistent points are off or 1 to 12 hours apart (spec E6)."""
    if seconds and not HOURS_MIN * 3600 <= seconds <= HOURS_MAX * 3600:
        raise Usage(f"application-consistent points every {seconds} s", f"{HOURS_MIN} to {HOURS_MAX} hours, or none")


def _known_head(ports: SourcePorts, item: str) -> Point | None:
    """The receiver's head; none where it cannot be asked, for a seed may be carried to where no network leads yet."""
    try:
        return ports.link.head(item)
    except Unreachable:
        return None


def _nonce() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def _state(journal: Journal, last_error: str) -> ItemState:
    if journal.acknowledged is None:
        return ItemState.ERROR if last_error and journal.seeding is None else ItemState.INITIAL_REPLICATION
    if last_error:
        return ItemState.ERROR
    return ItemState.RESYNCHRONIZING if journal.owed else ItemState.REPLICATING
