"""What operators ask of the source, and what befalls its images and its place while it does not look.

Pauses, resyncs, deep checks over a tracker that lied; images edited or reverted while QEMU is off; an old primary that
comes back after another has been given the next term.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from drill.fuzz.scene import Args, Deed, Scene, integer, real
from drill.fuzz.world import ITEM, outcome_of
from drill.model.cycle import LogHeader
from drill.model.point import CycleRecord, Point
from drill.sim.content import PAGE, Content
from drill.sim.disk import SimDisk, changed_pages


def _offline(scene: Scene, args: Args) -> str:
    """While QEMU is off, somebody writes to an image past every bitmap, or puts an older content back."""
    hypervisor = scene.world.hypervisor
    if not hypervisor.running or hypervisor.frozen or hypervisor.job is not None:
        return "impossible"
    target = sorted(hypervisor.disks)[integer(args, "disk") % len(hypervisor.disks)]
    disk = hypervisor.disks[target]
    hypervisor.stop()
    scene.world.note("QEMU stopped")
    older = [
        instant.disks[target]
        for instant in hypervisor.instants.values()
        if target in instant.disks and instant.disks[target].size == disk.size
    ]
    if args["revert"] and older:
        disk.revert(older[integer(args, "which") % len(older)])
        scene.world.note("snapshot reverted")
    else:
        _scribble(scene, disk, real(args, "at"))
        scene.world.note("disk edited while off")
    hypervisor.start()
    return "changed"


def _scribble(scene: Scene, disk: SimDisk, at: float) -> None:
    """Pages that no bitmap knows of."""
    pages = -(-disk.size // PAGE)
    found = dict(disk.content().pages)
    for number in {int(at * (pages - 1)), (int(at * (pages - 1)) + 7) % pages}:
        room = min(PAGE, disk.size - number * PAGE)
        found[number] = (scene.fresh().to_bytes(4, "little") * (PAGE // 4))[:room].ljust(PAGE, b"\0")
    disk.revert(Content(disk.size, found))


def _pause(scene: Scene, _: Args) -> str:
    source = scene.world.source
    if source is None:
        return "no source"
    if source.journal.paused:
        return f"resume {outcome_of(source.resume)}"
    scene.world.note("item paused")
    return f"pause {outcome_of(source.pause)}"


def _resync(scene: Scene, _: Args) -> str:
    source = scene.world.source
    if source is None:
        return "no source"
    scene.world.note("resync asked for")
    return outcome_of(source.owe_all)


def _deep(scene: Scene, args: Args) -> str:
    """A tracker lies, or not, and a deep check says by how much; what could not be checked is not tracked any more."""
    scene.supervise()
    world, oracle = scene.world, scene.oracle
    source, disk = world.source, scene.disk(integer(args, "disk"))
    if source is None or scene.is_hindered() or world.hypervisor.job is not None:
        return "impossible"
    if args["lie"]:
        _scribble(scene, disk, real(args, "at"))
        world.note("tracker lied")
    sealed: list[tuple[Point, CycleRecord]] = []
    outcome = outcome_of(lambda: sealed.append(source.cycle(witness=False, deep=True)))
    scene.settle()
    if outcome != "done":
        disk.bitmaps.clear()
    for point, record in sealed:
        for carried in record.disks:
            if carried.untracked_pages is not None:
                expected = _untracked(scene, point, carried.target)
                found = f"{carried.untracked_pages} pages untracked on {carried.target}, there are {expected}"
                oracle.must("I31", carried.untracked_pages == expected, found)
    scene.expect(outcome)
    return outcome


def _untracked(scene: Scene, point: Point, target: str) -> int:
    """Pages that differ between a point and the one before it and that no bitmap has."""
    dirty, granule = scene.oracle.tracked(point, target)
    instants = scene.world.hypervisor.instants
    parent, now = instants[scene.oracle.seen[-1].begun_us].disks[target], instants[point.begun_us].disks[target]
    known = {number for index in dirty for number in _pages(index, granule)}
    return len(set(changed_pages(parent, now)) - known)


def _pages(index: int, granule: int) -> Iterable[int]:
    return range(index * granule // PAGE, -(-((index + 1) * granule) // PAGE))


def _usurp(scene: Scene, _: Args) -> str:
    """The next term is given out, and a source of the old one comes back with what it knew: it is refused."""
    scene.supervise()
    world, oracle = scene.world, scene.oracle
    source, store = world.source, world.store
    if source is None or store is None or scene.is_hindered() or not world.points():
        return "impossible"
    old = world.returned_source()
    term = store.term(ITEM) + 1
    if old is None or outcome_of(lambda: store.raise_term(ITEM, term)) != "done":
        return "impossible"
    scene.move_to_term()
    before, watch = world.points(), world.on_offer
    world.on_offer = _unwatched  # what that host reads is none of our instants
    outcome = outcome_of(lambda: old.cycle(witness=False))
    world.on_offer = watch
    world.note("source of an old term")
    oracle.must("I29", outcome != "done", f"a source of a term before {term} is acknowledged")
    oracle.must("I29", world.points() == before, f"a source of a term before {term} changed the points")
    return outcome


def _unwatched(_: LogHeader) -> None:
    """Nobody looks."""


ASKED_DEEDS: Final[Mapping[str, Deed]] = {
    "offline": _offline,
    "pause": _pause,
    "resync": _resync,
    "deep": _deep,
    "usurp": _usurp,
}
"""Steps of operators, and of what they do behind the engine's back."""
