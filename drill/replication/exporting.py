"""The source's side of offline seeding: the first copy written to a medium instead of sent (seeding.py has the rest).

As a cycle that takes every disk whole, but for its end: nobody acknowledges, so the checkpoint stays as a base that is
pending, and the journal says that cycles wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drill.errors import Failed, Refused
from drill.model.cycle import LogDisk, LogHeader, LogTrailer
from drill.model.machine import Machine
from drill.model.point import Point
from drill.model.seed import Seed
from drill.ports import BackupJob
from drill.replication import continuity
from drill.replication.carrier import Carrier
from drill.replication.continuity import NewEpoch
from drill.replication.cycle import PREFIX, ItemSource, SourcePorts
from drill.replication.cyclelog import LogWriter
from drill.replication.journal import Pending, Seeding
from drill.replication.pace import Pace
from drill.replication.seeding import SeedMedium


def export(source: ItemSource, ports: SourcePorts, medium: SeedMedium, head: Point | None, *, witness: bool) -> Seed:
    """Write the first copy to `medium`; `head` is what the receiver has.  The same medium again is harmless.

    Refused when the receiver continues what this source has sent already.  After any error cycles wait as before, or
    for this export; an export before this one that is imported now is copied anew.
    """
    journal = source.journal
    found, pending = medium.complete(journal.order.item), journal.pending
    if found is not None and pending is not None and found.log_digest == pending.log_digest:
        return found
    if not isinstance(continuity.decide(replace(journal, seeding=None), head), NewEpoch):
        raise Refused("the receiver has a first copy already: changes go by cycles", "H2")
    try:
        return _Export(source, ports, medium).run(head, witness=witness)
    except OSError as error:
        raise Failed("the export", f"this host's files or the medium: {error}") from error


class _Export:
    """One export."""

    def __init__(self, source: ItemSource, ports: SourcePorts, medium: SeedMedium) -> None:
        self._source = source
        self._ports = ports
        self._medium = medium
        self._order = source.journal.order

    def run(self, head: Point | None, *, witness: bool) -> Seed:
        """Checkpoint and job for all disks at one instant, then the log."""
        backups, domain = self._ports.backups, self._order.domain
        backups.abort_leftover(domain)
        machine, lineage = backups.machine(domain), backups.lineage(domain)
        for left in backups.checkpoints(domain, PREFIX):
            backups.drop(domain, left)
        epoch = self._ports.nonce()
        checkpoint = f"{PREFIX}{epoch}-1-{self._ports.nonce()}"
        job = backups.begin(domain, checkpoint, {disk.target: None for disk in machine.disks})
        try:
            if backups.lineage(domain) != lineage:
                raise Failed("the export", f"an image of {domain} was closed while it began")
            header = self._header(epoch, machine, job, head.log_digest if head else "")
            return self._write(header, job, checkpoint, lineage, witness=witness)
        finally:
            job.end()

    def _header(self, epoch: str, machine: Machine, job: BackupJob, supersedes: str) -> LogHeader:
        return LogHeader(
            item=self._order.item,
            epoch=epoch,
            sequence=1,
            parent_digest="",
            supersedes=supersedes,
            begun_us=job.begun_us,
            taken_us=job.taken_us,
            application_consistent=False,
            machine=machine,
            disks=tuple(
                LogDisk(target=disk.target, size_bytes=job.size(disk.target), full=True) for disk in machine.disks
            ),
            term=self._order.term,
        )

    def _write(
        self, header: LogHeader, job: BackupJob, checkpoint: str, lineage: Mapping[str, str], *, witness: bool
    ) -> Seed:
        """What is pending is durable before the log's last bytes are written: a complete log is one we know of."""
        pace = Pace(self._ports.clock)  # nothing is timed: what goes onto a medium is compressed
        carried = Carrier(self._ports.files, self._ports.lanes, header, checkpoint, pace)
        with self._medium.send(header) as stream:
            writer = LogWriter(stream.write, header)
            carried.carry(job, writer)
            seals = carried.seals(job, witness=witness)
            digest = writer.trailer(LogTrailer(disks=seals))
            pending = Pending(
                checkpoint=checkpoint,
                epoch=header.epoch,
                sequence=header.sequence,
                log_digest=digest,
                disks=seals,
                lineage=tuple(sorted(lineage.items())),
            )
            seeding = Seeding(written=True, supersedes=header.supersedes)
            self._source.save(replace(self._source.journal, pending=pending, seeding=seeding))
            writer.finish()
            job.end()
            return stream.seal(seals, digest)
