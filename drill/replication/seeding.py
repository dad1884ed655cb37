"""Offline seeding: an item's first copy on a medium that is carried to the receiver (spec H2 to H4).

    source                     medium                                   receiver
    export ── first log ──▶    <item>/part-0000 …  the log, in parts
                               <item>/seed.json    written last  ──▶    import: look, read whole, compare, take
    journal: waits             (carried by hand)                        a point like any other
    cycle: the receiver's head is the seed's → adopted as base, and changes since the export follow

The log is the one that would have been sent, so that the receiver checks and stores it in the same way, and nothing is
a point before it is complete and verified (I15).  The source keeps the export's checkpoint while it waits: what the
guest writes meanwhile rides in the first cycle after the import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from blake3 import blake3

from drill.errors import BadInput, Damaged, Failed, Refused
from drill.model.cycle import LogHeader
from drill.model.point import DiskSeal, Point
from drill.model.seed import Seed, SeedPart
from drill.ports import Files
from drill.replication import names, sealed
from drill.replication.cyclelog import LogReader
from drill.replication.store import Store

NAME = "seed.json"
KIND = "seed-0"
PART_BYTES = 1 << 30
"""File systems of carried disks take 4 GiB a file, some less."""
PARTS_MAX = 1 << 20
_BUFFER_BYTES = 4 << 20
_GENERATION = 1
_PROBE = b"drill looks whether it may write here\n"

Progress = Callable[[int, int], None]
"""Told of bytes done, and of all there are (0 while nobody knows)."""


def probe(medium: Files, name: str) -> None:
    """Write, read and delete a file, before anything else is (H3).  Failed when one of them is not possible."""
    path = f".drill-probe-{name}"
    try:
        medium.write(path, 0, _PROBE)
        medium.sync(path)
        found = medium.read(path)
        medium.remove(path)
    except OSError as error:
        raise Failed("looking whether the location can be written to", str(error), "give full rights on it") from error
    if found != _PROBE:
        raise Failed("looking whether the location can be written to", "it gives back something else than was written")


def look(medium: Files, item: str) -> Seed | None:
    """What the medium says it has of an item; None when there is no complete seed.

    Damaged or BadInput when that cannot be so; the parts themselves are not read yet.
    """
    names.item(item)
    found = sealed.read(medium, f"{item}/{NAME}", KIND, Seed)
    if found is None:
        return None
    seed, where = found.value, f"seed of {item}"
    if found.generation != _GENERATION:
        raise Damaged(where, f"it is written once, and says {found.generation}")
    if seed.item != item:
        raise BadInput(where, f"it is one of item {seed.item[:80]!r}")
    names.epoch(seed.epoch)
    wanted = [f"part-{number:04}" for number in range(len(seed.parts))]
    if not 0 < len(wanted) <= PARTS_MAX or [part.name for part in seed.parts] != wanted:
        raise BadInput(where, "its parts are not named as parts are")
    if set(medium.list(item)) != {NAME, *wanted}:
        extra = sorted(set(medium.list(item)) ^ {NAME, *wanted})
        raise BadInput(where, f"parts are missing or too many: {', '.join(extra)[:200]!r}")
    for part in seed.parts:
        if not 0 < part.size_bytes <= PART_BYTES or medium.size(f"{item}/{part.name}") != part.size_bytes:
            raise Damaged(f"{where}, {part.name}", f"it has not the {part.size_bytes} bytes that it should")
    return seed


def take_in(store: Store, medium: Files, item: str, progress: Progress, *, term: int = 1) -> Point:
    """Import: the point that the seed became; a seed that is a point already gives that point (idempotent).

    All of it is read and compared before anything is written.  Whatever is raised, no point came of it, save for
    Unknown.  Refused when the receiver's head is neither nothing nor what the seed supersedes, and for a seed from
    before `term` (I29).
    """
    try:
        seed = look(medium, item)
    except OSError as error:
        raise Failed("reading the seed", str(error), "see whether the location is still there") from error
    if seed is None:
        raise BadInput(f"seed of {item}", "there is no complete one in this location")
    for found in store.points(item):
        if found.point.log_digest == seed.log_digest:
            return found.point
    header = _verified(store, medium, seed, progress, term)
    parts = _Parts(medium, seed, lambda done: progress(seed.size_bytes + done, 2 * seed.size_bytes))
    return store.receive(header, parts.take)


def _verified(store: Store, medium: Files, seed: Seed, progress: Progress, term: int) -> LogHeader:
    """Read the log whole: every part and the log itself are what the seed says, and it is the next one."""
    parts = _Parts(medium, seed, lambda done: progress(done, 2 * seed.size_bytes))
    reader = LogReader(parts.take)
    header = reader.header
    if (header.item, header.epoch, header.sequence) != (seed.item, seed.epoch, seed.sequence):
        raise BadInput(f"seed of {seed.item}", f"its log is {header.item[:80]!r} {header.epoch[:80]!r}")
    if header.term < term:
        raise Refused(f"a seed of term {header.term}, and {seed.item} is in term {term}", "I29", "export it again")
    store.accept(header)
    for _ in reader.frames():
        pass
    parts.close()
    if reader.log_digest != seed.log_digest:
        raise Damaged(f"seed of {seed.item}", "its log is another one")
    return header


class SeedMedium:
    """A medium that takes the log of an export, in parts of `part_bytes`."""

    def __init__(self, medium: Files, domain: str, progress: Progress, *, part_bytes: int = PART_BYTES) -> None:
        self._medium = medium
        self._domain = domain
        self._progress = progress
        self._part_bytes = part_bytes

    def complete(self, item: str) -> Seed | None:
        """The complete seed of an item that lies there."""
        return look(self._medium, item)

    @contextmanager
    def send(self, header: LogHeader) -> Iterator[SeedStream]:
        """Begin a seed; what an export that was broken off left is removed.  Refused where a complete one lies."""
        item = header.item
        self._medium.make_folder(item)
        left = self._medium.list(item)
        if NAME in left:
            raise Refused(f"the location has a seed of {item} already", "H2", "name another, or delete that one")
        for name in left:
            self._medium.remove(f"{item}/{name}")
        yield SeedStream(self._medium, header, self._domain, self._progress, self._part_bytes)


class SeedStream:
    """A log on its way into files (drill.ports.LogStream)."""

    def __init__(self, medium: Files, header: LogHeader, domain: str, progress: Progress, part_bytes: int) -> None:
        self._medium = medium
        self._header = header
        self._domain = domain
        self._progress = progress
        self._part_bytes = part_bytes
        self._parts: list[SeedPart] = []
        self._digest, self._size = blake3(), 0
        self._buffer = bytearray()
        self._sent_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Keep the next bytes."""
        self._buffer += data
        self._sent_bytes += len(data)
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def seal(self, disks: tuple[DiskSeal, ...], log_digest: str) -> Seed:
        """Make all of it durable; the seed is complete when it says so itself, last of all."""
        self._flush()
        self._close_part()
        header = self._header
        seed = Seed(
            item=header.item,
            domain=self._domain,
            epoch=header.epoch,
            sequence=header.sequence,
            supersedes=header.supersedes,
            begun_us=header.begun_us,
            taken_us=header.taken_us,
            disks=disks,
            log_digest=log_digest,
            parts=tuple(self._parts),
        )
        self._medium.sync_folder(header.item)
        self._medium.sync_folder("")
        sealed.write(self._medium, f"{header.item}/{NAME}", KIND, Seed, seed, generation=_GENERATION)
        return seed

    def _flush(self) -> None:
        view = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while view:
            piece = view[: self._part_bytes - self._size]
            self._medium.write(self._path(), self._size, piece)
            self._digest.update(piece)
            self._size, view = self._size + len(piece), view[len(piece) :]
            if self._size == self._part_bytes:
                self._close_part()
        self._progress(self._sent_bytes, 0)

    def _close_part(self) -> None:
        if self._size:
            self._medium.sync(self._path())
            name = f"part-{len(self._parts):04}"
            self._parts.append(SeedPart(name=name, size_bytes=self._size, digest=self._digest.hexdigest()))
            self._digest, self._size = blake3(), 0

    def _path(self) -> str:
        return f"{self._header.item}/part-{len(self._parts):04}"


class _Parts:
    """The bytes of a seed's log, one part after the other, each compared with its digest at its end."""

    def __init__(self, medium: Files, seed: Seed, progress: Callable[[int], None]) -> None:
        self._medium = medium
        self._seed = seed
        self._progress = progress
        self._at = self._inside = self._done = 0
        self._digest = blake3()
        self._window = memoryview(b"")

    def take(self, length: int) -> bytes | memoryview:
        """The next bytes; fewer where the seed ends."""
        parts, missing = [], length
        while missing and (self._window or self._next()):
            part = self._window[:missing]
            parts.append(part)
            self._window, missing = self._window[len(part) :], missing - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """BadInput when something stands after the log's end."""
        if self._window or self._next():
            raise BadInput(f"seed of {self._seed.item}", "something stands after the end of its log")

    def _next(self) -> bool:
        """Read on; False at the end of the last part."""
        if self._at == len(self._seed.parts):
            return False
        part = self._seed.parts[self._at]
        path = f"{self._seed.item}/{part.name}"
        try:
            data = self._medium.read(path, self._inside, min(_BUFFER_BYTES, part.size_bytes - self._inside))
        except OSError as error:
            raise Failed("reading the seed", f"{path}: {error}", "see whether the location is still there") from error
        if not data:
            raise Damaged(path, "it ends too early")
        self._digest.update(data)
        self._inside, self._done = self._inside + len(data), self._done + len(data)
        if self._inside == part.size_bytes:
            if self._digest.hexdigest() != part.digest:
                raise Damaged(path, "it does not match its digest")
            self._at, self._inside, self._digest = self._at + 1, 0, blake3()
        self._window = memoryview(data)
        self._progress(self._done)
        return True
