"""The life that is recorded for R5, and what must hold wherever power is lost in it.

Both sides of one item live in folders of one mounted file system; the source's host is in memory.  Every promise is
noted outside of the disk, with the size that the log of writes had then.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from drill.errors import DrillError
from drill.host.files import LocalFiles
from drill.model.point import Point
from drill.ports import Files
from drill.replication.journal import JournalFile
from drill.replication.manifest import names_in
from tests.contract import overlay_reader
from tests.contract.memory_host import Checkpoint, MemoryHost
from tests.contract.pair import ITEM, Pair, lost_acknowledgement
from tests.faults import write_log
from tests.faults.write_log import State

DISKS = {"vda": 320 << 10, "vdb": (192 << 10) + 77 * 512}
CYCLES = 14
UNPROVABLE = 1_000
"""Where the host of a recovered state counts its jobs from: their instants are not to be taken for earlier ones."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What was said, and how long the log was then: the receiver's `sealed`, or the source's own `acknowledged`."""

    log_bytes: int
    kind: str
    point: Point


@dataclass(frozen=True, slots=True)
class Moment:
    """The source's host as it was when a cycle had ended."""

    log_bytes: int
    disks: dict[str, bytes]
    chain: tuple[Checkpoint, ...]


class MountedPair(Pair):
    """Both sides of an item in a folder of a mounted file system."""

    def __init__(self, folder: Path, files: type[LocalFiles] = LocalFiles) -> None:
        self._folder = folder
        self._files = files
        super().__init__(DISKS, files(folder / "store"))
        self.source_files = files(folder / "source")  # type: ignore[assignment]
        self.restart_source()

    def wrong(self, known: Contents) -> list[str]:
        """Disks of visible points that are not what the source was."""
        read = known.of(self.target_files)
        return [
            f"{found.point.epoch}/{found.point.sequence} {disk.target}"
            for found in self.points()
            for disk in found.disks
            if read(disk.file, disk.format) != self.host.instants[found.point.begun_us][disk.target]
        ]


class Contents:
    """What overlays hold, read once: a sealed file never changes, and where one did nothing that is known counts."""

    def __init__(self, digests: dict[str, bytes] | None = None, contents: dict[str, bytes] | None = None) -> None:
        self._digests = digests or {}
        self._contents = contents or {}

    def copy(self) -> Contents:
        """What is known, for a store that goes another way from here."""
        return Contents(dict(self._digests), dict(self._contents))

    def of(self, files: Files) -> Callable[[str, str], bytes]:
        """A reader of the disks in a store; all of its files are read and compared with what they were."""
        names = [name for name in names_in(files, ITEM) if name.endswith((".raw", ".qcow2"))]
        held = {name: files.read(f"{ITEM}/{name}") for name in names}
        digests = {name: blake3(data).digest() for name, data in held.items()}
        same = all(self._digests.setdefault(name, digest) == digest for name, digest in digests.items())
        seen = self._contents if same else {}
        return lambda name, form: overlay_reader.content(held.__getitem__, name, form, seen)


class Writer:
    """The life that is recorded: cycles, an acknowledgement that is lost, a killed QEMU, restarts of either side."""

    def __init__(self, folder: Path, log: Path, files: type[LocalFiles], seed: int) -> None:
        self._pair = MountedPair(folder, files)
        self._log = log
        self._rng = random.Random(seed)
        self.promises: list[Promise] = []
        self.moments = [replace(self._moment(), log_bytes=0)]
        self._pair.link.fail = self._sealed

    @property
    def instants(self) -> dict[int, dict[str, bytes]]:
        return self._pair.host.instants

    def live(self) -> None:
        for number in range(CYCLES):
            scribble(self._pair.host, self._rng)
            if number == CYCLES // 3:
                self._lose_an_acknowledgement()
            if number == CYCLES // 2:
                self._pair.host.kill()
            if number % 5 == 4:
                self._pair.restart_source()
                self._pair.restart_receiver()
            point = self._pair.cycle()
            self.promises.append(Promise(self._log.stat().st_size, "acknowledged", point))
            self.moments.append(self._moment())

    def _lose_an_acknowledgement(self) -> None:
        self._pair.link.fail = self._sealed_and_lost
        with suppress(DrillError):
            self._pair.cycle()
        self._pair.link.fail = self._sealed
        scribble(self._pair.host, self._rng)

    def _sealed(self, step: str) -> None:
        if step == "acknowledge":
            head = self._pair.link.store.head(ITEM)
            assert head is not None
            self.promises.append(Promise(self._log.stat().st_size, "sealed", head.point))

    def _sealed_and_lost(self, step: str) -> None:
        self._sealed(step)
        lost_acknowledgement(step)

    def _moment(self) -> Moment:
        host = self._pair.host
        disks = {target: bytes(data) for target, data in host.disks.items()}
        return Moment(self._log.stat().st_size, disks, tuple(_copied(one) for one in host.chain))


def scribble(host: MemoryHost, rng: random.Random) -> None:
    """Writes and zeros of any alignment."""
    for _ in range(3):
        target = rng.choice(list(DISKS))
        length = rng.choice([512, 4096, 9 * 512, 65536])
        offset = rng.randrange((DISKS[target] - length) // 512 + 1) * 512
        host.write(target, offset, bytes(length) if rng.random() < 0.3 else rng.randbytes(length))


def _copied(checkpoint: Checkpoint) -> Checkpoint:
    dirty = {target: set(bits) for target, bits in checkpoint.dirty.items()}
    return Checkpoint(checkpoint.name, dirty, set(checkpoint.lost))


class Judge:
    """What must hold in a state of the disk, given what was promised before it."""

    def __init__(self, writer: Writer, log: list[write_log.Entry]) -> None:
        self._writer = writer
        self._log = log
        self._known = Contents()

    def problem(self, folder: Path, state: State) -> str:
        """What is wrong with the file system mounted at `folder`, empty when nothing is."""
        reached = self._log[state.cut].log_at if state.cut < len(self._log) else sys.maxsize
        try:
            pair = self._recovered(folder, reached)
            return self._broken_promise(pair, reached) or self._wrong_now(pair) or self._wrong_next(pair)
        except (DrillError, OSError, AssertionError, LookupError, struct.error) as error:
            return f"{type(error).__name__}: {error}"

    def _recovered(self, folder: Path, reached: int) -> MountedPair:
        pair = MountedPair(folder)
        moment = [one for one in self._writer.moments if one.log_bytes <= reached][-1]
        pair.host.disks = {target: bytearray(data) for target, data in moment.disks.items()}
        pair.host.chain = [_copied(one) for one in moment.chain]
        pair.host.used = {str(number) for number in range(UNPROVABLE)}
        pair.host.instants = dict(self._writer.instants)
        return pair

    def _broken_promise(self, pair: MountedPair, reached: int) -> str:
        points = [found.point for found in pair.points()]
        known = JournalFile(pair.source_files, ITEM).load()
        for promise in self._writer.promises:
            name = f"{promise.point.epoch}/{promise.point.sequence}"
            if promise.log_bytes > reached:
                break
            if promise.point not in points:
                return f"point lost after it was {promise.kind}: {name}"
            if promise.kind == "sealed":
                continue
            base = known.acknowledged if known else None
            if base is None or base.point not in points[points.index(promise.point) :]:
                return f"the journal is older than its acknowledgement: {name}"
        return ""

    def _wrong_now(self, pair: MountedPair) -> str:
        wrong = pair.wrong(self._known)
        return f"points that are not what the source was: {wrong}" if wrong else ""

    def _wrong_next(self, pair: MountedPair) -> str:
        """One more cycle; where the digests do not fit any more, the next takes that disk whole."""
        pair.host.write("vda", 4096, b"after the power came back")
        for left in (2, 1, 0):
            try:
                pair.cycle()
                break
            except DrillError as error:
                if not left:
                    return f"no cycle any more: {error}"
        wrong = pair.wrong(self._known.copy())
        return f"points after recovery that are not what the source was: {wrong}" if wrong else ""
