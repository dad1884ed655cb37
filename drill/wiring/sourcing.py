"""The source role: one thread per protected item, cycles at their interval, and what the host tells of itself."""

from __future__ import annotations

import logging
import platform
import threading
from contextlib import suppress
from dataclasses import replace
from functools import cache

from drill.core import retries
from drill.core.groups import MEMBERS_MAX, MEMBERS_MIN
from drill.errors import Damaged, Refused, Unreachable, Usage
from drill.host import bridges
from drill.host.clock import HostClock
from drill.host.files import LocalFiles
from drill.host.lanes import ThreadLanes
from drill.hypervisor import picture
from drill.hypervisor.backup import FOLDER, LibvirtBackups
from drill.hypervisor.connection import Connection
from drill.hypervisor.freezer import LibvirtFreezer
from drill.hypervisor.release import Releaser
from drill.hypervisor.suspender import LibvirtSuspender
from drill.model.identity import Authentication
from drill.model.point import HostPicture, ItemStatus, Point, ProtectionOrder
from drill.model.seed import Seed
from drill.ports import SourceAgent
from drill.replication import names
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.exporting import export
from drill.replication.groups import GroupPorts
from drill.replication.journal import Journal, JournalFile, Seeding
from drill.replication.quiesce import HOURS_MAX, HOURS_MIN
from drill.replication.seeding import SeedMedium
from drill.transport import dial
from drill.transport.client import ReceiverClient, receiver_at
from drill.transport.paired import PairSecurity
from drill.transport.secure import Security
from drill.transport.service import Service
from drill.transport.throttle import Throttles
from drill.wiring import seeding
from drill.wiring.item import SourceWorld, Worker, nonce
from drill.wiring.rounds import Rounds
from drill.wiring.seeding import Copies

log = logging.getLogger("drill.agent.source")

LANES = 2
"""Threads that read and hash.  Hashing a page lets go of the interpreter for a microsecond: four threads asked for it
so often that they changed places 19,000 times in an increment of 160 MiB (0.56 s), two do so 3,500 times (0.47 s)."""


class SourceRole:
    """drill.ports.SourceAgent on this host."""

    def __init__(self, world: SourceWorld, connection: Connection, host: str, keys: PairSecurity | None = None) -> None:
        self._world = world
        self._keys = keys
        self._connection = connection
        self._host = host
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._copies = Copies()

    def take_up(self) -> None:
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
        _check_group(order)
        if order.authentication is Authentication.PAIR_KEY:
            self._check_pair_key(order.receiver_name)
        if order.resync_window:
            retries.minutes(order.resync_window)
        dial.address(order.receiver)
        self._world.backups.machine(order.domain)
        with self._lock:
            worker = self._workers.get(order.item)
            if worker is None:
                self._begin(order)
            elif worker.order.domain != order.domain:
                raise Refused(f"item {order.item} is domain {worker.order.domain}", cure="unprotect it first")
            elif order.term < worker.order.term:
                raise Refused(f"term {order.term}, item {order.item} is in term {worker.order.term}", "I29")
            elif worker.order != order:
                worker.change(order)
            else:
                worker.nudge()

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

    def cycle(self, item: str, *, witness: bool, application_consistent: bool = False, deep: bool = False) -> Point:
        """Replicate now."""
        worker = self._worker(item)
        return worker.cycle(witness=witness, application_consistent=application_consistent, deep=deep)

    def pause(self, item: str) -> None:
        """Begin no cycle until `unpause`."""
        self._worker(item).pause()

    def unpause(self, item: str) -> None:
        """Go on where it stopped."""
        self._worker(item).resume()

    def resync(self, item: str) -> Point:
        """Read every disk whole and compare, now."""
        return self._worker(item).resync()

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

    def without_bitmap(self, domain: str) -> tuple[str, ...]:
        """Disks of a domain that can hold no dirty bitmap."""
        return tuple(sorted(self._world.backups.without_bitmap(domain)))

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

    def _check_pair_key(self, receiver: str) -> None:
        """Untrusted unless there is a good key with that receiver, so that nothing is ordered that cannot begin."""
        if self._keys is None:
            raise Refused("pair keys need TLS, and this agent serves without it", cure="give it --identity DIR")
        self._keys.check_key(receiver)

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


def source_service(
    state_folder: str,
    uri: str,
    host: str,
    security: Security | None = None,
    scratch: str = FOLDER,
    keys: PairSecurity | None = None,
) -> Service:
    """The source role of the host whose libvirt is at `uri`; what it was told before is taken up at once.

    `scratch` is where QEMU keeps what guests overwrite during a cycle; `keys` are for items that are sent by pair key.
    """
    connection, clock, releaser = Connection(uri), HostClock(), Releaser(uri, scratch)
    throttles = Throttles(clock)

    def link(order: ProtectionOrder) -> ReceiverClient:
        throttle = throttles.towards(order.receiver, order.bandwidth)
        by = keys if order.authentication is Authentication.PAIR_KEY else security
        return receiver_at(order.receiver, by, order.receiver_name, throttle)

    freezer = LibvirtFreezer(connection, releaser)
    suspender = LibvirtSuspender(connection, releaser)

    @cache
    def rounds(group: str) -> Rounds:
        lanes = ThreadLanes(MEMBERS_MAX, MEMBERS_MAX)
        return Rounds(group, GroupPorts(freezer=freezer, suspender=suspender, clock=clock, lanes=lanes), nonce)

    world = SourceWorld(
        backups=LibvirtBackups(connection, clock, scratch, releaser),
        freezer=freezer,
        files=LocalFiles(state_folder),
        clock=clock,
        lanes=ThreadLanes(LANES, 6),
        link=link,
        rounds=rounds,
    )
    role = SourceRole(world, connection, host, keys)
    role.take_up()
    agent: SourceAgent = role
    return Service("source", (SourceAgent,), agent, security=security)


def _check_application_interval(seconds: int) -> None:
    """Usage unless application-consistent points are off or 1 to 12 hours apart (spec E6)."""
    if seconds and not HOURS_MIN * 3600 <= seconds <= HOURS_MAX * 3600:
        raise Usage(f"application-consistent points every {seconds} s", f"{HOURS_MIN} to {HOURS_MAX} hours, or none")


def _check_group(order: ProtectionOrder) -> None:
    """Usage unless the item belongs to no group or to one of a size that a group may have (spec S5)."""
    group = order.group
    if group is None:
        return
    names.group(group.name)
    if not MEMBERS_MIN <= len(set(group.members)) <= MEMBERS_MAX or order.item not in group.members:
        raise Usage(
            f"group {group.name} of {len(set(group.members))} items",
            f"a consistency group has {MEMBERS_MIN} to {MEMBERS_MAX} items, this one among them (S5)",
        )


def _known_head(ports: SourcePorts, item: str) -> Point | None:
    """The receiver's head; none where it cannot be asked, for a seed may be carried to where no network leads yet."""
    try:
        return ports.link.head(item)
    except Unreachable:
        return None
