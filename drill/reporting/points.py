"""The table of recovery points: what each machine came up from, and how its content was proven."""

from __future__ import annotations

from dataclasses import dataclass

from drill.core.shapes import Unreadable, fields, witnesses
from drill.model.fact import Fact, IncidentDeclared, Observed, PointChosen
from drill.model.point import DiskSeal
from drill.model.verdict import Outcome
from drill.reporting import figures


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedDisk:
    """A disk of a point; `outcome` is the comparison of the two witnesses."""

    target: str
    size: str
    digest: str
    source_witness: str
    replica_witness: str
    outcome: Outcome
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A chosen point as the report shows it."""

    vm: str
    day: str
    clock: str
    instant: str
    age: str
    order: str
    kind: str
    consistency: str
    size: str
    sent: str
    sealed_after: str
    log_digest: str
    parent_digest: str
    disks: tuple[SealedDisk, ...]


def points(facts: tuple[Fact, ...]) -> tuple[Point, ...]:
    """A row per chosen point, in the order of choice."""
    incident_us = min((fact.at_us for fact in facts if isinstance(fact, IncidentDeclared)), default=None)
    return tuple(_point(fact, facts, incident_us) for fact in facts if isinstance(fact, PointChosen))


def _point(fact: PointChosen, facts: tuple[Fact, ...], incident_us: int | None) -> Point:
    point = fact.point
    replica = _replica(facts, fact.vm)
    return Point(
        vm=fact.vm,
        day=figures.day(point.begun_us),
        clock=figures.clock(point.begun_us),
        instant=figures.instant(point.begun_us),
        age="—" if incident_us is None else figures.duration((incident_us - point.begun_us) / 1e6),
        order=f"{point.epoch}/{point.sequence}",
        kind="full copy" if point.full else "cycle",
        consistency="application-consistent" if point.application_consistent else "crash-consistent",
        size=figures.size(sum(disk.size_bytes for disk in point.disks)),
        sent=figures.size(point.sent_bytes),
        sealed_after=figures.duration((point.sealed_us - point.begun_us) / 1e6),
        log_digest=point.log_digest,
        parent_digest=point.parent_digest,
        disks=tuple(_disk(disk, replica.get(disk.target)) for disk in point.disks),
    )


def _disk(disk: DiskSeal, replica: str | None) -> SealedDisk:
    if disk.witness is None or replica is None:
        outcome, word = Outcome.UNKNOWN, "Not compared"
    elif disk.witness == replica:
        outcome, word = Outcome.PASS, "Equal"
    else:
        outcome, word = Outcome.FAIL, "Differs"
    return SealedDisk(
        target=disk.target,
        size=figures.size(disk.size_bytes),
        digest=disk.digest,
        source_witness=disk.witness or "not taken",
        replica_witness=replica or "not taken",
        outcome=outcome,
        word=word,
    )


def _replica(facts: tuple[Fact, ...], vm: str) -> dict[str, str]:
    """The replica's witnesses as the last check of the disks' content read them."""
    found = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == ("disk_content", vm)]
    if not found or found[-1].error:
        return {}
    try:
        return witnesses(fields(found[-1].observed, "disks", where="observed")[0], "observed.disks")
    except Unreadable:
        return {}
