"""JUnit and the summary: the same verdict, for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml

from drill.model.fact import Fact
from drill.reporting import junit
from drill.reporting.publish import publish
from drill.reporting.record import RunWriter
from drill.reporting.summary import lines, summarize
from tests.runs import RUN, crashed, passing, renamed, with_observed

FACTS = passing()
NAMES = json.loads((Path(__file__).parents[1] / "bad" / "names.json").read_text(encoding="utf-8"))


def parsed(facts: tuple[Fact, ...]) -> JUnitXml:
    return JUnitXml.fromstring(junit.render(facts, "a" * 64).encode())


def defective() -> tuple[Fact, ...]:
    """A run with one check that fails and one that is unknown."""
    return with_observed(crashed(FACTS, "db"), "agent", "app", None)


def test_a_machine_is_a_suite_and_a_check_is_a_case() -> None:
    document = parsed(FACTS)
    assert [(suite.name, suite.tests) for suite in document] == [("run", 5), ("db", 15), ("app", 12), ("web", 12)]
    assert (document.tests, document.failures, document.errors) == (44, 0, 0)
    assert {case.classname for suite in document for case in suite} == {
        f"drill.shop.{one}" for one in ("run", "db", "app", "web")
    }


def test_a_failed_check_is_a_failure_and_an_unknown_one_an_error() -> None:
    document = parsed(defective())
    results = {(case.classname, case.name): case.result for suite in document for case in suite if case.result}
    (failure,) = results["drill.shop.db", "boot"]
    (error,) = results["drill.shop.app", "agent"]
    assert (type(failure), failure.type, failure.message) == (Failure, "fail", "crashed, not running")
    assert (type(error), error.type) == (Error, "unknown")
    assert '"state": "crashed"' in failure.text
    assert (document.failures, document.errors, len(results)) == (1, 1, 2)


def test_the_figures_are_properties_of_the_run() -> None:
    (suite,) = (suite for suite in parsed(FACTS) if suite.name == "run")
    properties = suite.properties()  # type: ignore[no-untyped-call]  # junitparser forgot one annotation
    assert {one.name: one.value for one in properties} == {
        "verdict": "pass",
        "rpo_seconds": "22.34",
        "rpo_records": "47",
        "rto_seconds": "18.26",
        "run": RUN,
        "last_hash": "a" * 64,
    }


@pytest.mark.parametrize("length", [0, 1, 10, 40])
def test_a_run_cut_short_is_red(length: int) -> None:
    assert parsed(FACTS[:length]).errors > 0


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name["name"])
def test_a_hostile_name_makes_no_element_and_no_line(name: dict[str, str]) -> None:
    document = parsed(renamed(defective(), name["text"]))
    assert {suite.name.isprintable() for suite in document} == {True}
    assert {case.name.isprintable() for suite in document for case in suite} == {True}
    assert document.tests == sum(suite.tests for suite in document) == sum(1 for suite in document for _ in suite)


def test_the_summary_counts_what_the_verdict_says() -> None:
    document = summarize(defective(), "/x/report.html", {"lab_up": 4.21987}).document()
    assert document == {
        "run": RUN,
        "verdict": "fail",
        "rpo_seconds": 22.34,
        "rpo_records": 47,
        "rto_seconds": 18.26,
        "checks": {"passed": 42, "failed": 1, "unknown": 1},
        "not_passed": [
            "fail boot of db: crashed, not running",
            "unknown agent of app: the observation cannot be read: observed is not an object",
        ],
        "leftovers": [],
        "report": "/x/report.html",
        "accelerator": "tcg",
        "timings": {"lab_up": 4.22},
    }


def test_the_summary_of_nothing_is_unknown() -> None:
    summary = summarize((), "")
    assert (summary.verdict, summary.rpo_seconds, summary.accelerator) == ("unknown", None, "unknown")


def test_the_last_lines_are_verdict_rpo_rto_and_report() -> None:
    assert lines(summarize(FACTS, "reports/out/x/report.html")) == [
        "verdict  pass (44 passed, 0 failed, 0 unknown)",
        "RPO      22.3 s (47 records)",
        "RTO      18.3 s",
        "report   reports/out/x/report.html",
    ]


def test_publishing_writes_all_three_beside_the_record_and_the_same_again(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.append(*FACTS)
    published = publish(str(tmp_path))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert before.keys() == {"run.jsonl", "report.html", "junit.xml", "summary.json"}
    assert json.loads(before["summary.json"]) == published.summary
    assert publish(str(tmp_path)) == published
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
