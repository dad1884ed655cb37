"""The large figures of a report: RPO in time and in data, RTO, checks."""

from __future__ import annotations

from dataclasses import dataclass

from drill.core import objectives
from drill.model.fact import Fact, RunStarted
from drill.model.verdict import Outcome, Verdict
from drill.reporting import figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A large figure; `share` (0 to 1) is its part of the objective, None where there is none to show."""

    name: str
    meaning: str
    value: str
    unit: str
    note: str
    share: float | None
    outcome: Outcome


def tiles(facts: tuple[Fact, ...], verdict: Verdict) -> tuple[Tile, ...]:
    """The four figures, in the order in which they are read."""
    outcomes = {one.check: one.outcome for one in verdict.checks if not one.vm}
    started = next((fact for fact in facts if isinstance(fact, RunStarted)), None)
    passed = sum(one.outcome is Outcome.PASS for one in verdict.checks)
    records = objectives.rpo_records(facts)
    return (
        _objective(
            "RPO",
            "data at risk, in time",
            objectives.rpo_seconds(facts),
            started.rpo_objective_seconds if started else None,
            outcomes.get("rpo"),
        ),
        Tile(
            name="RPO in data",
            meaning="records lost",
            value="—" if records.value is None else f"{int(records.value):,}",
            unit="" if records.value is None else "record" if records.value == 1 else "records",
            note=records.missing or f"most on {records.worst}",
            share=None,
            outcome=Outcome.UNKNOWN if records.value is None else Outcome.PASS,
        ),
        _objective(
            "RTO",
            "incident until service",
            objectives.rto_seconds(facts),
            started.rto_objective_seconds if started else None,
            outcomes.get("rto"),
        ),
        Tile(
            name="Checks",
            meaning="passed",
            value=f"{passed:,}",
            unit=f"of {len(verdict.checks):,}",
            note=_counted(verdict),
            share=passed / len(verdict.checks) if verdict.checks else 0.0,
            outcome=verdict.outcome,
        ),
    )


def _objective(
    name: str, meaning: str, figure: objectives.Figure, limit: float | None, outcome: Outcome | None
) -> Tile:
    value, unit = "—", ""
    if figure.value is not None:
        value, _, unit = figures.duration(figure.value).partition(figures.NO_BREAK)
    told = "" if limit is None else f"objective {figures.plain_seconds(limit)}"
    share = None if figure.value is None or not limit or limit < 0 else min(1.0, figure.value / limit)
    return Tile(
        name=name,
        meaning=meaning,
        value=value,
        unit=unit,
        note="; ".join(part for part in (told, figure.missing) if part),
        share=share,
        outcome=outcome or Outcome.UNKNOWN,
    )


def _counted(verdict: Verdict) -> str:
    failed = sum(one.outcome is Outcome.FAIL for one in verdict.checks)
    unknown = sum(one.outcome is Outcome.UNKNOWN for one in verdict.checks)
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{unknown} not proven"] if unknown else []
    return ", ".join(parts) or "none failed, none unproven"
