"""The receiver role: the store and its answers, one request per item at a time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from drill.errors import Refused
from drill.host.clock import HostClock
from drill.host.files import LocalFiles
from drill.host.lanes import ThreadLanes
from drill.hypervisor.images import QemuImages
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Identity
from drill.model.point import OverlayDisk, Point
from drill.model.retention import RetentionPolicy, StoreReport
from drill.ports import ReceiverAgent, ReceiverHead
from drill.replication.grants import GrantFiles
from drill.replication.receiver import Receiver
from drill.replication.reserve import RESERVE_BYTES
from drill.replication.store import LOCK, Store
from drill.transport.secure import Security
from drill.transport.service import LogTaker, Service
from drill.wiring import seeding
from drill.wiring.seeding import Copies

BUSY_SECONDS = 30.0
"""A request waits this long for the one before it on the same item; a log that takes longer is still arriving."""

PROOF_SECONDS = 600.0
"""A proof waits so long for a log that is arriving: it has all the time that a read of the point takes."""


class Locks:
    """One lock per item."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextmanager
    def held(self, item: str, seconds: float = BUSY_SECONDS) -> Iterator[None]:
        """Hold an item's lock; Refused when another request has it for longer than `seconds`."""
        with self._lock:
            lock = self._items[item]
        if not lock.acquire(timeout=seconds):
            raise Refused(f"item {item} is busy with another request", cure="try again later")
        try:
            yield
        finally:
            lock.release()


class ReceiverRole:
    """drill.ports.ReceiverAgent on this host, and what takes logs."""

    def __init__(self, store: Store, receiver: Receiver, grants: GrantFiles, own: tuple[str, ...] = ()) -> None:
        self._own = own  # folders that no medium may share its file system with
        self._copies = Copies()
        self._store = store
        self._receiver = receiver
        self._grants = grants
        self._granting = threading.Lock()
        self._locks = Locks()

    def points(self, item: str) -> tuple[Point, ...]:
        """Sealed points, oldest first."""
        with self._locks.held(item):
            return self._receiver.points(item)

    def head(self, item: str) -> Point | None:
        """The newest sealed point, once no log of the item is being received."""
        with self._locks.held(item):
            return self._receiver.head(item)

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests (hex) of chunks of a disk of the head."""
        with self._locks.held(item):
            return self._receiver.chunks(item, epoch, sequence, disk, first, count)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests (hex) of chunks of a disk of the head."""
        with self._locks.held(item):
            return self._receiver.leaves(item, epoch, sequence, disk, chunks)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Runs of pages of a disk of the head that rotted."""
        with self._locks.held(item):
            return self._receiver.rotten(item, epoch, sequence, disk)

    def kept(self, item: str) -> StoreReport:
        """Everything the store says of an item."""
        with self._locks.held(item):
            return self._receiver.kept(item)

    def lock(self, item: str, epoch: str, sequence: int, reason: str) -> None:
        """Keep a point until it is unlocked."""
        with self._locks.held(item):
            self._receiver.lock(item, epoch, sequence, reason)

    def unlock(self, item: str, epoch: str, sequence: int) -> None:
        """Leave a point to retention again."""
        with self._locks.held(item):
            self._receiver.unlock(item, epoch, sequence)

    def retain(self, item: str, policy: RetentionPolicy) -> None:
        """How long points of an item are kept."""
        with self._locks.held(item):
            self._receiver.retain(item, policy)

    def items(self) -> tuple[str, ...]:
        """Items that the store knows."""
        return self._receiver.items()

    def tend(self, item: str) -> bool:
        """One slice of what is due between cycles; Refused at once while the item is busy."""
        with self._locks.held(item, seconds=0.0):
            return self._receiver.tend(item)

    def scrub(self, item: str) -> bool:
        """One slice of the scrub that is due; Refused at once while the item is busy."""
        with self._locks.held(item, seconds=0.0):
            return self._receiver.scrub(item)

    def overlays(self, run: str, item: str, epoch: str, sequence: int) -> tuple[OverlayDisk, ...]:
        """Disks for a test failover."""
        with self._locks.held(item):
            return self._receiver.overlays(run, item, epoch, sequence)

    def remove_overlays(self, run: str) -> None:
        """Remove all disks of a run."""
        self._receiver.remove_overlays(run)

    def witness(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """What a foreign tool reads; sealed files never change, so no lock is held while it does."""
        return self._receiver.witness(item, epoch, sequence)

    def proof(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """(target, digest) per disk of a point as it is stored; logs are taken between the slices."""
        slices = self._receiver.proof(item, epoch, sequence)
        while True:
            with self._locks.held(item, PROOF_SECONDS):
                try:
                    next(slices)
                except StopIteration as end:
                    found: tuple[tuple[str, str], ...] = end.value
                    return found

    def import_seed(self, item: str, folder: str) -> Point:
        """Take an item's first copy from a medium."""
        grant = self.granted(item)
        with self._locks.held(item):
            return seeding.take_in(self._store, self._own, self._copies, item, folder, term=grant.term if grant else 1)

    def seed_progress(self, item: str) -> tuple[int, int]:
        """How far an import is; no lock is waited for."""
        return self._copies.of(item)

    def allow(self, item: str, sender: Identity, term: int) -> None:
        """Let one source, and no other, send an item's logs."""
        with self._granting, self._locks.held(item):
            self._grants.allow(Grant(item=item, sender=sender, term=term))
            if self._store.points(item):
                self._store.raise_term(item, max(term, self._store.term(item)))

    def grants(self) -> Mapping[str, Grant]:
        """Who may send what, by item."""
        return self._grants.all()

    def granted(self, item: str) -> Grant | None:
        """Who may send an item's logs."""
        return self._grants.all().get(item)

    def forget(self, item: str) -> None:
        """Delete the replica of an item."""
        with self._locks.held(item):
            self._receiver.forget(item)

    def receive(
        self, header: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]
    ) -> Point:
        """Take a log: checked against the head, then read, stored and sealed, all under the item's lock."""
        with self._locks.held(header.item):
            self._store.accept(header)
            ready()
            return self._store.receive(header, source)


def receiver_role(store_folder: str, runs_folder: str) -> ReceiverRole:
    """The receiver role over the store in `store_folder`, which this process has from here on; Refused when another
    has it."""
    files, folders = LocalFiles(store_folder), (store_folder, runs_folder)
    store = Store.claimed(files, HostClock(), ThreadLanes(2, 6), reserve_bytes=RESERVE_BYTES)
    receiver = Receiver(store, QemuImages(folders), LocalFiles(runs_folder))
    return ReceiverRole(store, receiver, GrantFiles(files), folders)


def offline_store(folder: str) -> Store:
    """The store in a folder that no agent has; Refused where one does."""
    return Store.claimed(LocalFiles(folder), HostClock(), ThreadLanes(2, 6))


def receiver_service(role: ReceiverRole, security: Security | None = None) -> Service:
    """The receiver role as the agent serves it."""
    taker: LogTaker = role
    agent: ReceiverAgent = role
    return Service(
        "receiver",
        (ReceiverAgent,),
        agent,
        taker,
        for_sources=(ReceiverHead,),
        grants=role.grants,
        security=security,
    )


def claim(folder: str) -> None:
    """Hold a folder until the process ends, so that no second agent writes to it; Refused when one does already."""
    LocalFiles(folder).claim(LOCK)
