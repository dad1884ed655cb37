"""Other items of the walk's consistency group: small machines on the same source host, each with its own receiver.

Their engine is the shipped one and runs in the walk's source process; their receiver never fails and their way to it
only where a step says so, for all that is walked with the main item already.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random

from drill.errors import DrillError, Unreachable
from drill.model.cycle import LogHeader
from drill.model.point import Point, ProtectionOrder
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.groups import Begun, Ready, Together
from drill.replication.journal import Journal, JournalFile
from drill.replication.store import Store
from drill.sim.clock import SimClock
from drill.sim.content import PAGE, Content
from drill.sim.disk import SimDisk
from drill.sim.files import SimFiles
from drill.sim.guest import SimFreezer
from drill.sim.hypervisor import SimBackups, SimHypervisor
from drill.sim.images import SimImages
from drill.sim.lanes import OneLane
from drill.sim.process import Process

PAGES = 4


class Neighbour:
    """One of them.  `lost`: its next log is lost on the way, right before it would be sealed."""

    def __init__(self, number: int, clock: SimClock, rng: Random, nonce: Callable[[], str]) -> None:
        self.item = f"3f0c9a52-0000-4000-8000-0000000001{number:02}"
        self.domain = f"vm{number}"
        self.hypervisor = SimHypervisor(self.domain, {"vda": SimDisk(PAGES * PAGE, granule=PAGE, cluster=PAGE)}, clock)
        self.lost = False
        self.process = Process(_unnoted)
        self.source: ItemSource | None = None
        self._clock, self._nonce = clock, nonce
        self._right: set[int] = set()
        self._files = SimFiles(self.process, rng, self.domain)
        stored = SimFiles(Process(_unnoted), rng, f"{self.domain}-store")
        self._images = SimImages({"store": stored})
        self.store = Store(stored, clock, OneLane())

    def run_in(self, process: Process) -> ItemSource:
        """The item's source in the agent's process, which takes up what the one before it left."""
        if self.source is not None and self.process is process:
            return self.source
        self.process = self._files.process = process
        file = JournalFile(self._files, self.item)
        order = ProtectionOrder(item=self.item, domain=self.domain, receiver="-", interval_seconds=30)
        journal = file.load()
        if journal is None:
            journal = Journal(order=order)
            file.save(journal)
        ports = SourcePorts(
            backups=SimBackups(self.hypervisor, process),
            freezer=SimFreezer(self.hypervisor.guest, process),
            link=_Line(self, process),
            files=self._files,
            clock=self._clock,
            lanes=OneLane(),
            nonce=self._nonce,
        )
        self.source = ItemSource(ports, file, journal)
        return self.source

    def write(self, number: int) -> None:
        """What its guest writes."""
        self.hypervisor.disks["vda"].write(number % PAGES * PAGE, number.to_bytes(4, "little") * (PAGE // 4))

    def points(self) -> tuple[Point, ...]:
        """What its receiver serves."""
        return tuple(found.point for found in self.store.points(self.item))

    def wrong(self) -> list[str]:
        """Points that are not what its disk was at their instant; what is sealed does not change, and is read once."""
        sealed = [one for one in self.store.points(self.item) if one.point.begun_us not in self._right]
        read = self._images.contents(
            (f"/store/{self.item}/{disk.file}", disk.format) for found in sealed for disk in found.disks
        )
        truth = self.hypervisor.instants

        def differs(begun_us: int, target: str, content: Content) -> bool:
            return begun_us not in truth or not content.same(truth[begun_us].disks[target])

        wrong = [
            f"{self.domain} {found.point.epoch}/{found.point.sequence}"
            for found in sealed
            for disk in found.disks
            if differs(found.point.begun_us, disk.target, read[f"/store/{self.item}/{disk.file}"])
        ]
        self._right.update(() if wrong else (found.point.begun_us for found in sealed))
        return wrong


class _Line:
    """The way to a neighbour's receiver (the ReceiverLink port)."""

    def __init__(self, neighbour: Neighbour, process: Process) -> None:
        self._neighbour = neighbour
        self._process = process

    def head(self, item: str) -> Point | None:
        """The newest point."""
        self._ask("head")
        found = self._neighbour.store.head(item)
        return found.point if found else None

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests of chunks."""
        return self._neighbour.store.head_digests(item, epoch, sequence, disk).chunks(first, count)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests of chunks."""
        return self._neighbour.store.head_digests(item, epoch, sequence, disk).leaves(chunks)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Pages of a disk of the head that rotted."""
        return self._neighbour.store.head_digests(item, epoch, sequence, disk).rotten

    @contextmanager
    def send(self, header: LogHeader) -> Iterator[_Stream]:
        """Offer a log."""
        self._ask("offer")
        self._neighbour.store.accept(header)
        yield _Stream(self._neighbour, header, self._ask)

    def _ask(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"line {operation}", "")


class _Stream:
    """A log on its way."""

    def __init__(self, neighbour: Neighbour, header: LogHeader, ask: Callable[[str], None]) -> None:
        self._neighbour = neighbour
        self._header = header
        self._ask = ask
        self._log = io.BytesIO()

    def write(self, data: bytes | memoryview) -> None:
        """Keep the next bytes."""
        self._log.write(data)

    def seal(self) -> Point:
        """The receiver takes all of it."""
        self._ask("seal")
        if self._neighbour.lost:
            raise Unreachable("the receiver", "peer:8084", "cut")
        self._log.seek(0)
        return self._neighbour.store.receive(self._header, self._log.read)


class Freezers:
    """Each domain's own freezer (the Freezer port)."""

    def __init__(self, hosts: Mapping[str, SimHypervisor], process: Process) -> None:
        self._freezers = {name: SimFreezer(host.guest, process) for name, host in hosts.items()}

    def arm(self, domain: str, seconds: int) -> None:
        """Arm."""
        self._freezers[domain].arm(domain, seconds)

    def freeze(self, domain: str) -> int:
        """Freeze."""
        return self._freezers[domain].freeze(domain)

    def thaw(self, domain: str) -> int:
        """Thaw."""
        return self._freezers[domain].thaw(domain)

    def is_frozen(self, domain: str) -> bool:
        """Look."""
        return self._freezers[domain].is_frozen(domain)

    def disarm(self, domain: str) -> None:
        """Disarm."""
        self._freezers[domain].disarm(domain)


Cycle = Callable[[Together], object]
"""One item's cycle, which begins its job by what it is given."""


class Round:
    """The cycles of a group one inside the other: each begins the next where it would wait for it.

    This stands for the threads of drill/wiring/rounds.py; what begins the jobs is what ships.  `errors` has what the
    cycles but the first ended in.
    """

    def __init__(self, cycles: Sequence[Cycle], meet: Callable[[list[Ready]], Sequence[Begun | Exception]]) -> None:
        self._cycles = cycles
        self._meet = meet
        self._tried = 0
        self._there: list[tuple[int, Ready]] = []
        self._begun: dict[int, Begun | Exception] | None = None
        self.errors: dict[int, Exception] = {}

    def run(self) -> None:
        """All cycles; raises what the first one raises, when the others have had their turn."""
        self._rest()
        if (error := self.errors.pop(0, None)) is not None:
            raise error

    def _rest(self) -> None:
        """Those that were not tried, until the jobs were begun: then each of the others is in its own way."""
        while self._tried < len(self._cycles):
            tried = self._tried
            try:
                self._next()
            except (DrillError, OSError, MemoryError) as error:
                self.errors[tried] = error

    def _next(self) -> None:
        index = self._tried
        self._tried += 1
        self._cycles[index](lambda ready: self._arrived(index, ready))

    def _arrived(self, index: int, ready: Ready) -> Begun | None:
        self._there.append((index, ready))
        self._rest()
        if self._begun is None:
            self._begin()
        found = (self._begun or {}).get(index)
        if isinstance(found, Exception):
            raise found
        return found

    def _begin(self) -> None:
        whole = len(self._there) == len(self._cycles)
        begun = self._meet([ready for _, ready in self._there]) if whole else ()
        self._begun = dict(zip((index for index, _ in self._there), begun, strict=whole)) if whole else {}


def _unnoted(_kind: str) -> None:
    """Nobody counts."""
