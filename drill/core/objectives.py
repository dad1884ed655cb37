"""RPO and RTO, counted from facts.  A figure that the facts do not carry whole is None, with the reason why.

RPO = incident − the point's instant, the worst machine's, and of the two times around the instant the earlier one.
RPO in data = ledger records that the source held at the incident, or database rows that it had acknowledged by then,
and the replica lacks, the worst machine's.
RTO = incident → the last of the owed services answering.

A controller that was killed and went on may have written a fact twice.  Each figure then takes the reading that makes
it larger, but for services: one that has answered has answered, so its first answer counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from drill.core.database_judges import rows_lost
from drill.core.shapes import Unreadable, fields, some, text
from drill.model.fact import (
    ChecksPlanned,
    Fact,
    IncidentDeclared,
    LedgerRead,
    MachinePredicted,
    Observed,
    PointChosen,
    ServiceAnswered,
)

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured figure; `value` None means that `missing` kept it from being counted.

    Seconds for RPO and RTO, records for the RPO in data; `worst` is the machine that set it, or "".
    """

    value: float | None
    missing: str = ""
    worst: str = ""


def owed(facts: tuple[Fact, ...]) -> frozenset[tuple[str, str]]:
    """All (check, vm) that the run said it owes."""
    return frozenset(pair for fact in facts if isinstance(fact, ChecksPlanned) for pair in fact.checks)


def machines(facts: tuple[Fact, ...]) -> tuple[str, ...]:
    """The machines of the run, in their order: predicted, checked or brought up from a point."""
    names: dict[str, None] = {}
    for fact in facts:
        if isinstance(fact, MachinePredicted | PointChosen | Observed):
            names[fact.vm] = None
        elif isinstance(fact, ChecksPlanned):
            names.update(dict.fromkeys(vm for _, vm in fact.checks))
    names.pop("", None)
    return tuple(names)


def counted(facts: tuple[Fact, ...]) -> tuple[str, ...]:
    """The machines whose loss can be counted in data: by a ledger, by the rows of a database, or by both."""
    return tuple(sorted({*_ledgers(facts), *_with_rows(facts)}))


def _ledgers(facts: tuple[Fact, ...]) -> set[str]:
    """The machines that have a ledger: one is owed a check, or was read."""
    owing = {vm for check, vm in owed(facts) if check == "ledger"}
    return owing | {fact.vm for fact in facts if isinstance(fact, LedgerRead)}


def _with_rows(facts: tuple[Fact, ...]) -> set[str]:
    """The machines whose database rows are compared with the history of who wrote them."""
    owing = {vm for check, vm in owed(facts) if check == "database_rows"}
    return owing | {fact.vm for fact in facts if isinstance(fact, Observed) and fact.check == "database_rows"}


def rpo_seconds(facts: tuple[Fact, ...]) -> Figure:
    """The worst machine's loss in time."""
    incidents = [fact.at_us for fact in facts if isinstance(fact, IncidentDeclared)]
    if not incidents:
        return Figure(value=None, missing="no incident was declared")
    worst: tuple[int, str] | None = None
    for vm in machines(facts):
        begun = [fact.point.begun_us for fact in facts if isinstance(fact, PointChosen) and fact.vm == vm]
        if not begun:
            return Figure(value=None, missing=f"no point is on record for {vm}")
        if max(begun) > min(incidents):
            return Figure(value=None, missing=f"the point of {vm} is later than the incident")
        worst = max(worst or (0, vm), (max(incidents) - min(begun), vm))
    if worst is None:
        return Figure(value=None, missing="the run has no machine")
    return Figure(value=worst[0] / SECOND_US, worst=worst[1])


def rpo_records(facts: tuple[Fact, ...]) -> Figure:
    """The worst machine's loss in ledger records or database rows, whichever it lost more of."""
    losses = [_records_lost(facts, vm) for vm in sorted(_ledgers(facts))]
    losses += [_rows_lost(facts, vm) for vm in sorted(_with_rows(facts))]
    if not losses:
        return Figure(value=None, missing="no machine has a ledger, nor a database with a history")
    uncounted = next((one for one in losses if one.value is None), None)
    return uncounted or max(losses, key=lambda one: (one.value or 0, one.worst))


def _records_lost(facts: tuple[Fact, ...], vm: str) -> Figure:
    """Ledger records that the source of one machine held at the incident and its replica lacks."""
    source = [fact for fact in facts if isinstance(fact, LedgerRead) and (fact.vm, fact.side) == (vm, "source")]
    replica = [fact for fact in facts if isinstance(fact, LedgerRead) and (fact.vm, fact.side) == (vm, "replica")]
    if not source or not replica:
        side = "replica" if source else "source"
        return Figure(value=None, missing=f"the ledger of {vm} was not read on the {side} side")
    if any(read.damage or not read.records for read in source):
        return Figure(value=None, missing=f"the ledger of {vm} cannot be counted on the source side")
    lost = max(read.last_sequence for read in source) - min(read.last_sequence for read in replica)
    if lost < 0:
        return Figure(value=None, missing=f"the replica's ledger of {vm} is ahead of the source's")
    return Figure(value=lost, worst=vm)


def _rows_lost(facts: tuple[Fact, ...], vm: str) -> Figure:
    """Rows that the database of one machine had acknowledged by the incident and its replica lacks."""
    seen = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == ("database_rows", vm)]
    if not seen or any(fact.error for fact in seen):
        return Figure(value=None, missing=f"the database rows of {vm} were not read")
    try:
        return Figure(value=max(rows_lost(fact) for fact in seen), worst=vm)
    except Unreadable as error:
        return Figure(value=None, missing=f"the database rows of {vm} cannot be counted: {error}")


def rto_seconds(facts: tuple[Fact, ...]) -> Figure:
    """Incident until the last owed service answered."""
    incidents = [fact.at_us for fact in facts if isinstance(fact, IncidentDeclared)]
    if not incidents:
        return Figure(value=None, missing="no incident was declared")
    first: dict[tuple[str, str], int] = {}
    for fact in facts:
        if isinstance(fact, ServiceAnswered):
            key = (fact.vm, fact.service)
            first[key] = min(fact.at_us, first.get(key, fact.at_us))
    for vm in sorted(vm for check, vm in owed(facts) if check == "service"):
        names = _services(facts, vm)
        if not names:
            return Figure(value=None, missing=f"the services of {vm} were not observed")
        for name in sorted(names):
            if (vm, name) not in first:
                return Figure(value=None, missing=f"no answer of {name} on {vm} is on record")
    if not first:
        return Figure(value=None, missing="no service was owed, so nothing ends it")
    if min(first.values()) < max(incidents):
        return Figure(value=None, missing="a service answered before the incident")
    last_us, vm = max((at_us, vm) for (vm, _), at_us in first.items())
    return Figure(value=(last_us - min(incidents)) / SECOND_US, worst=vm)


def _services(facts: tuple[Fact, ...], vm: str) -> set[str]:
    """The services that the observations of a machine name as owed; none where one cannot be read."""
    names: set[str] = set()
    for fact in facts:
        if isinstance(fact, Observed) and (fact.check, fact.vm) == ("service", vm):
            try:
                names.update(some(fields(fact.expected, "services", where="expected")[0], "expected.services", text))
            except Unreadable:
                return set()
    return names
