"""What must hold after every step, told from the simulation's own truth.

The oracle knows values of drill/model, contents of disks at each instant, and what the simulated parts saw; it shares
no code with the engine.  Each check counts itself, so that one that is never made stands out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drill.fuzz.carried import data_pages
from drill.fuzz.keeping import Keeping
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.sim.content import PAGE, Content
from drill.sim.disk import changed_pages, covered
from drill.sim.hypervisor import Instant, SimJob

INVARIANTS = (
    *(f"I{n}" for n in (*range(1, 26), 29, 31, 32)),
    *("L1", "L2", "L3", "L5", "S1"),
)
"""The invariants that walks evaluate."""

Seen = tuple[Point, Mapping[str, Content]]


class Violated(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


@dataclass(slots=True)
class StepFacts:
    """What happened to the receiver within one step, as the network and the processes saw it."""

    attempts: Sequence[LogHeader] = ()
    acknowledged: Sequence[Point] = ()
    spoilt: Sequence[LogHeader] = ()
    sync_failed: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    interrupted: bool = False
    recovered: bool = False


@dataclass(slots=True)
class Oracle:
    """The points seen so far, and the judgement on those that come.

    `arriving`: logs of which the receiver got any byte since it was last looked at.  `logs`: the last ones that were
    sent to their end, by `begun_us`.
    """

    instants: Mapping[int, Instant]
    counts: Counter[str]
    seen: tuple[Point, ...] = ()
    acknowledged: list[Point] = field(default_factory=list)
    arriving: list[LogHeader] = field(default_factory=list)
    jumped: bool = False
    logs: Mapping[int, bytes] = field(default_factory=dict)
    damaged: frozenset[Point] = frozenset()
    kept: Keeping = field(default_factory=Keeping)
    _jobs: dict[int, SimJob] = field(default_factory=dict)
    _full: dict[int, frozenset[str]] = field(default_factory=dict)
    _flags: dict[int, bool] = field(default_factory=dict)
    _compared: dict[int, frozenset[str]] = field(default_factory=dict)
    _verified: dict[tuple[int, str], Content] = field(default_factory=dict)

    def must(self, invariant: str, holds: bool, detail: str) -> None:
        """Count a check, and raise Violated where it does not hold."""
        self.counts[invariant] += 1
        if not holds:
            raise Violated(invariant, detail)

    def offered(self, header: LogHeader, job: SimJob | None) -> None:
        """A log begins to travel; the job it is read from is the one that is open."""
        if job is not None and job.begun_us == header.begun_us:
            self._jobs[header.begun_us] = job
            self._full[header.begun_us] = frozenset(disk.target for disk in header.disks if disk.full)
            self._flags[header.begun_us] = header.application_consistent
            self._compared[header.begun_us] = frozenset(disk.target for disk in header.disks if disk.compared)

    def tracked(self, point: Point, target: str) -> tuple[Iterable[int], int]:
        """Granules that the tracker had as changed when a point was taken, and how large one is."""
        self.must("I2", point.begun_us in self._jobs, f"{_name(point)} is of an instant that no log was offered for")
        job = self._jobs[point.begun_us]
        return job.dirty.get(target) or (), job.frozen[target].granule

    def reset(self, points: Iterable[Point]) -> None:
        """The receiver was put back to another day, or told to forget: from here on these are its points."""
        self.seen = tuple(points)
        self.kept.forget(self.seen)
        self.acknowledged = [point for point in self.acknowledged if point in self.seen]

    def look(self, found: Sequence[Seen], facts: StepFacts) -> None:
        """Judge the points that the receiver serves after a step."""
        points = tuple(point for point, _ in found)
        before, self.seen = self.seen, points
        before = self.kept.retired(self.must, before, points)
        kept = points[: len(before)] == before
        change = "" if kept else f"{_names(before)} became {_names(points)}"
        if change and set(before) <= set(points):
            raise Violated("I12", f"points changed their order: {change}")
        self.must("I4", kept, f"points that were served are gone or changed: {change}")
        fresh = points[len(before) :]
        self._acknowledged(points, facts)
        self._atomic(fresh, facts)
        for index in range(len(before), len(points)):
            self._ordered(points, index)
            self._covers(points, index)
        self.exact(found)

    def exact(self, found: Iterable[Seen]) -> None:
        """Every point is what the disks were at its instant, but for those that the store calls damaged."""
        for point, disks in found:
            if point not in self.damaged:
                self._exact(point, disks)

    def judge_errors(self, facts: StepFacts, *, done: bool, rival: bool) -> None:
        """What must not have been acknowledged, and what must not have been called done.

        Where a rival's cycle ran within ours, nobody can say whose log it was that an error befell.
        """
        alone = len(facts.attempts) == 1 and not rival
        if "receiver" in facts.sync_failed and alone:
            self.must("I18", not facts.acknowledged, "acknowledged after a failed fsync on the receiver")
        if "source" in facts.sync_failed:
            self.must("I18", not done, "a cycle was done although an fsync failed on the source")
        if "receiver" in facts.full and alone:
            self.must("I19", not facts.acknowledged, "acknowledged although the receiver's disk was full")
        if "source" in facts.full:
            self.must("I19", not done, "a cycle was done although the source's disk was full")

    def dropped(self, begun_us: int | None, told: Sequence[Point], *, certain: bool) -> None:
        """The source lets go of the checkpoint of an instant; `told` was acknowledged within this step."""
        acknowledged = (*self.acknowledged, *told)
        mine = [index for index, point in enumerate(acknowledged) if point.begun_us == begun_us]
        if not mine:
            self.counts["I5"] += 1
            return
        later = acknowledged[mine[-1] + 1 :]
        is_head = not later and bool(self.seen) and self.seen[-1].begun_us == begun_us
        self.must("I5", not is_head, "the base of the newest point was dropped with nothing after it")
        self.must("I5", certain, "the old base was dropped before the journal durably held the new one")

    def _acknowledged(self, points: Sequence[Point], facts: StepFacts) -> None:
        self.acknowledged.extend(facts.acknowledged)
        for point in facts.acknowledged:
            self.must(
                "I4",
                point in points or point.log_digest in self.kept.gone,
                f"{_name(point)} was acknowledged and is not there",
            )

    def _atomic(self, fresh: Sequence[Point], facts: StepFacts) -> None:
        offered = {(header.epoch, header.sequence, header.begun_us) for header in self.arriving}
        self.arriving.clear()
        spoilt = {(header.epoch, header.sequence, header.begun_us) for header in facts.spoilt}
        for point in fresh:
            flag = self._flags.get(point.begun_us, point.application_consistent)
            self.must("I13", point.application_consistent == flag, f"{_name(point)} is not labelled as its log was")
            key = (point.epoch, point.sequence, point.begun_us)
            self.must("I16", key in offered, f"{_name(point)} appeared without its log")
        if spoilt and len(facts.attempts) == 1:
            self.must("I10", not fresh, "a log that arrived damaged became a point")
        if facts.interrupted:
            self.counts["I16"] += 1
        if facts.recovered:
            self.counts["I17"] += 1

    def _ordered(self, points: Sequence[Point], index: int) -> None:
        point, before = points[index], points[index - 1] if index else None
        if point.sequence == 1:
            others = {other.epoch for other in points[:index]}
            self.must("I3", point.epoch not in others, f"epoch {point.epoch} begins twice")
        else:
            follows = before is not None and (before.epoch, before.sequence + 1) == (point.epoch, point.sequence)
            self.must("I3", follows, f"{_name(point)} follows {_name(before) if before else 'nothing'}")
            parent = before.log_digest if before else ""
            self.must("I9", point.parent_digest == parent, f"{_name(point)} names another parent")
        if before is not None:
            self.must("I29", point.term >= before.term, f"{_name(point)} is of term {point.term}, after {before.term}")
        if before is not None and (point.full or self._compared.get(point.begun_us)):
            self.counts["I23"] += 1
        if self.jumped:
            self.must("I12", point.taken_us >= point.begun_us, f"{_name(point)} was taken before it began")

    def _covers(self, points: Sequence[Point], index: int) -> None:
        """What the cycle asked for, against what differs between its instant and its parent's."""
        point = points[index]
        job, instant = self._jobs.get(point.begun_us), self.instants.get(point.begun_us)
        if job is None or instant is None:
            return
        full, compared = self._full[point.begun_us], self._compared[point.begun_us]
        parent = self.instants.get(points[index - 1].begun_us) if index else None
        for target, now in instant.disks.items():
            if target not in job.bases:
                continue
            before = parent.disks.get(target) if parent else None
            whole = target in full or before is None
            if target in compared and points[index - 1] not in self.damaged:  # pages that rotted come again
                self._sends_what_differs(point, target, before, now)
            elif not (whole or target in compared):
                self.must("I31", point.sequence > 1, f"{_name(point)} {target}: an epoch begins with what was tracked")
                tracked = job.dirty.get(target)
                runs = [(0, now.size)] if tracked is None else _granules(tracked, job.frozen[target].granule)
                wrong = _uncovered(changed_pages(before, now), runs, now.size)
                self.must("I31", not wrong, f"{_name(point)} {target}: changes since its parent are not tracked")
            changed = changed_pages(None if whole else before, now)
            wrong = _uncovered(changed, job.carried.get(target, []), now.size)
            zeros = [number for number in wrong if number not in now.pages]
            self.must("I6", not wrong or bool(zeros), f"{_name(point)} {target}: pages {wrong[:4]} were not read")
            self.must("I7", not zeros, f"{_name(point)} {target}: zeroed pages {zeros[:4]} were not carried")

    def _sends_what_differs(self, point: Point, target: str, before: Content | None, now: Content) -> None:
        """A disk that was compared sends no page that the receiver has (spec S1); the page that a growth makes whole
        is another page."""
        log = self.logs.get(point.begun_us)
        if log is None or before is None:
            return
        sent = data_pages(log)[list(self.instants[point.begun_us].disks).index(target)]
        more = sent - set(changed_pages(before, now)) - {before.size // PAGE if before.size < now.size else -1}
        self.must("S1", not more, f"{_name(point)} {target}: pages {sorted(more)[:4]} were sent and do not differ")

    def _exact(self, point: Point, disks: Mapping[str, Content]) -> None:
        instant = self.instants.get(point.begun_us)
        if instant is None:
            raise Violated("I2", f"{_name(point)} names an instant that never was")
        self.must("I2", disks.keys() == instant.disks.keys(), f"{_name(point)} has {sorted(disks)}")
        for target, content in disks.items():
            if self._verified.get((point.begun_us, target)) is content:
                continue
            truth = instant.disks[target]
            if not content.same(truth):
                self._tell_wrong(point, target, content, truth)
            self.counts["I1"] += 1
            self.counts["I14"] += truth.size % (16 * PAGE) != 0
            self._verified[(point.begun_us, target)] = content

    def _tell_wrong(self, point: Point, target: str, content: Content, truth: Content) -> None:
        name = f"{_name(point)} {target}"
        if content.size != truth.size:
            raise Violated("I14", f"{name} has {content.size} bytes, not {truth.size}")
        pages = list(content.differing(truth))
        number = self.instants[point.begun_us].number
        same = [one.number for one in self.instants.values() if target in one.disks and content.same(one.disks[target])]
        if later := [other for other in same if other > number]:
            raise Violated("I2", f"{name} is of instant {later[0]}, not {number}")
        if all(number not in truth.pages for number in pages):
            raise Violated("I7", f"{name} pages {pages[:4]} should be zeros")
        if same:
            raise Violated("I6", f"{name} is of instant {same[0]}, not {number}")
        if pages == [(truth.size - 1) // PAGE] and truth.size % PAGE:
            raise Violated("I14", f"{name} differs in its last, partial page")
        raise Violated("I1", f"{name} differs in pages {pages[:8]}")


def _granules(dirty: Iterable[int], granule: int) -> list[tuple[int, int]]:
    return [(index * granule, (index + 1) * granule) for index in sorted(dirty)]


def _uncovered(pages: Iterable[int], ranges: Iterable[tuple[int, int]], size: int) -> list[int]:
    return [number for number, is_covered in covered(pages, ranges, size).items() if not is_covered]


def _name(point: Point) -> str:
    return f"{point.epoch}/{point.sequence}"


def _names(points: Sequence[Point]) -> str:
    return " ".join(_name(point) for point in points) or "none"
