"""What each kind of step does to a scene.  Every deed returns what became of it, in words a repetition gives again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drill.errors import DrillError, Refused
from drill.fuzz.faults import SIDES, UNANSWERED
from drill.fuzz.scene import Args, Scene, integer, real
from drill.fuzz.steps import SECTOR
from drill.fuzz.world import ITEM, RECEIVER, SOURCE, outcome_of
from drill.replication.cycle import PREFIX
from drill.replication.journal import JournalFile
from drill.sim.disk import BitmapState, SimDisk

_ROTS = (".json", ".leaves", ".chunks", ".staged")
"""Files whose rot today's engine is to find; that of the points' own data awaits the scrub."""


def _write(scene: Scene, args: Args) -> str:
    scene.write(integer(args, "disk"), real(args, "at"), integer(args, "sectors"), integer(args, "fill"))
    return "wrote"


def _zero(scene: Scene, args: Args) -> str:
    disk = scene.disk(integer(args, "disk"))
    if scene.world.hypervisor.running:
        disk.zero(*scene.place(disk, real(args, "at"), integer(args, "sectors")))
    return "zeroed"


def _cycle(scene: Scene, args: Args) -> str:
    world = scene.world
    scene.supervise()
    scene.plan(args)
    source = world.source
    outcome = "no source" if source is None else outcome_of(lambda: source.cycle(witness=False))
    scene.settle()
    if source is not None and world.processes[SOURCE].alive and not world.happened & UNANSWERED:
        scene.oracle.must("I32", world.hypervisor.job is None, "a cycle is over and its job is still open")
    scene.expect(outcome)
    return outcome


def _restart(scene: Scene, args: Args) -> str:
    side, world = str(args["side"]), scene.world
    again = scene.crashed[side]
    world.start(side)
    scene.plan(args)
    outcome = scene.first_look(side)
    scene.settle()
    if world.processes[side].alive:
        scene.crashed[side] = False
        scene.facts.recovered = again
    return f"{side} {outcome}"


def _power(scene: Scene, args: Args) -> str:
    for side in SIDES:
        if args["side"] in (side, "both"):
            scene.world.stop(side)
            scene.cut_power(side)
            scene.world.note(f"{side} power lost idle")
            scene.facts.interrupted = scene.crashed[side] = True
    return "dark"


def _end(scene: Scene, args: Args) -> str:
    """Stop replicating; what was cut short is asked again, as an operator would."""
    world = scene.world
    scene.supervise()
    scene.forgot = True
    scene.plan(args)
    outcome = "no source" if world.source is None else outcome_of(world.source.end)
    scene.settle()
    if outcome != "done":
        _end_again(scene)
    left = [name for name in world.hypervisor.checkpoints if name.startswith(PREFIX)]
    scene.oracle.must("I20", not left or outcome == "no source", f"checkpoints {left} are left behind")
    world.source = None
    if args["again"] and world.processes[SOURCE].alive:
        scene.protect()
    return outcome


def _end_again(scene: Scene) -> None:
    """The host is up again, and the journal says whether there is anything to end."""
    world = scene.world
    world.network.up, world.files[SOURCE].room = True, None
    scene.open(SOURCE)
    if not world.processes[SOURCE].alive:
        return
    file = JournalFile(world.files[SOURCE], ITEM)
    if (journal := file.load()) is not None:
        source = world.make_source(file, journal)
        scene.oracle.must("I16", outcome_of(source.end) == "done", "an end that was cut short cannot be repeated")


def _qemu(scene: Scene, args: Args) -> str:
    hypervisor = scene.world.hypervisor
    if args["how"] == "kill":
        hypervisor.kill()
        scene.world.note("QEMU killed")
    else:
        hypervisor.stop()
        scene.world.note("QEMU stopped")
    if args["back"]:
        hypervisor.start()
    return "off and on" if args["back"] else "off"


def _bitmap(scene: Scene, args: Args) -> str:
    bitmaps = scene.disk(integer(args, "disk")).bitmaps
    if not bitmaps:
        return "no bitmap"
    if args["in use"]:
        for bitmap in bitmaps.values():
            bitmap.state = BitmapState.IN_USE
        scene.world.note("bitmap in use")
    else:
        bitmaps.clear()
        scene.world.note("bitmap vanished")
    return "lost"


def _define(scene: Scene, _: Args) -> str:
    scene.world.hypervisor.define_anew()
    scene.world.note("domain defined anew")
    return "defined"


def _foreign(scene: Scene, _: Args) -> str:
    hypervisor = scene.world.hypervisor
    if not hypervisor.running or hypervisor.job is not None:
        return "impossible"
    hypervisor.begin(f"theirs-{scene.fresh()}", dict.fromkeys(hypervisor.disks)).end()
    scene.world.note("foreign checkpoint")
    return "taken"


def _grow(scene: Scene, args: Args) -> str:
    hypervisor = scene.world.hypervisor
    target = sorted(hypervisor.disks)[integer(args, "disk") % len(hypervisor.disks)]
    if not hypervisor.resize(target, hypervisor.disks[target].size + integer(args, "sectors") * SECTOR):
        return "refused"
    scene.world.note("disk grown")
    return "grown"


def _plug(scene: Scene, args: Args) -> str:
    hypervisor, target = scene.world.hypervisor, "vdb" if integer(args, "disk") % 2 else "vdc"
    if hypervisor.remove(target):
        scene.world.note("disk removed")
        return "removed"
    if not hypervisor.add(target, SimDisk(integer(args, "sectors") * SECTOR, granule=65536, cluster=65536)):
        return "refused"
    scene.world.note("disk added")
    return "added"


def _clock(scene: Scene, args: Args) -> str:
    clock, seconds = scene.world.clock, integer(args, "seconds")
    clock.frozen = clock.frozen ^ (not seconds)
    clock.jump(seconds)
    scene.oracle.jumped = True
    scene.world.note("clock jumped" if seconds else "clock frozen")
    return "jumped"


def _room(scene: Scene, args: Args) -> str:
    pages = integer(args, "pages")
    scene.world.files[str(args["side"])].room = None if pages < 0 else pages
    return "room"


def _network(scene: Scene, args: Args) -> str:
    scene.world.network.up = bool(args["up"])
    return "up" if args["up"] else "down"


def _stale(scene: Scene, args: Args) -> str:
    """An old log arrives: refused without a trace, or acknowledged again, or the next one after all."""
    world, oracle = scene.world, scene.oracle
    if world.store is None or not world.network.kept or outcome_of(world.points) != "done":
        return "nothing"
    before, version = oracle.seen, world.files[RECEIVER].version
    found = world.network.deliver_again(integer(args, "which"))
    if found is None:
        return "nothing"
    letter, answer = found
    if isinstance(answer, DrillError):
        kept = version == world.files[RECEIVER].version or not isinstance(answer, Refused)
        oracle.must("I9", kept, "a log was refused and something written")
        return answer.id
    sealed = [point for point in before if point.begun_us == letter.header.begun_us]
    if not sealed:
        return "taken"
    oracle.must("I8", answer == sealed[0], "the same log again is another point")
    oracle.must("I8", world.points()[-1].point == before[-1], "the same log again changed the points")
    return "again"


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
    path = rotten[integer(args, "file") % len(rotten)]
    place, bit = int(real(args, "at") * files.inode(path).size), integer(args, "bit")
    if path.endswith(".json") and _is_generation(files.inode(path).pages.get(0, b""), place):
        return "no checksum covers the generation yet"
    files.flip(path, place, bit)
    world.note(f"{side} rot")
    scene.rotten = True
    if not path.endswith(".json"):
        return path.rpartition(".")[2]
    outcome = scene.open(side)
    found = world.source is None if side == SOURCE else outcome in ("Damaged", "BadInput")
    scene.oracle.must("I10", found, f"{path} has a flipped bit at {place} and is served: {outcome}")
    if args["mend"]:
        files.flip(path, place, bit)
        return f"mended {scene.open(side)}"
    if side == SOURCE:
        scene.protect()
        return "given up"
    return f"given up {_forget(scene, args)}"


def _is_generation(text: bytes, place: int) -> bool:
    """Whether a byte of a state file belongs to its generation: `drill KIND GENERATION DIGEST`."""
    word, kind, generation, *_ = text.split(b" ", 3)
    start = len(word) + len(kind) + 2
    return start <= place < start + len(generation)


def _spoil(scene: Scene, _: Args) -> str:
    """A bit of a sealed point's data flips, which the engine does not notice: the canary, no step of a walk."""
    files = scene.world.files[RECEIVER]
    path = next(path for path in sorted(files.paths()) if path.endswith(".raw"))
    files.flip(path, 0, 0)
    return "spoilt"


def _forget(scene: Scene, _: Args) -> str:
    receiver = scene.world.receiver
    if receiver is None:
        return "down"
    outcome = outcome_of(lambda: receiver.forget(ITEM))
    if outcome == "done":
        scene.reset(())
        scene.world.note("receiver forgot")
    return outcome


def _rehearse(scene: Scene, args: Args) -> str:
    """Disks for a test failover over a point: looked at, written to by the guest that runs there, taken away."""
    world, receiver, oracle = scene.world, scene.world.receiver, scene.oracle
    if receiver is None or outcome_of(world.points) != "done" or not world.points():
        return "nothing"
    points, version = world.points(), world.files[RECEIVER].version
    point = points[integer(args, "which") % len(points)].point
    truth = world.hypervisor.instants[point.begun_us].disks
    for disk in receiver.overlays("run-1", ITEM, point.epoch, point.sequence):
        shown = world.images.content(disk.path, "raw" if disk.path.endswith(".raw") else "qcow2")
        oracle.must("I24", shown.same(truth[disk.target]), f"{disk.target} of {point.epoch}/{point.sequence}")
        world.images.scribble(disk.path)
    receiver.remove_overlays("run-1")
    oracle.must("I24", version == world.files[RECEIVER].version, "a test failover changed the store")
    return "rehearsed"


DEEDS: Final[Mapping[str, Callable[[Scene, Args], str]]] = {
    "write": _write,
    "pages": _write,
    "zero": _zero,
    "cycle": _cycle,
    "restart": _restart,
    "power": _power,
    "qemu": _qemu,
    "bitmap": _bitmap,
    "define": _define,
    "foreign": _foreign,
    "grow": _grow,
    "plug": _plug,
    "clock": _clock,
    "room": _room,
    "network": _network,
    "stale": _stale,
    "keep": _keep,
    "put back": _put_back,
    "rot": _rot,
    "end": _end,
    "forget": _forget,
    "rehearse": _rehearse,
    "spoil": _spoil,
}
