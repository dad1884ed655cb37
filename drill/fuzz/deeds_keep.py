"""How long points are kept: time passes, retention and folding go on in slices, points are locked and tested upon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drill.fuzz.scene import Args, Deed, Scene, integer
from drill.fuzz.world import ITEM, RECEIVER, outcome_of
from drill.model.retention import RetentionPolicy

RUN: Final = "run-2"
"""The test failover that stays for several steps."""

_ENDLESS: Final = 500
_LARGE_BYTES: Final = 1 << 20
"""Reading more would take longer than all other steps of a walk."""


def _pass_time(scene: Scene, args: Args) -> str:
    scene.world.clock.sleep(integer(args, "minutes") * 60.0)
    return "passed"


def _tend(scene: Scene, args: Args) -> str:
    """So many slices of upkeep; without a fault it ends, and then nothing is left that no point needs (I20)."""
    world, left = scene.world, integer(args, "slices")
    role = world.role
    if role is None or outcome_of(world.points) != "done":
        return "nothing"
    scene.plan(args)
    scene.oracle.kept.retiring = True
    outcome = "done"
    while left and outcome == "done":
        more: list[bool] = []
        outcome = outcome_of(lambda: more.append(role.tend(ITEM)))  # noqa: B023 - called at once
        left = left - 1 if more == [True] else 0
    is_calm = outcome == "done" and not world.happened
    scene.settle()
    is_over = integer(args, "slices") >= _ENDLESS and bool(scene.oracle.seen)
    if is_calm and is_over and not scene.oracle.kept.used:
        orphans = {path for path in world.orphans(world.points()) if path.endswith((".raw", ".qcow2", ".fold"))}
        scene.oracle.must("I20", not orphans, f"{sorted(orphans)} are left when there is nothing to do")
    return outcome


def _lock(scene: Scene, args: Args) -> str:
    world = scene.world
    if world.role is None or outcome_of(world.points) != "done" or not world.points():
        return "nothing"
    role, points = world.role, world.points()
    point = points[integer(args, "which") % len(points)].point
    if args["on"]:
        is_kept = world.has_reserve()
        scene.plan(args)
        outcome = outcome_of(lambda: role.lock(ITEM, point.epoch, point.sequence, "kept"))
        scene.settle()
        if is_kept:
            scene.oracle.must(
                "I19", outcome not in ("Failed", "OSError"), f"a store with a reserve locks nothing: {outcome}"
            )
        scene.oracle.kept.locked |= {point} if outcome == "done" else set()
        return f"locked {outcome}"
    scene.oracle.kept.locked.discard(point)
    scene.plan(args)
    outcome = outcome_of(lambda: role.unlock(ITEM, point.epoch, point.sequence))
    scene.settle()
    return f"unlocked {outcome}"


def _retain(scene: Scene, args: Args) -> str:
    role = scene.world.role
    if role is None:
        return "nothing"
    window, additional = integer(args, "window"), integer(args, "additional")
    scene.oracle.kept.window_seconds = min(scene.oracle.kept.window_seconds, window)
    scene.plan(args)
    outcome = outcome_of(lambda: role.retain(ITEM, RetentionPolicy(window_seconds=window, additional=additional)))
    scene.settle()
    if outcome == "done":
        scene.oracle.kept.window_seconds = window
    return outcome


def _hold(scene: Scene, args: Args) -> str:
    """A test failover begins and stays, while cycles, retention and folding go on beneath it."""
    world = scene.world
    if scene.held or world.role is None or outcome_of(world.points) != "done" or not world.points():
        return "nothing"
    role, points = world.role, world.points()
    point = points[integer(args, "which") % len(points)].point
    outcome = outcome_of(lambda: scene.held.extend(role.overlays(RUN, ITEM, point.epoch, point.sequence)))
    if outcome != "done":
        release(scene)
        return f"held {outcome}"
    scene.oracle.kept.used = {point}
    world.note("test failover open")
    return "held"


def release(scene: Scene) -> None:
    """The test failover that stays ends."""
    scene.held.clear()
    scene.oracle.kept.used = set()
    role = scene.world.role
    if role is not None:
        outcome_of(lambda: role.remove_overlays(RUN))


def _release(scene: Scene, _: Args) -> str:
    release(scene)
    return "released"


def _scrub(scene: Scene, args: Args) -> str:
    """A bit of a point's data flips, a scrub finds it, and points with damage are not served (I10).

    Then the bit is mended, or what it spoiled is left as it is: the next cycles must come to an exact point.
    """
    world, files = scene.world, scene.world.files[RECEIVER]
    store, role = world.store, world.role
    if any(disk.size > _LARGE_BYTES for disk in world.hypervisor.disks.values()):
        return "too large"
    if store is None or role is None or outcome_of(world.points) != "done" or not world.points() or files.read_only:
        return "nothing"
    paths = sorted(path for path in files.paths() if path.endswith((".raw", ".qcow2")) and files.inode(path).size)
    path = paths[integer(args, "file") % len(paths)]
    place, bit = int(float(str(args["at"])) * files.inode(path).size), integer(args, "bit")
    files.flip(path, place, bit)
    world.note("receiver data rot")
    outcome = outcome_of(lambda: store.scrub(ITEM, every=True))
    if outcome == "done":
        _judge(scene)
        if args.get("leave") and path.endswith(".raw"):  # what rotted in an overlay's tables nobody could read
            scene.rotten = True
            scene.trouble()
            return "left"
    files.flip(path, place, bit)
    if outcome == "done":
        outcome = outcome_of(lambda: store.scrub(ITEM, every=True))
    if outcome == "done":
        left = [found.point for found in world.points() if found.damaged]
        scene.oracle.must("I10", not left or scene.rotten, "points that are whole again are called damaged")
        scene.rotten = scene.rotten or bool(scene.world.store and store.report(ITEM).owed)
    scene.trouble()
    return f"scrubbed {outcome}"


def _judge(scene: Scene) -> None:
    """What the scrub says of every point, against what a guest would read from it."""
    world = scene.world
    for found, (point, disks) in zip(world.points(), world.readable(world.points()), strict=True):
        truth = world.hypervisor.instants[point.begun_us].disks
        wrong = [target for target, shown in disks.items() if shown is None or not shown.same(truth[target])]
        missed = set(wrong) - set(found.damaged)
        name = f"{point.epoch}/{point.sequence}"
        scene.oracle.must("I10", not missed, f"{name}: {sorted(missed)} rotted and the scrub did not see it")
        if wrong and world.role is not None:
            role = world.role
            outcome = outcome_of(lambda: role.overlays("run-3", ITEM, point.epoch, point.sequence))  # noqa: B023
            scene.oracle.must("I10", outcome == "Damaged", f"{name} rotted and is served: {outcome}")


KEEP_DEEDS: Final[Mapping[str, Deed]] = {
    "pass": _pass_time,
    "tend": _tend,
    "lock": _lock,
    "retain": _retain,
    "hold": _hold,
    "release": _release,
    "scrub": _scrub,
}
"""Steps of what is kept."""
