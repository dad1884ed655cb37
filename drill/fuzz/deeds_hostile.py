"""A peer that may send logs of this item and means ill: everything in its log is well sealed, and something is wrong.

Whatever it says, its log is refused or found damaged, no point comes of it, and the points that are there stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from drill.errors import DrillError, Refused, Untrusted
from drill.fuzz.papers import INTRUDERS
from drill.fuzz.scene import Args, Scene, integer
from drill.fuzz.world import ITEM, RECEIVER, outcome_of
from drill.model.cycle import LogDisk, LogHeader, LogTrailer
from drill.model.extent import Extent, ExtentKind
from drill.model.point import DiskSeal
from drill.replication.cyclelog import LogWriter
from drill.replication.frame import Piece, pack
from drill.replication.manifest import SealedPoint
from drill.replication.pages import leaves
from drill.sim.content import PAGE
from drill.sim.network import Letter

Span = tuple[int, int, int]
"""(disk, offset, length) of an extent."""

_BAD_HEADERS: Final[tuple[Callable[[LogHeader], LogHeader], ...]] = (
    lambda header: replace(header, item="../../etc"),
    lambda header: replace(header, epoch="../x"),
    lambda header: replace(header, sequence=header.sequence + 1),
    lambda header: replace(header, sequence=0),
    lambda header: replace(header, parent_digest="0" * 64),
    lambda header: replace(header, supersedes="0" * 64),
    lambda header: replace(header, disks=()),
    lambda header: replace(header, disks=(*header.disks, *header.disks)),
    lambda header: replace(header, disks=tuple(replace(disk, size_bytes=1 << 60) for disk in header.disks)),
    lambda header: replace(header, disks=tuple(replace(disk, size_bytes=513) for disk in header.disks)),
    lambda header: replace(header, disks=tuple(replace(disk, target=f"../{disk.target}") for disk in header.disks)),
)
_BAD_SPANS: Final[tuple[Callable[[int], tuple[Span, ...]], ...]] = (
    lambda size: ((0, size, PAGE),),
    lambda _: ((0, 1 << 62, PAGE),),
    lambda _: ((0, 512, PAGE),),
    lambda _: ((0, 0, 0),),
    lambda _: ((0, PAGE, PAGE), (0, 0, PAGE)),
    lambda _: ((0, 0, PAGE), (0, 0, PAGE)),
    lambda _: ((63, 0, PAGE),),
    lambda _: (),
    lambda _: ((0, 0, PAGE),),
)


def hostile(scene: Scene, args: Args) -> str:
    """Send one log of that peer."""
    world, oracle = scene.world, scene.oracle
    if world.store is None or outcome_of(world.points) != "done" or not world.points():
        return "nothing"
    before = world.points()
    header, log = _forged(before[-1], integer(args, "which"))
    world.note("hostile log")
    try:
        world.network.taker.accept(header)
        world.network.deliver(Letter(header, log), log, broken=False)
    except DrillError as error:
        answer = error.id
    else:
        answer = "done"
    oracle.must("I11", answer != "done", f"a forged log is acknowledged: {header.epoch}/{header.sequence}")
    if outcome_of(world.points) == "done":
        oracle.must("I11", world.points() == before, "a forged log changed the points")
    return answer


def intruder(scene: Scene, args: Args) -> str:
    """A peer with a certificate of our authority, but not for this, sends what the source could send next, or did.

    What it sends is sound and in its place: only who sends it is wrong.
    """
    world, oracle, kind = scene.world, scene.oracle, INTRUDERS[integer(args, "who") % len(INTRUDERS)]
    if world.store is None or outcome_of(world.points) != "done":
        return "nothing"
    letter = _letter(scene, integer(args, "which"))
    if letter is None:
        return "nothing"
    world.note(f"{kind} peer")
    version = world.files[RECEIVER].version
    with world.papers.intruder(kind, letter.header.term):
        try:
            world.network.deliver(letter, letter.log, broken=False)
        except (Refused, Untrusted) as error:
            known = isinstance(error, Untrusted) or error.rule == "I11"
        except DrillError:
            known = False
        else:
            known = False
    world.network.attempts.clear()
    oracle.must("I11", known, f"a log of {kind} peer was looked at")
    oracle.must("I11", version == world.files[RECEIVER].version, f"a log of {kind} peer changed the store")
    return "turned away"


def _letter(scene: Scene, which: int) -> Letter | None:
    """A log that the source sent, or a forged one that would follow the head; None where there is neither."""
    kept, points = scene.world.network.kept, scene.world.points()
    if kept and (which % 2 or not points):
        return kept[which % len(kept)]
    return Letter(*_forged(points[-1], len(_BAD_HEADERS))) if points else None


def _forged(newest: SealedPoint, which: int) -> tuple[LogHeader, bytes]:
    head = newest.point
    header = LogHeader(
        item=ITEM,
        epoch=head.epoch,
        sequence=head.sequence + 1,
        parent_digest=head.log_digest,
        supersedes="",
        begun_us=head.begun_us + 1,
        taken_us=head.taken_us + 1,
        application_consistent=False,
        machine=newest.machine,
        disks=tuple(LogDisk(target=seal.target, size_bytes=seal.size_bytes, full=False) for seal in head.disks),
    )
    choice = which % (len(_BAD_HEADERS) + len(_BAD_SPANS))
    spans: tuple[Span, ...] = ((0, 0, PAGE),)
    if choice < len(_BAD_HEADERS):
        header = _BAD_HEADERS[choice](header)
    else:
        spans = _BAD_SPANS[choice - len(_BAD_HEADERS)](head.disks[0].size_bytes)
    return header, _log(header, spans)


def _log(header: LogHeader, spans: tuple[Span, ...]) -> bytes:
    parts: list[bytes] = []
    writer = LogWriter(lambda data: parts.append(bytes(data)), header)
    for index, offset, length in spans:
        data = memoryview(b"\xa5" * length)
        writer.frame(pack(index, [Piece(Extent(offset, length, ExtentKind.DATA), data, leaves(data))]))
    seals = tuple(DiskSeal(target=disk.target, size_bytes=disk.size_bytes, digest="0" * 64) for disk in header.disks)
    writer.trailer(LogTrailer(disks=seals))
    writer.finish()
    return b"".join(parts)
