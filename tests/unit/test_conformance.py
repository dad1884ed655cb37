"""The catalogue of rules, the judgement on it, and the plugin that records outcomes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drill.errors import BadInput
from drill.reporting import conformance
from drill.reporting.conformance import Outcome, Rule, Status
from fixtures.command_line import CommandLine

pytest_plugins = ["pytester"]

CHAPTERS = "A14 B10 D5 E9 F9 G6 H7 I4 J7 K9 L9 M8 N2 O3 P1 Q1 R1 S7"
"""How many rules each chapter has: 112."""

SUITE = """
import pytest

@pytest.mark.spec("F5")
def test_that_passes(): pass

@pytest.mark.spec("F5", "J1")
@pytest.mark.parametrize("cards", [1, 2])
def test_that_fails_for_two(cards): assert cards == 1

@pytest.mark.spec("L2")
def test_that_is_skipped(): pytest.skip("no lab")

@pytest.mark.spec("K2")
@pytest.mark.long
def test_that_takes_long(): pass

@pytest.mark.spec("M1")
def test_whose_set_up_fails(request): request.getfixturevalue("nothing of that name")

def test_without_a_rule(): pass
"""
INI = "[pytest]\nspec_record = outcomes.json\n"


def rule(id: str) -> Rule:
    return Rule(id=id, title="", text="", shown_on="pure", clauses=())


def test_the_catalogue_has_every_rule_once_and_in_order() -> None:
    expected = [f"{chapter[0]}{n}" for chapter in CHAPTERS.split() for n in range(1, int(chapter[1:]) + 1)]
    assert len(expected) == 112
    assert [rule.id for rule in conformance.catalogue()] == expected


def test_every_rule_is_one_sentence_or_two_and_says_where_it_is_shown() -> None:
    for entry in conformance.catalogue():
        assert entry.shown_on in {"lab", "pure"}, entry.id
        assert entry.title, entry.id
        assert re.fullmatch(r"[A-Z].{20,240}\.", entry.text), entry.id
        for clause in entry.clauses:
            assert re.fullmatch(rf"{entry.id}\.[a-z]", clause.id), clause.id
            assert clause.shown_on in {"lab", "pure"}, clause.id


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        pytest.param([], Status.OPEN, id="no test"),
        pytest.param([Outcome.PASSED], Status.MET, id="passed"),
        pytest.param([Outcome.PASSED, Outcome.FAILED], Status.FAILED, id="one failed"),
        pytest.param([Outcome.PASSED, Outcome.SKIPPED], Status.OPEN, id="one skipped"),
        pytest.param([Outcome.PASSED, Outcome.NOT_RUN], Status.OPEN, id="one not run"),
    ],
)
def test_a_rule_is_met_only_when_every_test_that_carries_it_passed(outcomes: list[Outcome], status: Status) -> None:
    tests = {f"test_{n}": outcome for n, outcome in enumerate(outcomes)}
    last = {test: outcome for test, outcome in tests.items() if outcome is not Outcome.NOT_RUN}
    (finding,) = conformance.judge([rule("F5")], {"F5": tests}, last)
    assert finding.status is status


def test_a_new_outcome_replaces_the_old_one_and_leaves_other_tests_alone(tmp_path: Path) -> None:
    place = tmp_path / "out" / "outcomes.json"
    conformance.remember(place, {"a": Outcome.FAILED, "b": Outcome.PASSED})
    conformance.remember(place, {"a": Outcome.PASSED})
    assert conformance.recall(place) == {"a": Outcome.PASSED, "b": Outcome.PASSED}


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    place = tmp_path / "outcomes.json"
    place.write_text('{"outcomes": {"a": "won"}}')
    with pytest.raises(BadInput, match="not a record of outcomes"):
        conformance.recall(place)


@pytest.mark.parametrize("text", ["just words", "- rules: [{id: A1}]", "[", "- 7"])
def test_a_catalogue_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    place = tmp_path / "catalogue.yaml"
    place.write_text(text)
    with pytest.raises(BadInput, match="not a catalogue"):
        conformance.catalogue(place)


def test_the_plugin_keeps_the_outcome_of_every_test_that_carries_a_rule(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(test_suite=SUITE)
    carried = pytester.path / "carried.json"
    pytester.runpytest_subprocess(f"--spec-carried={carried}")
    assert conformance.recall(pytester.path / "outcomes.json") == {
        "test_suite.py::test_that_passes": Outcome.PASSED,
        "test_suite.py::test_that_fails_for_two[1]": Outcome.PASSED,
        "test_suite.py::test_that_fails_for_two[2]": Outcome.FAILED,
        "test_suite.py::test_that_is_skipped": Outcome.SKIPPED,
        "test_suite.py::test_whose_set_up_fails": Outcome.FAILED,
    }
    assert json.loads(carried.read_text())["test_suite.py::test_that_takes_long"] == ["K2"]


def test_outcomes_of_parallel_workers_are_kept_too(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(test_suite=SUITE)
    pytester.runpytest_subprocess("-n", "2")
    assert len(conformance.recall(pytester.path / "outcomes.json")) == 5


def test_long_tests_run_only_when_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.long\ndef test_long(): pass\ndef test_short(): pass\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1, deselected=1)
    pytester.runpytest_subprocess("--long").assert_outcomes(passed=2)


def test_a_rule_that_is_in_no_catalogue_stops_the_collection(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile('import pytest\n@pytest.mark.spec("Z9")\ndef test_that_invents_a_rule(): pass\n')
    said = pytester.runpytest_subprocess()
    assert said.ret == pytest.ExitCode.USAGE_ERROR
    assert "no such rule in the catalogue: Z9" in said.stderr.str()


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "errors")])
def test_a_lab_test_is_skipped_by_name_or_fails_where_the_lab_is_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, outcome: str
) -> None:
    monkeypatch.setenv("DRILL_REQUIRE_LAB", required)
    pytester.makeconftest("import os\nos.geteuid = lambda: 1000  # what anybody but root sees\n")
    pytester.makepyfile("import pytest\n@pytest.mark.lab\ndef test_on_the_lab(): pass\n")
    said = pytester.runpytest_subprocess("-ra")
    assert said.parseoutcomes() == {outcome: 1}
    said.stdout.fnmatch_lines(["*impossible here: *root*"])


def test_last_lists_all_rules_with_the_tests_that_carry_them(drill: CommandLine) -> None:
    document = drill("conformance", "--last", "--json", timeout_seconds=120).document
    assert document["rules"] == 112
    assert document["met"] + document["failed"] + len(document["open"]) == 112
    assert [detail["id"] for detail in document["details"]] == [entry.id for entry in conformance.catalogue()]
