"""A first copy that is carried on a medium instead of sent, and what befalls it on its way (spec H2, I15)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from drill.fuzz.scene import Args, Scene, integer, real
from drill.fuzz.world import ITEM, SOURCE, outcome_of
from drill.model.cycle import LogHeader
from drill.replication import seeding
from drill.replication.exporting import export
from drill.replication.manifest import SealedPoint
from drill.replication.seeding import SeedMedium, SeedStream
from drill.sim.files import SimFiles
from drill.sim.process import Process

PART_BYTES: Final = 1 << 14


def seed(scene: Scene, args: Args) -> str:
    """Protection is given anew with a first copy on a medium, which is imported twice: it is a point once, or never."""
    world = scene.world
    scene.supervise()
    if world.source is None or world.store is None or outcome_of(world.points) != "done":
        return "nothing"
    scene.forgot = True
    if not world.hypervisor.running or outcome_of(world.source.end) != "done":
        return "nothing"
    world.source = None
    scene.protect()
    medium = _Watched(scene)
    scene.plan(args)
    outcome = _exported(scene, medium)
    scene.settle()
    if outcome != "done" or medium.header is None:
        scene.give_up_seed()
        return f"export {outcome}"
    found = _carried(scene, medium, medium.header, args)
    if found != "whole done":
        scene.give_up_seed()
    return found


def _exported(scene: Scene, medium: _Watched) -> str:
    source = scene.world.source
    if source is None:
        return "no source"
    points = scene.world.points()
    head = points[-1].point if points else None
    ports = scene.world.source_ports(scene.world.processes[SOURCE])
    return outcome_of(lambda: export(source, ports, medium, head, witness=False))


def _carried(scene: Scene, medium: _Watched, header: LogHeader, args: Args) -> str:
    """The import, and the same again; what was spoilt on its way is no point, and what is a point is one only once."""
    world, oracle = scene.world, scene.oracle
    how = str(args["how"])
    _befall(medium.tree, how, args)
    if how != "whole":
        world.note(f"medium {how}")
    before, store = world.points(), world.store
    if store is None:
        return "down"
    oracle.arriving.append(header)

    def take() -> object:
        return seeding.take_in(store, medium.tree, ITEM, _nobody)

    first = outcome_of(take)
    points = _served(scene)
    if how == "whole":
        fine = points[:-1] == before and bool(points) and points[-1].point.begun_us == header.begun_us
        oracle.must("I15", first != "done" or fine, "an import is done and its point is not there")
    else:
        oracle.must("I15", first != "done", f"a medium that is {how} is imported")
        oracle.must("I15", points in {before, ()}, f"a medium that is {how} changed the points")
    again = outcome_of(take)
    oracle.must("I15", first != "done" or again == "done", "a seed cannot be imported again")
    oracle.must("I15", first != "done" or _served(scene) == points, "a seed imported again is another point")
    return f"{how} {'done' if 'done' in (first, again) else first}"


def _served(scene: Scene) -> tuple[SealedPoint, ...]:
    """The receiver's points; none where its disk is too full, or has failed, to serve any."""
    world = scene.world
    return world.points() if outcome_of(world.points) == "done" else ()


def _befall(tree: SimFiles, how: str, args: Args) -> None:
    paths = sorted(tree.paths())
    path = paths[integer(args, "file") % len(paths)]
    size = tree.inode(path).size
    if how == "lost":
        for one in paths:
            tree.remove(one)
    elif how == "flipped":
        tree.flip(path, min(int(real(args, "at") * size), size - 1), integer(args, "bit"))
    elif how == "cut":
        tree.truncate(path, int(real(args, "at") * size))
    elif how == "without a part":
        tree.remove(path)
    elif how == "of another day":
        tree.write(f"{ITEM}/part-9999", 0, b"left of another seed")


class _Watched(SeedMedium):
    """A medium of our own, without faults while it is written; the oracle learns what was read for it."""

    def __init__(self, scene: Scene) -> None:
        self.tree = SimFiles(Process(_nothing), scene.world.rng, "medium")
        self.header: LogHeader | None = None
        self._scene = scene
        super().__init__(self.tree, "vm", _nobody, part_bytes=PART_BYTES)

    @contextmanager
    def send(self, header: LogHeader) -> Iterator[SeedStream]:
        """Begin a seed."""
        self._scene.world.on_offer(header)
        with super().send(header) as stream:
            yield stream
        self.header = header


def _nobody(done: int, total: int) -> None:
    """Nobody watches how far it is."""


def _nothing(kind: str) -> None:
    """Nothing is counted."""
