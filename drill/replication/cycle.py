"""One protected item on its source: the cycle.

    look      end a job a dead agent left, settle what the last cycle acknowledged, ask the receiver for its head,
              decide where to go on, drop our checkpoints that count for nothing
    begin     checkpoint and backup job for all disks at one instant, the guest frozen where that is due (quiesce.py)
    carry     extents → chunks → frames → log → receiver, page digests beside it
    pending   the journal learns what the receiver is about to seal
    seal      the receiver acknowledges: durable there
    settle    the journal has it as the base; only now the old checkpoint goes (I5)

Whatever goes wrong before the last step leaves the base where it was: the changes ride in the next cycle, and the new
checkpoint is litter that the next look drops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drill.errors import Damaged, Failed, Refused, ResyncNeeded
from drill.model.cycle import LogDisk, LogHeader, LogTrailer
from drill.model.machine import Machine
from drill.model.point import CycleRecord, DiskCarried, DiskSeal, Point, Progress, Way
from drill.ports import BackupJob, Backups, Clock, Files, Freezer, Lanes, ReceiverLink
from drill.replication import comparing, continuity
from drill.replication.carrier import Carrier
from drill.replication.continuity import Adopt, Await, Continue, DiskWay, Evidence
from drill.replication.cyclelog import LogWriter
from drill.replication.digests import PageDigests
from drill.replication.groups import Ready, Together, begin_alone
from drill.replication.journal import Acknowledged, Journal, JournalFile, Pending
from drill.replication.pace import Pace
from drill.replication.quiesce import Interval, Quiet
from drill.replication.watched import TrackerCheck, WatchedJob

PREFIX = "drill-"
"""Every checkpoint of ours begins with it; names are never used again (facts: a bitmap may outlive its checkpoint)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePorts:
    """The world of one item; `nonce` gives a fresh string of eight characters of [a-z0-9]."""

    backups: Backups
    freezer: Freezer
    link: ReceiverLink
    files: Files
    clock: Clock
    lanes: Lanes
    nonce: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a cycle stands in the order, and what it builds upon."""

    epoch: str
    sequence: int
    parent_digest: str
    supersedes: str
    acknowledged: Acknowledged | None
    head: Point | None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked of one cycle; see `ItemSource.cycle`."""

    witness: bool
    application_consistent: bool
    deep: bool
    may_resync: bool
    together: Together | None


class ItemSource:
    """The cycles of one item.  One at a time; the caller keeps the lock."""

    def __init__(self, ports: SourcePorts, file: JournalFile, journal: Journal) -> None:
        self._ports = ports
        self._file = file
        self._journal = journal
        self._ways: tuple[DiskWay, ...] = ()
        self._watched: WatchedJob | None = None
        self._stop_asked = False
        self._pace = Pace(ports.clock)
        self._interval = Interval()
        self._without_bitmap = frozenset[str]()

    @property
    def interval(self) -> Interval:
        """How application-consistent points went lately."""
        return self._interval

    @property
    def without_bitmap(self) -> frozenset[str]:
        """Disks that the newest cycle read whole because they can hold no bitmap."""
        return self._without_bitmap

    @property
    def journal(self) -> Journal:
        """What is durable."""
        return self._journal

    def save(self, journal: Journal) -> None:
        """Make another journal the durable one."""
        self._file.save(journal)
        self._journal = journal

    @property
    def ways(self) -> tuple[DiskWay, ...]:
        """How the disks are to be carried, as the last look found it; empty once they were."""
        return self._ways

    @property
    def progress(self) -> Progress | None:
        """How far the cycle that is running has read; None while none is."""
        return self._watched.progress if self._watched else None

    def cycle(
        self,
        *,
        witness: bool,
        application_consistent: bool = False,
        deep: bool = False,
        may_resync: bool = True,
        together: Together | None = None,
    ) -> tuple[Point, CycleRecord]:
        """Replicate once; returns the sealed point and what it took.

        The guest is frozen for it when that is asked for or due; a point of a guest that could not be frozen is
        crash-consistent, and `interval` has the reason.  `deep` reads every disk whole and compares, whatever the
        tracker says.  Where a resync is needed and the time for it has not come (`may_resync`), Refused names rule S1.
        `together` begins the job with those of its consistency group; where it gives none, the item begins alone.

        After any error the base is what it was.  ResyncNeeded is remembered: the next cycle compares that disk, or
        takes it whole when this one compared it.
        """
        if self._journal.paused:
            self._ports.backups.abort_leftover(self._journal.order.domain)
            raise Refused(f"item {self._journal.order.item} is paused", "S4", "resume it first")
        try:
            wish = _Wish(witness, application_consistent, deep, may_resync, together)
            return self._cycle(wish)
        except ResyncNeeded as error:
            self._owe(error.disk)
            raise
        except OSError as error:
            raise Failed("the cycle", f"this host's files: {error}") from error
        finally:
            self._watched = None

    def stop(self) -> None:
        """End the cycle that is running, from another thread: it raises Cancelled at its next read, until `pause`."""
        self._stop_asked = True

    def pause(self) -> None:
        """No cycle begins until `resume`; the checkpoint is kept, and so is all that is owed."""
        self._stop_asked = False
        self.save(replace(self._journal, paused=True))

    def resume(self) -> None:
        """Cycles go on where they stopped."""
        self.save(replace(self._journal, paused=False))

    def owe_all(self) -> None:
        """The next cycle reads every disk whole and compares, as an operator asks for it."""
        known = self._journal.acknowledged
        targets = {seal.target for seal in known.point.disks} if known else set()
        self.save(replace(self._journal, owed=tuple(sorted({*self._journal.owed, *targets}))))

    def end(self) -> None:
        """Stop for good: drop our checkpoints, delete the journal.  May be repeated after any error."""
        self.save(replace(self._journal, ended=True))
        domain = self._journal.order.domain
        self._ports.backups.abort_leftover(domain)
        self._ports.backups.drop_all(domain, PREFIX)
        self._file.delete()

    def _cycle(self, wish: _Wish) -> tuple[Point, CycleRecord]:
        ports, domain = self._ports, self._journal.order.domain
        started, started_us = ports.clock.monotonic(), ports.clock.now_us()
        ports.backups.abort_leftover(domain)
        place = self._place()
        machine = ports.backups.machine(domain)
        lineage = ports.backups.lineage(domain)
        self._without_bitmap = ports.backups.without_bitmap(domain)
        self._ways = self._found_ways(place, machine, lineage)
        self._hold(wish)
        self._ways = self._proven_ways(place, deep=wish.deep)
        self._drop_litter(place.acknowledged)
        checkpoint = f"{PREFIX}{place.epoch}-{place.sequence}-{ports.nonce()}"
        before = ports.clock.monotonic()
        bases = {way.target: way.base for way in self._ways}
        job, quiet = self._begin(checkpoint, bases, wish)
        begun = ports.clock.monotonic()
        try:
            if ports.backups.lineage(domain) != lineage:
                raise Failed("the cycle", f"an image of {domain} was closed while it began")
            header = self._header(place, machine, job, quiet)
            watched = self._watched = WatchedJob(job, self._ways, lambda: self._stop_asked)
            compress = self._journal.order.compress
            carried = Carrier(ports.files, ports.lanes, header, checkpoint, self._pace, compress=compress)
            point, untracked = self._send(watched, carried, checkpoint, lineage, witness=wish.witness)
        finally:
            job.end()
        self._acknowledge(checkpoint, point, lineage)
        ways, self._ways = self._ways, ()
        done = ports.clock.monotonic()
        return point, CycleRecord(
            sequence=point.sequence,
            full=point.full,
            started_us=started_us,
            begin_seconds=begun - before,
            transfer_seconds=done - begun,
            total_seconds=done - started,
            dirty_bytes=carried.data_bytes,
            zero_bytes=carried.zero_bytes,
            sent_bytes=point.sent_bytes,
            frozen_seconds=quiet.frozen_seconds,
            disks=tuple(
                DiskCarried(
                    target=way.target, way=way.way, reason=way.reason, untracked_pages=untracked.get(way.target)
                )
                for way in ways
            ),
            paused_seconds=quiet.paused_seconds,
        )

    def _begin(self, checkpoint: str, bases: dict[str, str | None], wish: _Wish) -> tuple[BackupJob, Quiet]:
        """Checkpoint and job, with the guest frozen where that is asked for or due; a group's at one instant."""
        ports, order = self._ports, self._journal.order
        every = order.application_consistent_every_seconds

        def begin() -> BackupJob:
            return ports.backups.begin(order.domain, checkpoint, bases)

        freeze = wish.application_consistent or self._interval.is_due(ports.clock.monotonic(), every)
        ready = Ready(domain=order.domain, begin=begin, freeze=freeze)
        begun = wish.together(ready) if wish.together else None
        job, quiet = begun or begin_alone(ports.freezer, ports.clock, ready)
        if quiet.was_tried:
            self._interval.done(ports.clock.monotonic(), every, quiet)
        return job, quiet

    def _place(self) -> _Place:
        """Compare with the receiver's head and decide; an adopted point is made durable in the journal first."""
        decision = continuity.decide(self._journal, self._ports.link.head(self._journal.order.item))
        match decision:
            case Adopt(pending, point):
                adopted = Acknowledged(checkpoint=pending.checkpoint, point=point, lineage=pending.lineage)
                self.save(replace(self._journal, acknowledged=adopted, pending=None, seeding=None))
                return self._after(adopted)
            case Continue(acknowledged):
                return self._after(acknowledged)
            case Await(reason):
                raise Refused(reason, "H2", "drill seed export, then drill seed import; or drill seed cancel")
        return self._new_epoch(decision.head)

    def _new_epoch(self, head: Point | None) -> _Place:
        """The first place of an epoch that follows the receiver's head; a seed that was waited for is given up."""
        if self._journal.seeding is not None:
            self.save(replace(self._journal, seeding=None))
        return _Place(
            epoch=self._ports.nonce(),
            sequence=1,
            parent_digest="",
            supersedes=head.log_digest if head else "",
            acknowledged=None,
            head=head,
        )

    def _after(self, acknowledged: Acknowledged) -> _Place:
        point = acknowledged.point
        return _Place(
            epoch=point.epoch,
            sequence=point.sequence + 1,
            parent_digest=point.log_digest,
            supersedes="",
            acknowledged=acknowledged,
            head=point,
        )

    def _found_ways(self, place: _Place, machine: Machine, lineage: Mapping[str, str]) -> tuple[DiskWay, ...]:
        """What speaks for each disk, before anything is read."""
        known, journal = place.acknowledged, self._journal
        dirty = self._ports.backups.provable(journal.order.domain, known.checkpoint) if known else {}
        evidence = Evidence(
            dirty=dirty,
            lineage=lineage,
            owed=journal.owed,
            owed_whole=journal.owed_whole,
            without_bitmap=self._without_bitmap,
        )
        return continuity.ways(machine, known, place.head, evidence)

    def _hold(self, wish: _Wish) -> None:
        """Where a resync may not begin now, nothing is begun."""
        waiting = [way for way in self._ways if way.waits]
        if waiting and not wish.may_resync:
            said = ", ".join(f"{way.target}: {way.reason}" for way in waiting)
            raise Refused(f"a resync waits for its window ({said})", "S1", "resync the item now, or wait")

    def _proven_ways(self, place: _Place, *, deep: bool) -> tuple[DiskWay, ...]:
        """The same, once the source's page digests are those of the receiver's head where that is needed."""
        seals = {seal.target: seal for seal in place.head.disks} if place.head else {}
        wanted = [
            replace(way, way=Way.COMPARED, reason="deep check") if deep and way.way is Way.TRACKED else way
            for way in self._ways
        ]
        return tuple(way if way.way is Way.WHOLE else self._proven(place, way, seals[way.target]) for way in wanted)

    def _proven(self, place: _Place, way: DiskWay, seal: DiskSeal) -> DiskWay:
        """Commit what the acknowledged cycle staged; where that does not give the head's root, learn from the receiver.

        A disk that is compared asks the receiver in any case: its tables must prove theirs, or comparing cannot end.
        """
        digests = self._digests(way.target)
        if place.acknowledged is not None:
            try:
                digests.commit(place.acknowledged.checkpoint, seal.size_bytes, seal.digest)
            except Damaged:
                if way.way is Way.TRACKED:
                    way = replace(way, way=Way.COMPARED, base=None, reason="its page digests are damaged")
        if way.way is Way.TRACKED or place.head is None:
            return way
        try:
            comparing.learn(self._ports.link, place.head, seal, digests)
        except Damaged as error:
            return replace(way, way=Way.WHOLE, base=None, reason=str(error))
        return way

    def _owe(self, target: str) -> None:
        """Comparing mends what tracking cannot; where comparing did not help, only the whole disk does."""
        journal = self._journal
        if any(way.target == target and way.way is Way.COMPARED for way in self._ways):
            self.save(replace(journal, owed_whole=tuple(sorted({*journal.owed_whole, target}))))
        else:
            self.save(replace(journal, owed=tuple(sorted({*journal.owed, target}))))

    def _drop_litter(self, acknowledged: Acknowledged | None) -> None:
        """Only the acknowledged checkpoint stays; dropping another one merges its bits into the one before it."""
        backups, domain = self._ports.backups, self._journal.order.domain
        for checkpoint in backups.checkpoints(domain, PREFIX):
            if acknowledged is None or checkpoint != acknowledged.checkpoint:
                backups.drop(domain, checkpoint)

    def _header(self, place: _Place, machine: Machine, job: BackupJob, quiet: Quiet) -> LogHeader:
        sizes = {disk.target: disk.size_bytes for disk in machine.disks}
        for way in self._ways:
            if way.way is not Way.WHOLE and job.size(way.target) != sizes[way.target]:
                raise Failed("the cycle", f"{way.target} was resized while it began")
        return LogHeader(
            item=self._journal.order.item,
            epoch=place.epoch,
            sequence=place.sequence,
            parent_digest=place.parent_digest,
            supersedes=place.supersedes,
            begun_us=job.begun_us,
            taken_us=job.taken_us,
            application_consistent=quiet.application_consistent,
            machine=machine,
            disks=tuple(
                LogDisk(
                    target=way.target,
                    size_bytes=job.size(way.target),
                    full=way.way is Way.WHOLE,
                    compared=way.way is Way.COMPARED,
                )
                for way in self._ways
            ),
            term=self._journal.order.term,
            group=quiet.group,
        )

    def _send(
        self, job: WatchedJob, carried: Carrier, checkpoint: str, lineage: Mapping[str, str], *, witness: bool
    ) -> tuple[Point, Mapping[str, int]]:
        """The log goes out; the job ends before the acknowledgement is waited for, to give the scratch back early.

        Returns the point, and of the disks that were checked how many pages had changed behind the tracker's back.
        """
        with self._ports.link.send(carried.header) as stream:
            writer = LogWriter(self._pace.timed(stream.write), carried.header)
            check = TrackerCheck(job, carried.header, self._digests, writer)
            carried.carry(job, check if job.checked else writer)
            seals = carried.seals(job, witness=witness)
            digest = writer.trailer(LogTrailer(disks=seals))
            pending = Pending(
                checkpoint=checkpoint,
                epoch=carried.header.epoch,
                sequence=carried.header.sequence,
                log_digest=digest,
                disks=seals,
                lineage=tuple(sorted(lineage.items())),
            )
            self.save(replace(self._journal, pending=pending))
            writer.finish()
            job.end()
            return stream.seal(), check.untracked_pages

    def _acknowledge(self, checkpoint: str, point: Point, lineage: Mapping[str, str]) -> None:
        """The base moves, durably, and nothing is owed; then the old checkpoint goes.

        Its litter is dropped later if that fails.
        """
        before = self._journal.acknowledged
        self.save(
            replace(
                self._journal,
                acknowledged=Acknowledged(checkpoint=checkpoint, point=point, lineage=tuple(sorted(lineage.items()))),
                pending=None,
                owed=(),
                owed_whole=(),
            )
        )
        if before is not None:
            self._ports.backups.drop(self._journal.order.domain, before.checkpoint)

    def _digests(self, target: str) -> PageDigests:
        return PageDigests(self._ports.files, f"{self._journal.order.item}/digests/{target}")
