"""A world under watch: who starts its processes again, what is mended in time, the oracle's look after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from drill.errors import Damaged, DrillError
from drill.fuzz import faults, thaw
from drill.fuzz.faults import HARMLESS, SIDES
from drill.fuzz.group_watch import GroupWatch
from drill.fuzz.oracle import Oracle, StepFacts, Violated
from drill.fuzz.steps import SECTOR, Value
from drill.fuzz.world import ITEM, RECEIVER, SOURCE, DiskPlan, Ground, World, outcome_of
from drill.model.cycle import LogHeader
from drill.model.point import OverlayDisk
from drill.model.retention import RetentionPolicy
from drill.replication import manifest
from drill.replication.cycle import PREFIX
from drill.replication.manifest import SealedPoint
from drill.sim.content import PAGE
from drill.sim.disk import SimDisk
from drill.sim.process import Process

CALM_CYCLES = 3
"""Within so many cycles without a fault the replica must be exact again (L1)."""

PATIENCE = 2
"""After so many cycles that something hinders, an operator mends what hinders them."""

Args = Mapping[str, Value]


class Scene:
    """A world, its oracle, and what is known of the step under way.

    `forgot`: the source may take its next copy whole, for its journal or the receiver's points were changed from
    outside.  `rotten`: a bit has rotted somewhere and may be found at any later time.
    """

    def __init__(
        self,
        plans: Sequence[DiskPlan],
        noted: Counter[str],
        invariants: Counter[str],
        ground: Ground | None = None,
    ) -> None:
        self.world = World(plans, noted, ground)
        self.oracle = Oracle(self.world.hypervisor.instants, invariants)
        self.facts = StepFacts()
        self.forgot = True
        self.rotten = False
        self.held: list[OverlayDisk] = []
        self.crashed = dict.fromkeys(SIDES, False)
        self._looked: tuple[tuple[SealedPoint, ...] | None, int] = (None, -1)
        self._marks = dict.fromkeys(SIDES, (0, 0))
        self._checked: tuple[object, ...] = ()
        self._troubled = True
        self._reserved: int | None = None
        self._calm = 0
        self._standing = 0
        self._fresh = 0
        self.group: GroupWatch | None = None
        self._args: Args = {}
        self.on_cut: Callable[[str], None] = nobody_asks
        self.world.on_offer = self._offered
        self.world.hypervisor.on_drop = self._dropped
        self.world.on_rival = self.rival
        self.world.network.on_midway = self._midway
        for side in SIDES:
            self.world.start(side)
            self.world.open(side)
        self.world.protect()
        if self.world.store is not None:
            window = self.oracle.kept.window_seconds
            self.world.store.retain(ITEM, RetentionPolicy(window_seconds=window, additional=1))

    def begin(self, args: Args) -> None:
        """A step begins."""
        world = self.world
        world.happened.clear()
        self._args = args
        if "salt" in args:
            world.reseed(integer(args, "salt"))
        world.network.attempts.clear()
        world.network.acknowledged.clear()
        world.network.flipped.clear()
        for side, files in world.files.items():
            self._marks[side] = (files.failed_syncs, files.times_full)
        self._reserved = world.reserved()
        self.facts = StepFacts()

    # ------------------------------------------------------------------------------------------------------- the guest

    def disk(self, index: int) -> SimDisk:
        """One of the domain's disks."""
        disks = self.world.hypervisor.disks
        return disks[sorted(disks)[index % len(disks)]]

    def place(self, disk: SimDisk, at: float, sectors: int) -> tuple[int, int]:
        """(offset, length) in bytes of sectors at a part of a disk."""
        length = min(sectors * SECTOR, disk.size)
        return int(at * (disk.size - length)) // SECTOR * SECTOR, length

    def write(self, disk: int, at: float, sectors: int, fill: int) -> None:
        """What a guest writes: every page another, or zeros as data for a fill of 0."""
        found = self.disk(disk)
        offset, length = self.place(found, at, sectors)
        data = bytes(length)
        if fill:
            pages = range(fill, fill - (-length // PAGE))
            data = b"".join([number.to_bytes(4, "little") * (PAGE // 4) for number in pages])[:length]
        if self.world.hypervisor.writes:
            found.write(offset, data)

    def write_meanwhile(self, disk: int, at: float) -> None:
        """What a guest writes in the middle of a cycle."""
        self.write(disk, at, 9, self.fresh())

    def write_anew(self) -> None:
        """What a guest of a group writes: a page that no walk has written yet."""
        self.write(0, 0.0, 8, self.fresh())

    def rival(self) -> str:
        """A second agent's cycle; our next one begins a new epoch."""
        self.forgot = True
        self.trouble()
        return self.world.rival_cycle()

    def fresh(self) -> int:
        """A number that this walk has not used."""
        self._fresh += 1
        return self._fresh

    # ---------------------------------------------------------------------------------------------- starts and mending

    def plan(self, args: Args) -> None:
        """Plan a step's faults."""
        faults.plan(self.world, args, self.write_meanwhile)

    def settle(self) -> None:
        """Processes that were killed are gone, power that was lost is back, and no fault waits any more."""
        for side in SIDES:
            if not self.world.processes[side].alive:
                self._bury(side)
        faults.settle(self.world)

    def supervise(self) -> None:
        """What service managers and operators do: start what ended, and after a while mend what stands in the way."""
        world = self.world
        if self._standing >= PATIENCE:
            self.heal()
        if self._standing and (world.hypervisor.frozen or not world.hypervisor.running):
            world.hypervisor.start()
        for side in SIDES:
            if not world.processes[side].alive:
                self.open(side)
        if world.store is not None:
            self.look()
        if world.processes[SOURCE].alive and world.source is None:
            self.protect()
        self.move_to_term()
        self._give_up_what_is_not_carried()

    def give_up_seed(self) -> None:
        """No medium will come: the first copy goes over the network, as an operator orders it."""
        world = self.world
        if world.source is None:
            self.open(SOURCE)
        source = world.source
        if source is None or source.journal.seeding is None:
            return
        given_up = replace(source.journal, seeding=None, pending=None)
        if outcome_of(lambda: source.save(given_up)) != "done":
            self.trouble()

    def _give_up_what_is_not_carried(self) -> None:
        """A source that waits for a medium, and a receiver that has not its point (any more)."""
        journal = self.world.source.journal if self.world.source else None
        if journal is None or journal.seeding is None:
            return
        wanted = journal.pending.log_digest if journal.pending else ""
        if not any(point.log_digest == wanted for point in self.oracle.seen):
            self.give_up_seed()

    def move_to_term(self) -> None:
        """An operator gives the source the term that the receiver confirms: another one is refused (I29)."""
        source, store = self.world.source, self.world.store
        if source is None or store is None or outcome_of(lambda: store.term(ITEM)) != "done":
            return
        order, term = source.journal.order, store.term(ITEM)
        if order.term < term:
            moved = replace(source.journal, order=replace(order, term=term))
            outcome_of(lambda: source.save(moved))

    def heal(self) -> None:
        """Everything that stands in the way is mended."""
        world = self.world
        world.network.up, world.network.deaf = True, False
        world.clock.frozen, world.clock.rate = False, 1
        world.hypervisor.start()
        stopped = self.is_stopped()
        for side in SIDES:
            world.files[side].room = None
            process = world.processes[side]
            if self._standing >= PATIENCE or stopped or not process.alive or process.armed:
                self.open(side)
        if world.source is None:
            self.protect()
        self.move_to_term()
        if (source := world.source) is not None and source.journal.paused:
            outcome_of(source.resume)

    def open(self, side: str) -> str:
        """Start a side; a file system that is read-only is mounted anew before."""
        world = self.world
        world.stop(side)
        if world.files[side].read_only:
            self.cut_power(side)
        world.start(side)
        return self.first_look(side)

    def first_look(self, side: str) -> str:
        """What a process that was started does first; what became of it."""
        world = self.world
        world.files[side].failed_syncs = 0
        world.files[side].doubted.clear()
        self._marks[side] = (0, self._marks[side][1])
        is_kept = side == RECEIVER and world.has_reserve()
        outcome = outcome_of(lambda: world.open(side))
        if is_kept:
            self.oracle.must(
                "I19", outcome not in ("Failed", "OSError"), f"a store with a reserve is not opened: {outcome}"
            )
        if side == SOURCE and outcome != "done":
            world.stop(SOURCE)
        return outcome

    def protect(self) -> None:
        """The order to replicate is given again."""
        if outcome_of(self.world.protect) == "done":
            self.forgot = True
            self.world.note("protected anew")

    def cut_power(self, side: str, loss: int | None = None) -> None:
        """The power of a host whose process is gone; `loss`, or a step's, says alone what is lost."""
        self.on_cut(side)
        if loss is not None or "loss" in self._args:
            self.world.reseed(integer(self._args, "loss") if loss is None else loss)
        if side == RECEIVER:
            self.end_test()
        for files in (self.world.files[side], *((self.world.runs,) if side == RECEIVER else ())):
            files.lose_power()
            for kind, count in files.losses.items():
                if count:
                    self.world.note(kind)
            files.losses.clear()

    def end_test(self) -> None:
        """The test failover that stays is over: its machines went with the power, or what it stands on is gone."""
        self.held.clear()
        self.oracle.kept.used.clear()

    def clear_runs(self) -> None:
        """No test failover has left anything."""
        self.end_test()
        self.world.clear_runs()

    def _bury(self, side: str) -> None:
        world = self.world
        world.stop(side)
        if side == SOURCE and world.hypervisor.job is not None:
            world.note("left-over job")
        if f"{side} power lost" in world.happened:
            self.cut_power(side)
        self.facts.interrupted = True
        self.crashed[side] = True

    def is_read_only(self, side: str) -> bool:
        """Whether a side's file system must be mounted anew."""
        return self.world.files[side].read_only

    def is_stopped(self) -> bool:
        """Whether a side refuses to go on after a failed fsync, until it is started again (I18)."""
        return any(files.failed_syncs or files.read_only for files in self.world.files.values())

    # ---------------------------------------------------------------------------------------------------------- checks

    def expect(self, outcome: str) -> None:
        """A cycle that nothing hinders must succeed, at once or after what went wrong before it (L1)."""
        happened = self.world.happened - HARMLESS
        if outcome == "done":
            self.forgot = False
            self._calm = self._standing = 0
            self._troubled = bool(happened) or self.rotten
            return
        hindered = self.is_hindered()
        if hindered or happened:
            self._standing += hindered
            self.trouble()
            return
        self._calm += 1
        self.oracle.must("L1", self._troubled, f"a cycle ended with {outcome} although nothing was wrong")
        self.oracle.must("L1", self._calm < CALM_CYCLES, f"{self._calm} cycles without a fault ended with {outcome}")

    def trouble(self) -> None:
        """Something happened after which a cycle may fail."""
        self._calm, self._troubled = 0, True

    def check(self, kind: str, outcome: str) -> None:
        """What must hold after a step."""
        world, facts = self.world, self.facts
        state = (world.store, *(files.version for files in world.files.values()))
        if state == self._checked and kind != "cycle" and not world.happened:
            return  # not a byte is other than when it was judged
        self._checked = state
        if kind != "cycle" and world.happened - HARMLESS:
            self.trouble()
        facts.attempts, facts.acknowledged = world.network.attempts, world.network.acknowledged
        facts.spoilt = world.network.flipped
        self.oracle.arriving.extend(facts.attempts)
        facts.sync_failed, facts.full = self._failed_syncs(), self._full()
        if "two agents during a cycle" in world.happened:  # one's log may have met what the other's did not
            facts.sync_failed, facts.full = facts.sync_failed - {RECEIVER}, facts.full - {RECEIVER}
        for one, again in world.network.doubled:
            self.oracle.must("I8", one == again, f"the same log again is {again}")
        world.network.doubled.clear()
        if kind == "cycle":
            self.oracle.judge_errors(facts, done=outcome == "done", rival="two agents during a cycle" in world.happened)
        if world.store is not None:
            self.look()
            if outcome == "receiver done" and self.oracle.seen:
                orphans = world.orphans(world.points()) - world.named()
                self.oracle.must("I20", not orphans, f"{sorted(orphans)} are left behind")

    def look(self) -> None:
        """The oracle's look at what the receiver serves now."""
        world, files = self.world, self.world.files[RECEIVER]
        try:
            points = world.points()
        except (DrillError, OSError, MemoryError) as error:
            hindered = files.failed_syncs or files.read_only or files.room is not None
            if isinstance(error, Damaged) or not (hindered or world.processes[RECEIVER].armed):
                raise Violated("I4", f"points cannot be served: {error}") from error
            return
        if self._looked[0] is points and self._looked[1] == files.version:
            return
        self.oracle.logs = {letter.header.begun_us: letter.log for letter in world.network.kept}
        self.oracle.damaged = frozenset(found.point for found in points if found.damaged)
        try:
            contents = world.contents(points)
        except DrillError as error:
            raise Violated("I1", f"a point cannot be read: {error}") from error
        self.oracle.look(contents, self.facts)
        self._looked = (points, files.version)
        self._look_at_test()

    def _look_at_test(self) -> None:
        """What a test failover that stays shows is what its point is, whatever was done beneath it; but for rot."""
        for point in self.oracle.kept.used - self.oracle.damaged:
            truth = self.world.hypervisor.instants[point.begun_us].disks
            for disk in self.held:
                try:
                    shown = self.world.images.content(disk.path, "qcow2")
                except DrillError as error:
                    raise Violated("I21", f"a disk of a test failover cannot be read: {error}") from error
                self.oracle.must("I24", shown.same(truth[disk.target]), f"{disk.target} changed beneath a test")

    def _midway(self) -> None:
        """Somebody reads the store while a log arrives, without asking the agent: it describes itself."""
        world, files = self.world, self.world.files[RECEIVER]
        process, files.process = files.process, Process(world.note)
        try:
            found = manifest.peek(files, ITEM)
            points = found.value.points if found else ()
            first, seen = len(world.network.attempts) <= 1, self.oracle.seen
            whole = tuple(one.point for one in points)[: None if first else len(seen)]
            self.oracle.must("I16", whole == seen, "half a log is a point")
            self.oracle.exact(world.contents(points))
        finally:
            files.process = process

    def reset(self, points: Sequence[SealedPoint]) -> None:
        """The receiver's points were changed from outside: these are what it has."""
        self._looked = (None, -1)
        self.forgot = True
        self.end_test()
        self.oracle.reset(found.point for found in points)

    def is_hindered(self) -> bool:
        """Whether anything stands in the way of a cycle."""
        world = self.world
        return (
            not world.network.up
            or world.network.deaf
            or world.hypervisor.frozen
            or not world.hypervisor.running
            or world.source is None
            or world.source.journal.paused
            or world.store is None
            or any(files.room is not None for files in world.files.values())
            or any(process.armed for process in world.processes.values())
            or self.is_stopped()
        )

    def _failed_syncs(self) -> frozenset[str]:
        for side, files in self.world.files.items():
            self.oracle.must("I18", not files.retried_syncs, f"{side}: a failed fsync was simply tried again")
            again = files.replaced_in_doubt
            self.oracle.must("I18", not again, f"{side}: a state file was replaced although its last sync had failed")
        return frozenset(s for s, files in self.world.files.items() if files.failed_syncs > self._marks[s][0])

    def _full(self) -> frozenset[str]:
        found = {side for side, files in self.world.files.items() if files.times_full > self._marks[side][1]}
        found |= {side for side in SIDES if f"{side} ENOSPC" in self.world.happened}
        return frozenset(found - ({RECEIVER} if self.gave_reserve() else set()))

    def gave_reserve(self) -> bool:
        """Whether the receiver gave its reserve back within this step: what found no room may have found it then."""
        if given := self._reserved is not None and self.world.reserved() is None:
            self.world.noted["reserve given back"] += 1
        return given

    def _offered(self, header: LogHeader) -> None:
        thaw.judge_flag(self.oracle, header, self.world.hypervisor)
        self.oracle.offered(header, self.world.hypervisor.job)

    def _dropped(self, checkpoint: str) -> None:
        if not checkpoint.startswith(PREFIX):
            raise Violated("I32", f"checkpoint {checkpoint} of somebody else was dropped")
        if not self.forgot:
            world = self.world
            begun = world.hypervisor.taken.get(checkpoint)
            self.oracle.dropped(begun, world.network.acknowledged, certain=world.journal_is_certain())


Deed: TypeAlias = Callable[[Scene, Args], str]
"""What a step does; it returns what became of it."""


def nobody_asks(_side: str) -> None:
    """Nobody asks what may be lost."""


def integer(args: Args, name: str) -> int:
    """A number of a step's arguments."""
    return int(args[name])  # type: ignore[arg-type]


def real(args: Args, name: str) -> float:
    """A part of 1 of a step's arguments."""
    return float(args[name])  # type: ignore[arg-type]
