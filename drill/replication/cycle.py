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

from collections.abc import Callable
from dataclasses import dataclass, replace

from drill.errors import Damaged, Failed, ResyncNeeded
from drill.model.cycle import LogDisk, LogHeader, LogTrailer
from drill.model.machine import Machine
from drill.model.point import CycleRecord, Point
from drill.ports import BackupJob, Backups, Clock, Files, Freezer, Lanes, ReceiverLink
from drill.replication import continuity, quiesce
from drill.replication.carrier import Carrier
from drill.replication.continuity import Adopt, Continue, NewEpoch
from drill.replication.cyclelog import LogWriter
from drill.replication.digests import PageDigests
from drill.replication.journal import Acknowledged, Journal, JournalFile, Pending
from drill.replication.quiesce import Interval, Quiet

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


class ItemSource:
    """The cycles of one item.  One at a time; the caller keeps the lock."""

    def __init__(self, ports: SourcePorts, file: JournalFile, journal: Journal) -> None:
        self._ports = ports
        self._file = file
        self._journal = journal
        self._interval = Interval()

    @property
    def interval(self) -> Interval:
        """How application-consistent points went lately."""
        return self._interval

    @property
    def journal(self) -> Journal:
        """What is durable."""
        return self._journal

    def save(self, journal: Journal) -> None:
        """Make another journal the durable one."""
        self._file.save(journal)
        self._journal = journal

    def cycle(self, *, witness: bool, application_consistent: bool = False) -> tuple[Point, CycleRecord]:
        """Replicate once; returns the sealed point and what it took.

        The guest is frozen for it when that is asked for or due; a point of a guest that could not be frozen is
        crash-consistent, and `interval` has the reason.

        After any error the base is what it was.  ResyncNeeded is remembered: the next cycle takes that disk whole.
        """
        try:
            return self._cycle(witness=witness, application_consistent=application_consistent)
        except ResyncNeeded as error:
            self.save(replace(self._journal, owed_full=tuple(sorted({*self._journal.owed_full, error.disk}))))
            raise
        except OSError as error:
            raise Failed("the cycle", f"this host's files: {error}") from error

    def end(self) -> None:
        """Stop for good: drop our checkpoints, delete the journal.  May be repeated after any error."""
        self.save(replace(self._journal, ended=True))
        domain = self._journal.order.domain
        self._ports.backups.abort_leftover(domain)
        self._ports.backups.drop_all(domain, PREFIX)
        self._file.delete()

    def _cycle(self, *, witness: bool, application_consistent: bool) -> tuple[Point, CycleRecord]:
        ports, domain = self._ports, self._journal.order.domain
        started, started_us = ports.clock.monotonic(), ports.clock.now_us()
        ports.backups.abort_leftover(domain)
        place = self._place()
        machine = ports.backups.machine(domain)
        bases = self._bases(machine, place.acknowledged)
        self._drop_litter(place.acknowledged)
        checkpoint = f"{PREFIX}{place.epoch}-{place.sequence}-{ports.nonce()}"
        before = ports.clock.monotonic()
        job, quiet = self._begin(checkpoint, bases, application_consistent=application_consistent)
        begun = ports.clock.monotonic()
        try:
            header = self._header(place, machine, job, bases, quiet)
            carried = Carrier(ports.files, ports.lanes, header, checkpoint)
            point = self._send(job, carried, checkpoint, witness=witness)
        finally:
            job.end()
        self._acknowledge(checkpoint, point, header)
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
        )

    def _begin(
        self, checkpoint: str, bases: dict[str, str | None], *, application_consistent: bool
    ) -> tuple[BackupJob, Quiet]:
        """Checkpoint and job, with the guest frozen where that is asked for or due."""
        ports, order = self._ports, self._journal.order
        every = order.application_consistent_every_seconds

        def begin() -> BackupJob:
            return ports.backups.begin(order.domain, checkpoint, bases)

        if not (application_consistent or self._interval.is_due(ports.clock.monotonic(), every)):
            return begin(), Quiet(application_consistent=False)
        job, quiet = quiesce.begin_frozen(ports.freezer, ports.clock, order.domain, begin)
        self._interval.done(ports.clock.monotonic(), every, quiet)
        return job, quiet

    def _place(self) -> _Place:
        """Compare with the receiver's head and decide; an adopted point is made durable in the journal first."""
        decision = continuity.decide(self._journal, self._ports.link.head(self._journal.order.item))
        match decision:
            case Adopt(pending, point):
                adopted = Acknowledged(checkpoint=pending.checkpoint, point=point)
                self.save(replace(self._journal, acknowledged=adopted, pending=None))
                return self._after(adopted)
            case Continue(acknowledged):
                return self._after(acknowledged)
            case NewEpoch(supersedes, _):
                return _Place(
                    epoch=self._ports.nonce(), sequence=1, parent_digest="", supersedes=supersedes, acknowledged=None
                )

    def _after(self, acknowledged: Acknowledged) -> _Place:
        point = acknowledged.point
        return _Place(
            epoch=point.epoch,
            sequence=point.sequence + 1,
            parent_digest=point.log_digest,
            supersedes="",
            acknowledged=acknowledged,
        )

    def _bases(self, machine: Machine, acknowledged: Acknowledged | None) -> dict[str, str | None]:
        """What each disk builds upon; a disk whose page digests cannot be settled goes whole."""
        if acknowledged is None:
            return continuity.bases(machine, None, (), ())
        provable = self._ports.backups.provable(self._journal.order.domain, acknowledged.checkpoint)
        unsettled = set[str]()
        for seal in acknowledged.point.disks:
            try:
                self._digests(seal.target).commit(acknowledged.checkpoint, seal.size_bytes, seal.digest)
            except Damaged:
                unsettled.add(seal.target)
        return continuity.bases(machine, acknowledged, provable, {*self._journal.owed_full, *unsettled})

    def _drop_litter(self, acknowledged: Acknowledged | None) -> None:
        """Only the acknowledged checkpoint stays; dropping another one merges its bits into the one before it."""
        backups, domain = self._ports.backups, self._journal.order.domain
        for checkpoint in backups.checkpoints(domain, PREFIX):
            if acknowledged is None or checkpoint != acknowledged.checkpoint:
                backups.drop(domain, checkpoint)

    def _header(
        self, place: _Place, machine: Machine, job: BackupJob, bases: dict[str, str | None], quiet: Quiet
    ) -> LogHeader:
        for disk in machine.disks:
            if bases[disk.target] is not None and job.size(disk.target) != disk.size_bytes:
                raise Failed("the cycle", f"{disk.target} was resized while it began")
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
                LogDisk(target=target, size_bytes=job.size(target), full=base is None) for target, base in bases.items()
            ),
        )

    def _send(self, job: BackupJob, carried: Carrier, checkpoint: str, *, witness: bool) -> Point:
        """The log goes out; the job ends before the acknowledgement is waited for, to give the scratch back early."""
        with self._ports.link.send(carried.header) as stream:
            writer = LogWriter(stream.write, carried.header)
            carried.carry(job, writer)
            seals = carried.seals(job, witness=witness)
            digest = writer.trailer(LogTrailer(disks=seals))
            pending = Pending(
                checkpoint=checkpoint,
                epoch=carried.header.epoch,
                sequence=carried.header.sequence,
                log_digest=digest,
                disks=seals,
            )
            self.save(replace(self._journal, pending=pending))
            writer.finish()
            job.end()
            return stream.seal()

    def _acknowledge(self, checkpoint: str, point: Point, header: LogHeader) -> None:
        """The base moves, durably; then the old checkpoint goes.  Its litter is dropped later if that fails."""
        whole = {disk.target for disk in header.disks if disk.full}
        before = self._journal.acknowledged
        self.save(
            replace(
                self._journal,
                acknowledged=Acknowledged(checkpoint=checkpoint, point=point),
                pending=None,
                owed_full=tuple(target for target in self._journal.owed_full if target not in whole),
            )
        )
        if before is not None:
            self._ports.backups.drop(self._journal.order.domain, before.checkpoint)

    def _digests(self, target: str) -> PageDigests:
        return PageDigests(self._ports.files, f"{self._journal.order.item}/digests/{target}")
