"""What the verbs that run drills share: waiting for a run, and delivering its evidence."""

from __future__ import annotations

from collections.abc import Mapping

from drill.cli.output import Output
from drill.errors import DrillRed
from drill.model.verdict import Outcome, Verdict
from drill.reporting.publish import Published, publish
from drill.wiring.controller import Controller


def follow(controller: Controller, run: str, out: Output) -> None:
    """Wait for a run to end.  The first Ctrl-C asks it to stop and take back what it made, the second leaves it to
    `drill jobs resume`."""
    try:
        controller.runs.wait(run)
    except KeyboardInterrupt:
        out.progress("stopping: taking back what was made (Ctrl-C again leaves that to `drill jobs resume`)")
        controller.runs.ask_cancel(run)
        controller.runs.wait(run)


def deliver(run: str, out: Output, timings: Mapping[str, float] | None = None) -> None:
    """Write the reports of a run and show its summary; DrillRed when the verdict is not *pass*."""
    published = publish(run, timings)
    out.result(published.summary, *lines(published))
    if published.verdict.outcome is not Outcome.PASS:
        raise DrillRed(verdict=published.verdict.outcome.value, report=str(published.report))


def lines(published: Published) -> list[str]:
    """The last lines of a drill: what is not right, verdict, RPO, RTO, report."""
    verdict = published.verdict
    wrong = [
        f"{one.outcome.value}: {one.check} {one.vm}: {one.reason}".replace(" : ", ": ")
        for one in verdict.checks
        if one.outcome is not Outcome.PASS
    ]
    return [*wrong, *figures(verdict), f"report   {published.report}"]


def figures(verdict: Verdict) -> list[str]:
    """Verdict, RPO and RTO, one line each; a figure that no fact supports is unknown."""
    records = "unknown" if verdict.rpo_records is None else str(verdict.rpo_records)
    rpo = "unknown" if verdict.rpo_seconds is None else f"{verdict.rpo_seconds:.1f} s"
    rto = "unknown" if verdict.rto_seconds is None else f"{verdict.rto_seconds:.1f} s"
    return [f"verdict  {verdict.outcome.value}", f"RPO      {rpo}, {records} records", f"RTO      {rto}"]
