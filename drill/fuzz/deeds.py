"""What each kind of step does to a scene.  Every deed returns what became of it, in words a repetition gives again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drill.errors import Damaged, DrillError, Refused
from drill.fuzz import thaw
from drill.fuzz.deeds_asked import ASKED_DEEDS
from drill.fuzz.deeds_group import group
from drill.fuzz.deeds_guest import GUEST_DEEDS
from drill.fuzz.deeds_hostile import hostile, intruder
from drill.fuzz.deeds_keep import KEEP_DEEDS
from drill.fuzz.deeds_seed import seed
from drill.fuzz.deeds_store import STORE_DEEDS
from drill.fuzz.faults import HARMLESS, SIDES, UNANSWERED
from drill.fuzz.scene import Args, Deed, Scene, integer
from drill.fuzz.steps import DRIFT
from drill.fuzz.world import ITEM, RECEIVER, SOURCE, outcome_of
from drill.replication.cycle import PREFIX
from drill.replication.journal import JournalFile

LOGS_MAX: Final = 4
"""Logs that may reach the receiver within one cycle: its own, one that comes twice, an old one, a rival's (L2)."""


def _cycle(scene: Scene, args: Args) -> str:
    world = scene.world
    scene.supervise()
    if sum(name.startswith(PREFIX) for name in world.hypervisor.checkpoints) > 1:
        world.note("left-over checkpoint")
    scene.plan(args)
    source = world.source
    outcome = (
        "no source"
        if source is None
        else outcome_of(lambda: source.cycle(witness=False, application_consistent=bool(args.get("application"))))
    )
    scene.settle()
    thaw.judge_thaw(scene.oracle, world)
    answered = not world.happened & UNANSWERED and not world.hypervisor.frozen
    if source is not None and world.processes[SOURCE].alive and answered:
        scene.oracle.must("I32", world.hypervisor.job is None, "a cycle is over and its job is still open")
    scene.oracle.must("L2", len(world.network.attempts) <= LOGS_MAX, f"{len(world.network.attempts)} logs in one cycle")
    ours = [name for name in world.hypervisor.checkpoints if name.startswith(PREFIX)]
    if outcome == "done" and not world.happened - HARMLESS:
        scene.oracle.must("I20", len(ours) <= 1, f"checkpoints {ours} are there after a cycle that was done")
    scene.expect(outcome)
    return outcome


def _restart(scene: Scene, args: Args) -> str:
    side, world = str(args["side"]), scene.world
    again = scene.crashed[side]
    world.start(side)
    scene.plan(args)
    outcome = scene.first_look(side)
    if outcome == "killed":
        world.note(f"{side} killed while starting")
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
    scene.heal()
    scene.open(SOURCE)
    if not world.processes[SOURCE].alive:
        return
    file = JournalFile(world.files[SOURCE], ITEM)
    try:
        journal = file.load()
    except Damaged:  # it rotted before, and so nothing was under way
        return
    if journal is not None:
        source = world.make_source(file, journal)
        scene.oracle.must("I16", outcome_of(source.end) == "done", "an end that was cut short cannot be repeated")


def _clock(scene: Scene, args: Args) -> str:
    clock, seconds = scene.world.clock, integer(args, "seconds")
    if seconds == DRIFT:
        clock.rate = 1 if clock.rate > 1 else 3
        scene.world.note("clock drifts")
        return "drifts"
    clock.frozen = clock.frozen ^ (not seconds)
    clock.jump(seconds)
    scene.oracle.jumped = True
    scene.world.note("clock jumped" if seconds else "clock frozen")
    return "jumped"


def _network(scene: Scene, args: Args) -> str:
    network = scene.world.network
    network.up, network.deaf = bool(args["up"]), bool(args.get("deaf"))
    return "deaf" if network.up and network.deaf else "up" if network.up else "down"


def _rival(scene: Scene, _: Args) -> str:
    """A second agent replicates the same item, with a state of its own."""
    scene.supervise()
    scene.world.note("two agents")
    return scene.rival()


def _second(scene: Scene, _: Args) -> str:
    """A second receiver is started on the store of the first: it is refused, or else takes the next log."""
    world, version = scene.world, scene.world.files[RECEIVER].version
    if world.store is None or not world.processes[RECEIVER].alive:
        return "nothing"
    world.note("second receiver")
    outcome = outcome_of(lambda: world.second_receiver(lambda: world.source and world.source.cycle(witness=False)))
    changed = version != world.files[RECEIVER].version
    if not world.network.acknowledged:  # else what the first one serves is looked at
        scene.oracle.must("I29", outcome == "Refused" and not changed, f"two receivers have one store: {outcome}")
    return outcome


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


DEEDS: Final[Mapping[str, Deed]] = {
    **ASKED_DEEDS,
    **GUEST_DEEDS,
    **STORE_DEEDS,
    **KEEP_DEEDS,
    "cycle": _cycle,
    "restart": _restart,
    "power": _power,
    "clock": _clock,
    "network": _network,
    "rival": _rival,
    "second": _second,
    "hostile": hostile,
    "intruder": intruder,
    "stale": _stale,
    "end": _end,
    "seed": seed,
    "group": group,
}
"""Every kind of step."""
