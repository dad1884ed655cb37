"""`drill conformance`: which rules of the catalogue tests have shown to hold."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from drill.cli.output import Output, spoken
from drill.errors import Failed, Unknown, Usage
from drill.reporting import conformance
from drill.reporting.conformance import Finding, Status

RECORD = Path("reports/out/conformance.json")  # `spec_record` in pyproject.toml
_COLLECTING_SECONDS = 120
_RUNNING_SECONDS = 3600
_TESTS_FAILED, _NOTHING_COLLECTED = 1, 5  # of pytest's exit codes, those that are answers


@click.command("conformance", short_help="Which rules of the catalogue are met, failed or open.")
@click.option("--last", is_flag=True, help="Take the last recorded outcomes instead of running the tests.")
@click.option("--long", is_flag=True, help="Also run the tests that take long.")
@spoken
def command(out: Output, last: bool, long: bool) -> None:
    """List every rule of the catalogue with the tests that carry it and how they ended.

    Runs the tests that carry rules; needs a checkout, because an installed drill has no tests.  Ends with an error
    when a rule failed; open rules are none.
    """
    root = _checkout()
    rules = conformance.catalogue()
    if last:
        carried = _pytest(root, ["--collect-only", "-qq", "--long"], _COLLECTING_SECONDS)
    else:
        out.progress("running the tests that carry rules")
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


def _pytest(root: Path, arguments: Sequence[str], deadline_seconds: float) -> dict[str, list[str]]:
    """Run pytest with its output on standard error; what each rule's id is carried by, as ids of tests.

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
        rules_by_test: dict[str, list[str]] = json.loads(place.read_text(encoding="utf-8"))
    tests_by_rule: defaultdict[str, list[str]] = defaultdict(list)
    for test, rules in rules_by_test.items():
        for rule in rules:
            tests_by_rule[rule].append(test)
    return dict(tests_by_rule)


def _document(findings: Sequence[Finding]) -> dict[str, object]:
    counts = Counter(finding.status for finding in findings)
    return {
        "rules": len(findings),
        "met": counts[Status.MET],
        "failed": counts[Status.FAILED],
        "open": [finding.rule.id for finding in findings if finding.status is Status.OPEN],
        "details": [
            {
                "id": finding.rule.id,
                "title": finding.rule.title,
                "text": finding.rule.text,
                "shown_on": finding.rule.shown_on,
                "status": finding.status,
                "tests": [{"test": test, "outcome": outcome} for test, outcome in finding.tests],
            }
            for finding in findings
        ],
    }


def _lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:7}{finding.rule.id:4} {finding.rule.title}")
        lines += [f"            {outcome:8} {test}" for test, outcome in finding.tests]
    counts = Counter(finding.status for finding in findings)
    summary = ", ".join(f"{counts[status]} {status}" for status in Status)
    return [*lines, f"{len(findings)} rules: {summary}"]
