"""What befalls files at rest: room, rot, copies of another day; and what is asked of the receiver beside logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drill.fuzz.scene import Args, Deed, Scene, integer, real
from drill.fuzz.world import ITEM, RECEIVER, SOURCE, outcome_of
from drill.model.point import Point
from drill.replication import manifest
from drill.sim.content import PAGE, ZERO_PAGE

RUN: Final = "run-1"

SCRUBBED_MAX: Final = 64 << 20
"""Bytes of a disk beyond which no old file is put back: to scrub 5 GiB of holes takes as long as 2,000 walks."""

_ROTS = (".json", ".leaves", ".chunks", ".staged")
"""Files whose rot is found when they are used; that of the points' own data is found by the scrub."""


def _room(scene: Scene, args: Args) -> str:
    pages = integer(args, "pages")
    scene.world.files[str(args["side"])].room = None if pages < 0 else pages
    return "room"


def _keep(scene: Scene, args: Args) -> str:
    side = str(args["side"])
    scene.world.copies[side] = scene.world.files[side].copied()
    return "kept"


def _put_back(scene: Scene, args: Args) -> str:
    side, world = str(args["side"]), scene.world
    if side not in world.copies:
        return "no copy"
    world.stop(side)
    world.files[side].put_back(world.copies[side])
    world.files[side].room = None
    if side == RECEIVER:
        scene.clear_runs()
    world.note(f"{side} put back")
    scene.forgot = True
    outcome = scene.open(side)
    if side == RECEIVER and outcome == "done":
        scene.reset(world.points())
    return f"{side} {outcome}"


def _rot(scene: Scene, args: Args) -> str:
    """A bit flips at rest: state files are refused at the next start, digests found out when they are used."""
    side, world = str(args["side"]), scene.world
    files = world.files[side]
    rotten = [path for path in sorted(files.paths()) if path.endswith(_ROTS) and files.inode(path).size]
    if not rotten or files.read_only:
        return "nothing"
    kinds = sorted({path.rpartition(".")[2] for path in rotten})
    number, which = divmod(integer(args, "file"), len(kinds))
    rotten = [path for path in rotten if path.endswith(kinds[which])]
    path = rotten[number % len(rotten)]
    place, bit = int(real(args, "at") * files.used(path)), integer(args, "bit")
    files.flip(path, place, bit)
    world.note(f"{side} rot")
    scene.rotten = True
    if not path.endswith(".json"):
        return path.rpartition(".")[2]
    outcome = scene.open(side)
    if path.endswith(manifest.SCRUB):
        return "scrubbed earlier"
    found = world.source is None if side == SOURCE else outcome in ("Damaged", "BadInput")
    scene.oracle.must("I10", found, f"{path} has a flipped bit at {place} and is served: {outcome}")
    if args["mend"]:
        files.flip(path, place, bit)
        return f"mended {scene.open(side)}"
    if side == SOURCE:
        scene.protect()
        return "given up"
    return f"given up {_forget(scene, args)}"


def _spoil(scene: Scene, _: Args) -> str:
    """A bit of a sealed point's data flips, which the engine does not notice: the canary, no step of a walk."""
    files = scene.world.files[RECEIVER]
    path = next(path for path in sorted(files.paths()) if path.endswith(".raw"))
    files.flip(path, 0, 0)
    return "spoilt"


def _forget(scene: Scene, _: Args) -> str:
    scene.clear_runs()
    receiver = scene.world.receiver
    if receiver is None:
        return "down"
    outcome = outcome_of(lambda: receiver.forget(ITEM))
    if outcome == "done":
        scene.reset(())
        scene.world.note("receiver forgot")
    return outcome


def _old_file(scene: Scene, args: Args) -> str:
    """One file is that of an earlier day: a state file is built upon nowhere, digests are found out."""
    side, world = str(args["side"]), scene.world
    files = world.files[side]
    if side not in world.copies or files.read_only:
        return "no copy"
    if any(disk.size > SCRUBBED_MAX for disk in world.hypervisor.disks.values()):
        return "too large"
    older = sorted(path for path in files.older(world.copies[side]) if path.endswith(_ROTS))
    if not older:
        return "nothing"
    path = older[integer(args, "file") % len(older)]
    world.stop(side)
    files.put_back_one(world.copies[side], path)
    files.room = None
    world.note(f"{side} old file put back")
    scene.forgot = scene.rotten = True
    if side == RECEIVER:
        scene.clear_runs()
    outcome = scene.open(side)
    if side == RECEIVER and outcome == "done" and world.store is not None:
        if path.endswith(manifest.NAME):
            world.store.scrub(ITEM, every=True)
        scene.reset(world.points())
    if side == RECEIVER and outcome == "Damaged":  # it names files that are gone since
        return f"given up {_forget(scene, args)}"
    return f"{path.rpartition('.')[2]} {outcome}"


def _undo(scene: Scene, args: Args) -> str:
    """A page changes and changes back, and digests of the day between are those of the day before: it is sent (I1).

    No root can tell, for the receiver still has what the digests of its chunk say.
    """
    scene.supervise()
    world, files = scene.world, scene.world.files[SOURCE]
    disk = scene.disk(integer(args, "disk"))
    number = int(real(args, "at") * (disk.size // PAGE - 1))
    target = next(name for name, one in world.hypervisor.disks.items() if one is disk)
    if scene.is_hindered() or world.hypervisor.job is not None or not _cycled(scene):
        return "impossible"
    day, before = files.copied(), disk.content().pages.get(number, ZERO_PAGE)
    disk.write(number * PAGE, (scene.fresh().to_bytes(4, "little") * (PAGE // 4)))
    path = f"{ITEM}/digests/{target}.leaves"
    if not (_cycled(scene) and _cycled(scene)) or path not in files.older(day):
        return "unchanged"
    world.stop(SOURCE)
    files.put_back_one(day, path)
    world.note("source old file put back")
    scene.open(SOURCE)
    disk.write(number * PAGE, before)
    return "sent" if _cycled(scene) else "found out"


def _cycled(scene: Scene) -> bool:
    """Whether a cycle was done."""
    source = scene.world.source
    outcome = "no source" if source is None else outcome_of(lambda: source.cycle(witness=False))
    scene.settle()
    scene.expect(outcome)
    return outcome == "done"


def _rehearse(scene: Scene, args: Args) -> str:
    """Disks for a test failover over a point: looked at, written to by the guest that runs there, taken away.

    Whatever goes wrong, cleaning up ends with nothing left (L5), and not a byte of the store is another (I24).
    """
    world, oracle = scene.world, scene.oracle
    if world.receiver is None or outcome_of(world.points) != "done" or not world.points():
        return "nothing"
    points, version = world.points(), world.files[RECEIVER].version
    point = points[integer(args, "which") % len(points)].point
    world.runs.room = integer(args, "room") if "room" in args else None
    scene.plan(args)
    outcome = outcome_of(lambda: _failover_test(scene, point))
    if outcome == "done":
        outcome = outcome_of(lambda: _cleanup(scene))
    if outcome == "killed":
        world.note("test failover killed")
    calm = world.processes[RECEIVER].alive and not scene.is_read_only(RECEIVER)
    scene.settle()
    world.runs.room = None
    if calm:
        same = version == world.files[RECEIVER].version or scene.gave_reserve()
        oracle.must("I24", same, "a test failover changed the store")
    else:
        scene.open(RECEIVER)
    oracle.must("L5", outcome_of(lambda: _cleanup(scene)) == "done", "a test failover cannot be cleaned up")
    left = [path for path in world.runs.paths() if path.startswith(RUN)]
    oracle.must("L5", not left, f"{left} are left of a test failover")
    return f"rehearsed {outcome}"


def _failover_test(scene: Scene, point: Point) -> None:
    world, oracle, receiver = scene.world, scene.oracle, scene.world.receiver
    truth = world.hypervisor.instants[point.begun_us].disks
    for disk in receiver.overlays(RUN, ITEM, point.epoch, point.sequence) if receiver else ():
        shown = world.images.content(disk.path, "raw" if disk.path.endswith(".raw") else "qcow2")
        oracle.must("I24", shown.same(truth[disk.target]), f"{disk.target} of {point.epoch}/{point.sequence}")
        oracle.must("I25", shown.same(truth[disk.target]), f"{disk.target} of {point.epoch}/{point.sequence}")
        try:
            world.images.scribble(disk.path)
        except OSError:
            world.note("overlay full")


def _cleanup(scene: Scene) -> None:
    if scene.world.receiver is not None:
        scene.world.receiver.remove_overlays(RUN)


STORE_DEEDS: Final[Mapping[str, Deed]] = {
    "room": _room,
    "keep": _keep,
    "put back": _put_back,
    "rot": _rot,
    "forget": _forget,
    "rehearse": _rehearse,
    "undo": _undo,
    "old file": _old_file,
    "spoil": _spoil,
}
"""Steps of the files of both sides."""
