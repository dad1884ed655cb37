"""Cycles of a consistency group: the walk's item and its neighbours at one instant, and what goes wrong then (I2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from drill.errors import DrillError
from drill.fuzz import thaw
from drill.fuzz.faults import HARMLESS, UNANSWERED
from drill.fuzz.group_watch import NAME, GroupWatch
from drill.fuzz.neighbours import Freezers, Neighbour, Round
from drill.fuzz.scene import Args, Scene, integer
from drill.fuzz.world import DOMAIN, ITEM, SOURCE, outcome_of
from drill.model.point import GroupMark, Point
from drill.replication.cycle import ItemSource
from drill.replication.groups import Begun, GroupPorts, Meeting, Ready, Together, begin_together
from drill.sim.lanes import OneLane
from drill.sim.suspender import SimSuspender

PAUSED_SECONDS_MAX: Final = 5.0
FROZEN_SECONDS_MAX: Final = 10
SLOW: Final = frozenset({"slow checkpoint", "scratch slow"})
"""What may make checkpoints take longer than a pause, and no cycle fail."""

NEIGHBOURS: Final = 2


def group(scene: Scene, args: Args) -> str:
    """A cycle of the group; what became of the walk's own item."""
    scene.supervise()
    world = scene.world
    source = world.source
    watch = _watch(scene, integer(args, "neighbours"))
    sources = _sources(scene) if world.processes[SOURCE].alive else []
    if source is None or len(sources) < len(world.neighbours):
        return "no source"
    for host in watch.hosts().values():
        host.during += [watch.write_in_turn, watch.write_in_turn]
    scene.plan(args)
    trouble = str(args.get("trouble", ""))
    _befall(scene, trouble)
    mark = GroupMark(name=NAME, instant=world.nonce(), members=1 + len(sources))
    met: list[Meeting] = []
    round_ = _round(scene, source, sources, mark, met, freeze=bool(args.get("application")))
    outcome = outcome_of(round_.run)
    _end_trouble(scene, trouble)
    scene.settle()
    for host in watch.hosts().values():
        host.during.clear()
    _judge_guests(scene)
    if world.store is not None and (points := _points(scene)) is not None:
        watch.judge(points)
        if outcome == "done" and not round_.errors and not trouble and not world.happened - (HARMLESS - SLOW):
            there = points[ITEM] and points[ITEM][-1].group == mark
            scene.oracle.must("L1", bool(there), f"no instant although nothing was wrong: {met}")
    for one in world.neighbours:
        scene.oracle.must("I1", not (wrong := one.wrong()), f"{wrong} are not what they say")
    watch.write_in_turn()
    scene.expect(outcome)
    return outcome


def _watch(scene: Scene, count: int) -> GroupWatch:
    """The group of this walk, which has its neighbours from its first cycle on."""
    world = scene.world
    if scene.group is None:
        world.neighbours += [
            Neighbour(number + 1, world.clock, world.rng, world.nonce) for number in range(min(count, NEIGHBOURS))
        ]
        for one in world.neighbours:
            one.hypervisor.guest.noted = world.note
        scene.group = GroupWatch(world, scene.oracle, scene.write_anew)
    return scene.group


def _sources(scene: Scene) -> list[ItemSource]:
    """The neighbours' sources, in the agent's process; fewer where it cannot read what it has."""
    found = []
    for one in scene.world.neighbours:
        try:
            found.append(one.run_in(scene.world.processes[SOURCE]))
        except (DrillError, OSError, MemoryError):
            break
    return found


def _round(
    scene: Scene, main: ItemSource, sources: Sequence[ItemSource], mark: GroupMark, met: list[Meeting], *, freeze: bool
) -> Round:
    world = scene.world
    process = world.processes[SOURCE]
    hosts = {DOMAIN: world.hypervisor, **{one.domain: one.hypervisor for one in world.neighbours}}
    ports = GroupPorts(
        freezer=Freezers(hosts, process),
        suspender=SimSuspender(hosts.__getitem__, process),
        clock=world.clock,
        lanes=OneLane(),
    )

    def meet(ready: list[Ready]) -> Sequence[Begun | Exception]:
        met.append(begin_together(ports, ready, mark))
        return met[-1].begun

    def cycle_of(one: ItemSource) -> Callable[[Together], object]:
        return lambda together: one.cycle(witness=False, application_consistent=freeze, together=together)

    return Round([cycle_of(one) for one in (main, *sources)], meet)


def _points(scene: Scene) -> dict[str, tuple[Point, ...]] | None:
    """The points that every item's receiver serves, None where the main one's does not now."""
    try:
        sealed = scene.world.points()
    except (DrillError, OSError, MemoryError):
        return None
    main = tuple(found.point for found in sealed if not found.damaged)
    return {ITEM: main, **{one.item: one.points() for one in scene.world.neighbours}}


def _befall(scene: Scene, trouble: str) -> None:
    """What goes wrong with a neighbour, or with all guests while the neighbour's checkpoint is taken."""
    world = scene.world
    other = world.neighbours[-1]
    if trouble:
        world.note(f"group: {trouble}")
    match trouble:
        case "member off":
            other.hypervisor.stop()
        case "member refuses":
            other.hypervisor.refuses_checkpoints = True
        case "log of a member lost":
            other.lost = True
        case "guests resumed":
            other.hypervisor.during.insert(0, lambda: _resume(scene))
        case "checkpoint slow":
            other.hypervisor.during.insert(0, lambda: _dawdle(scene))
        case "member killed":
            other.hypervisor.during.insert(0, lambda: _kill(other))
        case "nobody watches":
            other.hypervisor.processors.watchless = True


def _resume(scene: Scene) -> None:
    """Somebody lets the guests run, and they do."""
    if scene.group is not None:
        for host in scene.group.hosts().values():
            host.processors.run()
        scene.group.write_in_turn()


def _dawdle(scene: Scene) -> None:
    """A checkpoint takes longer than the process outside lets guests stand still, and they write meanwhile."""
    scene.world.clock.sleep(PAUSED_SECONDS_MAX + 1)
    if scene.group is not None:
        scene.group.write_in_turn()


def _kill(other: Neighbour) -> None:
    other.hypervisor.kill()
    other.hypervisor.start()


def _end_trouble(scene: Scene, trouble: str) -> None:
    if not trouble:
        return
    other = scene.world.neighbours[-1]
    other.lost = False
    host = other.hypervisor
    host.refuses_checkpoints = host.processors.watchless = False
    host.start()


def _judge_guests(scene: Scene) -> None:
    """All guests run, at once or when the process outside had its time, and none stood still for longer than it may."""
    world, oracle = scene.world, scene.oracle
    thaw.judge_thaw(oracle, world)
    hosts = [world.hypervisor, *(one.hypervisor for one in world.neighbours)]
    answered = world.processes[SOURCE].alive and not world.happened & UNANSWERED and not world.hypervisor.frozen
    for host in hosts:
        if answered:
            oracle.must("I32", not host.processors.stand, "a cycle is over and a guest still stands still")
            oracle.must("I32", host is world.hypervisor or host.job is None, "a neighbour's job is still open")
    if not answered:
        world.clock.sleep(PAUSED_SECONDS_MAX)
    if any(host.guest.armed or host.guest.frozen for host in hosts[1:]):
        world.clock.sleep(thaw.PATIENCE_SECONDS)
    for host in hosts:
        longest = max((end - begin for begin, end in host.processors.periods), default=0.0)
        oracle.must("I32", not host.processors.stand, "a guest stands still after its time")
        oracle.must("I32", longest <= PAUSED_SECONDS_MAX, f"a guest stood still for {longest:.1f} s")
        host.processors.periods.clear()
    for host in hosts[1:]:
        frozen = max((end - begin for begin, end in host.guest.periods), default=0.0)
        oracle.must("L3", not host.guest.frozen and frozen <= FROZEN_SECONDS_MAX, "a neighbour is frozen too long")
        host.guest.periods.clear()
        host.guest.armed = False
