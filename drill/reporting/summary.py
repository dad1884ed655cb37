"""The run in a dozen keys: what `drill demo`, `drill test-failover` and `drill report` print, with --json the document
that scripts and CI gates read.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from drill.core.verdicts import judge
from drill.model.fact import Fact, HostSeen, RunStarted
from drill.model.verdict import Outcome
from drill.reporting import figures


class CheckCounts(BaseModel):
    """How many checks came to which outcome."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: int
    failed: int
    unknown: int


class Summary(BaseModel):
    """Seconds and ledger records; a figure that the facts do not carry is null.

    `accelerator` is `kvm`, `tcg`, `mixed`, or `unknown` when no host is on record; `leftovers` are `host: kind name`;
    `report` is a path; `timings` are seconds by phase, as the caller measured them.
    `not_passed` says of every check that did not pass what became of it and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    verdict: Outcome
    rpo_seconds: float | None
    rpo_records: int | None
    rto_seconds: float | None
    checks: CheckCounts
    not_passed: list[str]
    leftovers: list[str]
    report: str
    accelerator: str
    timings: dict[str, float]

    def document(self) -> dict[str, object]:
        """Plain JSON values."""
        return self.model_dump(mode="json")


def summarize(facts: tuple[Fact, ...], report: str, timings: Mapping[str, float] | None = None) -> Summary:
    """The summary of a run from its facts; `report` is the path of its report."""
    verdict = judge(facts)
    counts = {outcome: sum(one.outcome is outcome for one in verdict.checks) for outcome in Outcome}
    return Summary(
        run=next((fact.run for fact in facts if isinstance(fact, RunStarted)), ""),
        verdict=verdict.outcome,
        rpo_seconds=verdict.rpo_seconds,
        rpo_records=verdict.rpo_records,
        rto_seconds=verdict.rto_seconds,
        checks=CheckCounts(passed=counts[Outcome.PASS], failed=counts[Outcome.FAIL], unknown=counts[Outcome.UNKNOWN]),
        not_passed=[
            f"{one.outcome} {one.check}{' of ' * bool(one.vm)}{one.vm}: {one.reason}"
            for one in verdict.checks
            if one.outcome is not Outcome.PASS
        ],
        leftovers=list(verdict.leftovers),
        report=report,
        accelerator=_accelerator(facts),
        timings={name: round(seconds, 3) for name, seconds in (timings or {}).items()},
    )


def lines(summary: Summary) -> list[str]:
    """The summary for a terminal, its last lines the verdict, the RPO, the RTO and where the report is."""
    checks = summary.checks
    counted = f"{checks.passed} passed, {checks.failed} failed, {checks.unknown} unknown"
    records = "" if summary.rpo_records is None else f" ({figures.count(summary.rpo_records, 'record')})"
    return [
        *(f"left behind: {one}" for one in summary.leftovers),
        f"verdict  {summary.verdict} ({counted})",
        f"RPO      {_figure(summary.rpo_seconds)}{records}",
        f"RTO      {_figure(summary.rto_seconds)}",
        f"report   {summary.report}",
    ]


def _figure(seconds: float | None) -> str:
    return "unknown" if seconds is None else figures.duration(seconds).replace(figures.NO_BREAK, " ")


def _accelerator(facts: tuple[Fact, ...]) -> str:
    seen = {fact.accelerator for fact in facts if isinstance(fact, HostSeen)}
    return seen.pop() if len(seen) == 1 else "mixed" if seen else "unknown"
