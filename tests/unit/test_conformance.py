"""The catalogue of rules, the judgement on it, and the plugin that records outcomes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drill.errors import BadInput
from drill.lab import inventory
from drill.reporting import conformance
from drill.reporting.conformance import Carried, Clause, Ended, Outcome, Rule, Status
from fixtures.command_line import ROOT, CommandLine

pytest_plugins = ["pytester"]

CHAPTERS = "A14 B10 D5 E9 F9 G6 H7 I4 J7 K9 L9 M8 N2 O3 P1 Q1 R1 S7"
"""How many rules each chapter has: 112."""

SUITE = """
import pytest

@pytest.mark.spec("F5.a")
def test_that_passes(): pass

@pytest.mark.spec("F5.b", "J1.a")
@pytest.mark.parametrize("cards", [1, 2])
def test_that_fails_for_two(cards): assert cards == 1

@pytest.mark.spec("L2.a")
def test_that_is_skipped(): pytest.skip("no lab")

@pytest.mark.spec("K2.a")
@pytest.mark.long
def test_that_takes_long(): pass

@pytest.mark.spec("M1.a")
def test_whose_set_up_fails(request): request.getfixturevalue("nothing of that name")

def test_without_a_rule(): pass
"""
INI = "[pytest]\nspec_record = outcomes.json\n"


PASSED, FAILED, SKIPPED, NOT_RUN = (
    Outcome.PASSED,
    Outcome.FAILED,
    Outcome.SKIPPED,
    Outcome.NOT_RUN,
)


def rule(**shown_on: str) -> Rule:
    """F5 with a clause per argument."""
    clauses = tuple(Clause(id=f"F5.{letter}", text="", shown_on=place) for letter, place in shown_on.items())
    return Rule(id="F5", title="", clauses=clauses)


def test_the_catalogue_has_every_rule_once_and_in_order() -> None:
    expected = [f"{chapter[0]}{n}" for chapter in CHAPTERS.split() for n in range(1, int(chapter[1:]) + 1)]
    assert len(expected) == 112
    assert [rule.id for rule in conformance.catalogue()] == expected


def test_every_rule_has_clauses_a_b_c_of_one_sentence_and_a_place() -> None:
    for entry in conformance.catalogue():
        assert entry.title, entry.id
        assert [one.id for one in entry.clauses] == [
            f"{entry.id}.{letter}" for letter in "abcdefgh"[: len(entry.clauses)]
        ]
        for clause in entry.clauses:
            assert re.fullmatch(r"[A-Z].{15,240}\.", clause.text), clause.id
            assert clause.shown_on in {"lab", "pure"}, clause.id


def test_the_page_about_the_catalogue_counts_its_clauses() -> None:
    clauses = sum(len(entry.clauses) for entry in conformance.catalogue())
    assert f"{clauses} in all" in (ROOT / "docs" / "spec" / "README.md").read_text()


@pytest.mark.parametrize(
    ("outcomes", "status", "lacks"),
    [
        pytest.param([], Status.OPEN, "no test carries it", id="no test"),
        pytest.param([PASSED], Status.MET, "", id="passed"),
        pytest.param([PASSED, FAILED, SKIPPED], Status.FAILED, "1 of its tests failed", id="one failed"),
        pytest.param([PASSED, SKIPPED], Status.OPEN, "1 of its tests were skipped", id="one skipped"),
        pytest.param([PASSED, NOT_RUN], Status.OPEN, "1 of its tests have not run", id="one not run"),
    ],
)
def test_a_clause_is_met_only_when_every_test_that_carries_it_passed(
    outcomes: list[Outcome], status: Status, lacks: str
) -> None:
    carried = {f"test_{n}": Carried(ids=("F5.a",)) for n in range(len(outcomes))}
    last = {f"test_{n}": Ended(outcome=one) for n, one in enumerate(outcomes) if one is not NOT_RUN}
    (finding,) = conformance.judge([rule(a="pure")], carried, last)
    assert (finding.status, finding.clauses[0].lacks) == (status, lacks)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((PASSED, PASSED), Status.MET),
        ((PASSED, NOT_RUN), Status.OPEN),
        ((NOT_RUN, NOT_RUN), Status.OPEN),
        ((FAILED, NOT_RUN), Status.FAILED),
    ],
)
def test_a_rule_is_met_when_all_its_clauses_are(states: tuple[Outcome, Outcome], status: Status) -> None:
    carried = {"test_a": Carried(ids=("F5.a",)), "test_b": Carried(ids=("F5.b",))}
    last = {test: Ended(outcome=one) for test, one in zip(carried, states, strict=True)}
    (finding,) = conformance.judge([rule(a="pure", b="pure")], carried, last)
    assert finding.status is status


def test_a_test_that_carries_the_rule_alone_shows_none_of_its_clauses() -> None:
    (finding,) = conformance.judge([rule(a="pure")], {"t": Carried(ids=("F5",))}, {"t": Ended(outcome=PASSED)})
    assert (finding.status, finding.whole) == (Status.OPEN, ("t",))


def test_a_lab_clause_counts_only_with_objects_of_its_run() -> None:
    last = {"test_planted": Ended(outcome=PASSED)}
    carried = {"test_planted": Carried(ids=("F5.a",))}
    (finding,) = conformance.judge([rule(a="lab")], carried, last)
    assert (finding.status, finding.clauses[0].lacks) == (
        Status.OPEN,
        "no test of it named a domain, network or disk of its run",
    )
    last["test_real"] = Ended(outcome=PASSED, objects=("chi1 domain 6f web",))
    carried["test_real"] = Carried(ids=("F5.a",))
    (finding,) = conformance.judge([rule(a="lab")], carried, last)
    assert finding.status is Status.MET


def test_a_long_test_that_has_not_run_is_left_out_where_another_shows_the_clause() -> None:
    carried = {"test_long": Carried(ids=("F5.a", "F5.b"), long=True), "test_short": Carried(ids=("F5.a",))}
    (finding,) = conformance.judge([rule(a="pure", b="pure")], carried, {"test_short": Ended(outcome=PASSED)})
    assert [one.status for one in finding.clauses] == [Status.MET, Status.OPEN]
    assert "take long" in finding.clauses[1].lacks


def test_a_new_outcome_replaces_the_old_one_and_leaves_other_tests_alone(tmp_path: Path) -> None:
    place = tmp_path / "out" / "outcomes.json"
    known = Ended(outcome=PASSED, objects=("ny1 network 1",))
    conformance.remember(place, {"a": Ended(outcome=FAILED), "b": known})
    conformance.remember(place, {"a": Ended(outcome=PASSED)})
    assert conformance.recall(place) == {"a": Ended(outcome=PASSED), "b": known}


@pytest.mark.parametrize("text", ['{"tests": {"a": {"outcome": "won", "objects": []}}}', '{"outcomes": {}}', "[]"])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    place = tmp_path / "outcomes.json"
    place.write_text(text)
    with pytest.raises(BadInput, match="not a record of outcomes"):
        conformance.recall(place)
    conformance.remember(place, {"a": Ended(outcome=PASSED)})
    assert list(conformance.recall(place)) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "just words",
        "- rules: [{id: A1}]",
        "- rules: [{id: A1, title: x, clauses: []}]",
        "- rules: [{id: A1, title: x, clauses: [{id: A1.a, shown_on: paper, text: x}]}]",
        "[",
        "- 7",
    ],
)
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
    ended = conformance.recall(pytester.path / "outcomes.json")
    assert {test: one.outcome for test, one in ended.items()} == {
        "test_suite.py::test_that_passes": Outcome.PASSED,
        "test_suite.py::test_that_fails_for_two[1]": Outcome.PASSED,
        "test_suite.py::test_that_fails_for_two[2]": Outcome.FAILED,
        "test_suite.py::test_that_is_skipped": Outcome.SKIPPED,
        "test_suite.py::test_whose_set_up_fails": Outcome.FAILED,
    }
    assert json.loads(carried.read_text())["test_suite.py::test_that_takes_long"] == {"ids": ["K2.a"], "long": True}


def test_what_a_test_says_of_its_objects_is_kept(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(
        test_suite="""
        import pytest
        @pytest.mark.spec("F5.d")
        def test_on_a_lab_of_its_own(record_property): record_property("object", "chi1 domain 6f web")
        """
    )
    pytester.runpytest_subprocess()
    (ended,) = conformance.recall(pytester.path / "outcomes.json").values()
    assert ended == Ended(outcome=PASSED, objects=("chi1 domain 6f web",))


def test_the_objects_of_a_host_are_told_by_the_shape_of_the_lines_that_name_them() -> None:
    uuids = ["b4025856-5f91-5dfb-9cfd-6f08e371271c", "1cf7bde3-a43a-5b0a-aded-55e0fc7f08e0"]
    said = f" {uuids[0]}  db\n\n{uuids[1]}\nDomain: 'db'\n  block.count=1\n  block.0.path=/images/db.vda.qcow2\n"
    assert list(inventory.named("ny1", said)) == [
        f"ny1 domain {uuids[0]} db",
        f"ny1 network {uuids[1]}",
        "ny1 disk /images/db.vda.qcow2",
    ]


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


def test_no_test_carries_a_rule_without_naming_the_clause(pytestconfig: pytest.Config) -> None:
    whole = {entry.id for entry in conformance.catalogue()}
    marks = re.compile(r"^(?:@|pytestmark = .*)pytest\.mark\.spec\(([^)]*)\)", re.MULTILINE)
    for file in sorted(pytestconfig.rootpath.glob("tests/**/*.py")):
        for mark in marks.findall(file.read_text(encoding="utf-8")):
            assert not set(re.findall(r'"([^"]+)"', mark)) & whole, (
                f"{file}: name the clauses (docs/spec/catalogue.yaml)"
            )


def test_last_lists_all_rules_with_the_tests_that_carry_them(drill: CommandLine) -> None:
    document = drill("conformance", "--last", "--json", timeout_seconds=120).document
    assert document["rules"] == 112
    assert document["met"] + document["failed"] + len(document["open"]) == 112
    assert [detail["id"] for detail in document["details"]] == [entry.id for entry in conformance.catalogue()]
