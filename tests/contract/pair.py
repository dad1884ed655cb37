"""A source and a receiver over the shipped engine, joined by a link that lies in one process, and an oracle.

The oracle is the host's `instants`: the bytes of every disk when each job began, which a point names by `begun_us`.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from drill.errors import Unknown
from drill.model.cycle import LogHeader, LogTrailer
from drill.model.point import DiskSeal, Point, ProtectionOrder
from drill.ports import Files
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.cyclelog import LogReader, LogWriter
from drill.replication.journal import Journal, JournalFile
from drill.replication.manifest import SealedPoint
from drill.replication.store import Store
from drill.sim.clock import SimClock
from drill.sim.files import SimFiles
from drill.sim.guest import SimFreezer, SimGuest
from drill.sim.process import Process
from tests.contract import overlay_reader
from tests.contract.memory_files import MemoryFiles
from tests.contract.memory_host import MemoryHost

ITEM = "3f0c9a52-0000-4000-8000-000000000001"
P = TypeVar("P")
R = TypeVar("R")


class StillClock:
    """A clock that counts."""

    def __init__(self) -> None:
        self.ticks = 0

    def now_us(self) -> int:
        self.ticks += 1
        return self.ticks

    def monotonic(self) -> float:
        return float(self.ticks)

    def sleep(self, seconds: float) -> None:
        self.ticks += int(seconds * 1e6)


class OneLane:
    """Lanes without threads."""

    def ordered(self, work: Callable[[P], R], pieces: Iterable[P]) -> Iterator[R]:
        return map(work, pieces)


class DirectLink:
    """The store as the source sees it; `fail` is asked at every step, `forge` may change a log on its way."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fail: Callable[[str], None] = lambda step: None
        self.forge: Callable[[bytes], bytes] = lambda log: log
        self.logs: list[tuple[LogHeader, bytes]] = []
        self.digests_asked = 0
        self.leaves_asked = 0

    def head(self, item: str) -> Point | None:
        self.fail("head")
        head = self.store.head(item)
        return head.point if head else None

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        self.fail("chunks")
        self.digests_asked += count
        return self.store.head_digests(item, epoch, sequence, disk).chunks(first, count)

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        self.fail("leaves")
        self.leaves_asked += len(chunks)
        return self.store.head_digests(item, epoch, sequence, disk).leaves(chunks)

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        self.fail("rotten")
        return self.store.head_digests(item, epoch, sequence, disk).rotten

    @contextmanager
    def send(self, header: LogHeader) -> Iterator[DirectStream]:
        self.fail("offer")
        self.store.accept(header)
        yield DirectStream(self, header)


class DirectStream:
    def __init__(self, link: DirectLink, header: LogHeader) -> None:
        self._link = link
        self._header = header
        self._log = io.BytesIO()

    def write(self, data: bytes | memoryview) -> None:
        self._link.fail("write")
        self._log.write(data)

    def seal(self) -> Point:
        self._link.fail("seal")
        log = self._link.forge(self._log.getvalue())
        self._link.logs.append((self._header, log))
        point = self._link.store.receive(self._header, io.BytesIO(log).read)
        self._link.fail("acknowledge")
        return point


class Pair:
    """One item, its host, its journal, and its store; each side may be started anew."""

    def __init__(self, disks: dict[str, int], target: Files | None = None) -> None:
        self.host = MemoryHost(disks)
        self.guest = SimGuest(SimClock(), lambda kind: None)
        self.source_files = MemoryFiles()
        self.target_files: Files = MemoryFiles() if target is None else target
        self.clock = StillClock()
        self._nonces = 0
        self.link = DirectLink(self._new_store())
        self.protect()

    def protect(self) -> None:
        """An order, given to a source that knows nothing of the item."""
        order = ProtectionOrder(item=ITEM, domain="vm", receiver="-", interval_seconds=30)
        self.source = self._new_source(Journal(order=order))

    def cycle(self, *, witness: bool = False, application_consistent: bool = False) -> Point:
        """A cycle."""
        point, _ = self.source.cycle(witness=witness, application_consistent=application_consistent)
        return point

    def restart_source(self) -> None:
        """The source process ends at any moment and starts again."""
        journal = JournalFile(self.source_files, ITEM).load()
        self.source = self._new_source(journal or self.source.journal)

    def restart_receiver(self) -> None:
        """The receiver process ends at any moment and starts again."""
        self.link.store = self._new_store()

    def points(self) -> tuple[SealedPoint, ...]:
        return self.link.store.points(ITEM)

    def wrong_points(self, folder: Path) -> list[str]:
        """Every disk of every visible point that is not what was expected, as qemu-img reads it."""
        if isinstance(self.target_files, (MemoryFiles, SimFiles)):
            for path in self.target_files.paths():
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(self.target_files.read(path))
        else:
            folder = Path(self.target_files.locate(""))
        return [
            f"{found.point.epoch}/{found.point.sequence} {disk.target}"
            for found in self.points()
            for disk in found.disks
            if content(folder / ITEM / disk.file, disk.format) != self.host.instants[found.point.begun_us][disk.target]
        ]

    def wrong_points_by_reader(self) -> list[str]:
        """The same, as our own second reading has it: for hundreds of points."""
        seen: dict[str, bytes] = {}

        def read(name: str) -> bytes:
            return self.target_files.read(f"{ITEM}/{name}")

        return [
            f"{found.point.epoch}/{found.point.sequence} {disk.target}"
            for found in self.points()
            for disk in found.disks
            if overlay_reader.content(read, disk.file, disk.format, seen)
            != self.host.instants[found.point.begun_us][disk.target]
        ]

    def _new_store(self) -> Store:
        return Store(self.target_files, self.clock, OneLane())

    def _new_source(self, journal: Journal) -> ItemSource:
        ports = SourcePorts(
            backups=self.host,
            freezer=SimFreezer(self.guest, Process(lambda kind: None)),
            link=self.link,
            files=self.source_files,
            clock=self.clock,
            lanes=OneLane(),
            nonce=self._nonce,
        )
        file = JournalFile(self.source_files, ITEM)
        file.load()
        return ItemSource(ports, file, journal)

    def _nonce(self) -> str:
        self._nonces += 1
        return f"n{self._nonces:07d}"


def content(path: Path, format: str) -> bytes:
    """What a guest would read, by qemu-img."""
    raw = path.with_suffix(".read")
    argv = ["qemu-img", "convert", "-f", format, "-O", "raw", "--", str(path), str(raw)]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    try:
        return raw.read_bytes()
    finally:
        raw.unlink()


def lost_acknowledgement(step: str) -> None:
    """A link whose acknowledgements never arrive."""
    if step == "acknowledge":
        raise Unknown("seal", "no answer")


def forged(log: bytes, change: Callable[[DiskSeal], DiskSeal]) -> bytes:
    """The same log with other seals in its trailer, and all its digests right."""
    reader = LogReader(io.BytesIO(log).read)
    frames = list(reader.frames())
    out = bytearray()
    writer = LogWriter(out.extend, reader.header)
    for frame in frames:
        writer.frame(frame)
    writer.trailer(LogTrailer(disks=tuple(change(seal) for seal in reader.trailer.disks)))
    writer.finish()
    return bytes(out)
