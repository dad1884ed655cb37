"""`drill conformance`: which rules of the catalogue tests have shown to hold."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from drill.cli.output import Output, spoken
from drill.errors import Failed, Unknown, Usage
from drill.reporting import conformance
from drill.reporting.conformance import Carried, Ended, Finding, Status

RECORD = Path("reports/out/conformance.json")  # `spec_record` in pyproject.toml
_COLLECTING_SECONDS = 120
_RUNNING_SECONDS = 3600
_TESTS_FAILED, _NOTHING_COLLECTED = 1, 5  # of pytest's exit codes, those that are answers


@click.command("conformance", short_help="Which rules of the catalogue are met, failed or open.")
@click.option("--last", is_flag=True, help="Take the last recorded outcomes instead of running the tests.")
@click.option("--long", is_flag=True, help="Also run the tests that take long.")
@spoken
def command(out: Output, last: bool, long: bool) -> None:
    """List every rule of the catalogue, its clauses, the tests that carry them and how they ended.

    Runs the tests that carry clauses; needs a checkout, because an installed drill has no tests.  Ends with an error
    when a rule failed; an open rule is no error.
    """
    root = _checkout()
    rules = conformance.catalogue()
    if last:
        carried = _pytest(root, ["--collect-only", "-qq", "--long"], _COLLECTING_SECONDS)
    else:
        out.progress("running the tests that carry clauses")
        carried = _pytest(root, ["-m", "spec", *(["--long"] if long else [])], _RUNNING_SECONDS)
    findings = conformance.judge(rules, carried, conformance.recall(root / RECORD))
    out.result(_document(findings), *_lines(findings))
    if failed := [finding.rule.id for finding in findings if finding.status is Status.FAILED]:
        raise Failed(action="conformance", cause=f"tests of {', '.join(failed)} failed")


def _checkout() -> Path:
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests").is_dir() or not (root / "pyproject.toml").is_file():
        raise Usage(problem="an installed drill has no tests to run", cure="run it in a checkout: ./run conformance")
    return root


def _pytest(root: Path, arguments: Sequence[str], deadline_seconds: float) -> dict[str, Carried]:
    """Run pytest with its output on standard error; what each test carries.

    Raises Failed when pytest itself did not get through, Unknown at the deadline.
    """
    with tempfile.TemporaryDirectory(prefix="drill-conformance-") as folder:
        place = Path(folder, "carried.json")
        argv = [sys.executable, "-m", "pytest", f"--spec-carried={place}", *arguments]
        try:
            ended = subprocess.run(argv, cwd=root, stdout=sys.stderr, timeout=deadline_seconds, check=False)
        except subprocess.TimeoutExpired as cause:
            raise Unknown(action="running the tests", cause=f"no end after {deadline_seconds:.0f} s") from cause
        if ended.returncode not in (0, _TESTS_FAILED, _NOTHING_COLLECTED) or not place.exists():
            raise Failed(action="running the tests", cause=f"pytest ended with {ended.returncode}, see above")
        carried: dict[str, dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))
    return {test: Carried(ids=tuple(one["ids"]), long=bool(one["long"])) for test, one in carried.items()}


def _document(findings: Sequence[Finding]) -> dict[str, object]:
    counts = Counter(finding.status for finding in findings)
    clauses = Counter(shown.status for finding in findings for shown in finding.clauses)
    return {
        "rules": len(findings),
        "met": counts[Status.MET],
        "failed": counts[Status.FAILED],
        "open": [finding.rule.id for finding in findings if finding.status is Status.OPEN],
        "clauses": {"all": clauses.total(), **{status.value: clauses[status] for status in Status}},
        "details": [_detail(finding) for finding in findings],
    }


def _detail(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.rule.id,
        "title": finding.rule.title,
        "status": finding.status,
        "clauses": [
            {
                "id": shown.clause.id,
                "text": shown.clause.text,
                "shown_on": shown.clause.shown_on,
                "status": shown.status,
                "lacks": shown.lacks,
                "tests": [_test(test, ended) for test, ended in shown.tests],
            }
            for shown in finding.clauses
        ],
        "tests": sorted({test for shown in finding.clauses for test, _ in shown.tests} | set(finding.whole)),
    }


def _test(test: str, ended: Ended) -> dict[str, object]:
    return {"test": test, "outcome": ended.outcome, "objects": list(ended.objects)}


def _lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:7}{finding.rule.id:4} {finding.rule.title}")
        for shown in finding.clauses:
            lines.append(f"   {shown.status:7}{shown.clause.id:6} {shown.clause.shown_on:5} {shown.lacks}".rstrip())
            lines += [f"            {ended.outcome:8} {test}" for test, ended in shown.tests]
    counts = Counter(finding.status for finding in findings)
    clauses = Counter(shown.status for finding in findings for shown in finding.clauses)
    summary = ", ".join(f"{counts[status]} {status}" for status in Status)
    parts = ", ".join(f"{clauses[status]} {status}" for status in Status)
    return [*lines, f"{len(findings)} rules: {summary} ({clauses.total()} clauses: {parts})"]
