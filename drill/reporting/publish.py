"""The evidence of a finished run: report.html, junit.xml and summary.json beside its record, all from that record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drill.core.verdicts import judge
from drill.model.verdict import Verdict
from drill.reporting import html, junit, record
from drill.reporting.summary import summarize

SUMMARY: Final = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was concluded and where it was written; `summary` is the document of `drill.reporting.summary`."""

    verdict: Verdict
    summary: dict[str, object]
    report: Path
    junit: Path


def publish(run: str, timings: Mapping[str, float] | None = None) -> Published:
    """Write the reports of a run, given by its id, folder or record; repeating it gives the same files.

    Raises Usage when there is no such run, Damaged or BadInput when its record was changed.  A record that was cut
    short is published: its verdict is *unknown*.
    """
    place = record.find(run)
    found = record.load(place)
    report, cases = place.with_name(html.FILE), place.with_name(junit.FILE)
    summary = summarize(found.facts, str(report), timings)
    html.write(report, html.render(found.facts, found.last_hash, found.torn_bytes))
    html.write(cases, junit.render(found.facts, found.last_hash))
    html.write(place.with_name(SUMMARY), f"{summary.model_dump_json(indent=2)}\n")
    return Published(verdict=judge(found.facts), summary=summary.document(), report=report, junit=cases)
