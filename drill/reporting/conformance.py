"""The catalogue of rules, and what tests have shown of it, clause by clause.

A clause is *met* when a test that carries it passed and none failed, *failed* when one failed, and *open* otherwise: no
test, or one that was skipped or has not run.  Of a `lab` clause a passed test counts only if its record names objects
of that run (domains by UUID, networks, disks); one of simulated things may carry it and does not meet it.
A rule is met when all its clauses are, failed when one is.  The catalogue is docs/spec/catalogue.yaml; the pytest
plugin keeps the last outcome of every test that carries a clause.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from drill import data
from drill.errors import BadInput

PLACES = ("lab", "pure")


class Outcome(StrEnum):
    """How a test that carries a clause ended; NOT_RUN is the absence of an outcome."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not run"


class Status(StrEnum):
    """What is shown of a clause or a rule."""

    MET = "met"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """A part of a rule that is counted by itself; `id` is the rule's with a letter, `F2.a`."""

    id: str
    text: str
    shown_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule with its clauses, at least one."""

    id: str
    title: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a test carries: ids of clauses, or of rules (which show nothing by themselves)."""

    ids: tuple[str, ...]
    long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a test ended last time, and the hosts' objects that were there then: `host kind name [UUID]` each."""

    outcome: Outcome
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A clause with its tests and how each ended, sorted by name; `lacks` says why it is not met."""

    clause: Clause
    status: Status
    lacks: str
    tests: tuple[tuple[str, Ended], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule with its clauses; `whole` are tests that carry the rule's id instead of a clause's."""

    rule: Rule
    status: Status
    clauses: tuple[Shown, ...]
    whole: tuple[str, ...]


def catalogue(path: Path | None = None) -> tuple[Rule, ...]:
    """All rules in the catalogue's order.  Raises BadInput for a file that is not one."""
    place = path or data.path("docs", "spec", "catalogue.yaml")
    try:
        chapters = yaml.load(place.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return tuple(_rule(entry) for chapter in chapters for entry in chapter["rules"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as cause:
        raise BadInput(where=str(place), problem=f"not a catalogue of rules: {cause!r}") from cause


def names(rules: Iterable[Rule]) -> frozenset[str]:
    """Everything that a test may carry: the ids of rules and of clauses."""
    return frozenset(name for rule in rules for name in (rule.id, *(clause.id for clause in rule.clauses)))


def judge(rules: Iterable[Rule], carried: Mapping[str, Carried], last: Mapping[str, Ended]) -> tuple[Finding, ...]:
    """What is shown of each rule; `carried` says what each test carries, `last` how each ended."""
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for test, marks in sorted(carried.items()):
        for name in dict.fromkeys(marks.ids):
            tests[name].append(test)
    return tuple(_finding(rule, tests, carried, last) for rule in rules)


def recall(path: Path) -> dict[str, Ended]:
    """How each test ended last time, by its id; empty when nothing was recorded.  Raises BadInput."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["tests"]
        return {
            str(test): Ended(outcome=Outcome(one["outcome"]), objects=tuple(map(str, one["objects"])))
            for test, one in recorded.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise BadInput(where=str(path), problem=f"not a record of outcomes: {cause!r}; delete it") from cause


def remember(path: Path, ended: Mapping[str, Ended]) -> None:
    """Write outcomes over what was recorded of the same tests; what is known of others stays."""
    try:
        known = recall(path)
    except BadInput:
        known = {}
    merged = {test: asdict(one) for test, one in {**known, **ended}.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({"tests": merged}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)


def _rule(entry: Mapping[str, object]) -> Rule:
    clauses = entry["clauses"]
    if not isinstance(clauses, list) or not clauses:
        raise TypeError(f"{entry['id']} has no list of clauses")
    made = tuple(Clause(**{key: str(value) for key, value in clause.items()}) for clause in clauses)
    if strange := [clause.id for clause in made if clause.shown_on not in PLACES]:
        raise ValueError(f"{', '.join(strange)}: shown_on is none of {PLACES}")
    return Rule(id=str(entry["id"]), title=str(entry["title"]), clauses=made)


def _finding(
    rule: Rule, tests: Mapping[str, list[str]], carried: Mapping[str, Carried], last: Mapping[str, Ended]
) -> Finding:
    clauses = tuple(_shown(clause, tests.get(clause.id, []), carried, last) for clause in rule.clauses)
    found = {one.status for one in clauses}
    status = Status.FAILED if Status.FAILED in found else Status.MET if found == {Status.MET} else Status.OPEN
    return Finding(rule=rule, status=status, clauses=clauses, whole=tuple(tests.get(rule.id, ())))


def _shown(clause: Clause, tests: Iterable[str], carried: Mapping[str, Carried], last: Mapping[str, Ended]) -> Shown:
    ended = tuple((test, last.get(test, Ended(outcome=Outcome.NOT_RUN))) for test in tests)
    status, lacks = _status(clause, ended, {test for test in tests if carried[test].long})
    return Shown(clause=clause, status=status, lacks=lacks, tests=ended)


def _status(clause: Clause, ended: tuple[tuple[str, Ended], ...], long: set[str]) -> tuple[Status, str]:
    """A long test that has not run is left out where another test shows the clause."""
    by_outcome = {outcome: [test for test, one in ended if one.outcome is outcome] for outcome in Outcome}
    passed, waiting = by_outcome[Outcome.PASSED], set(by_outcome[Outcome.NOT_RUN]) - long
    named = clause.shown_on != "lab" or any(one.objects for _, one in ended if one.outcome is Outcome.PASSED)
    if failed := by_outcome[Outcome.FAILED]:
        return Status.FAILED, f"{len(failed)} of its tests failed"
    lacks = (
        (not ended, "no test carries it"),
        (bool(by_outcome[Outcome.SKIPPED]), f"{len(by_outcome[Outcome.SKIPPED])} of its tests were skipped"),
        (bool(waiting), f"{len(waiting)} of its tests have not run"),
        (not passed, "its tests take long and have not run"),
        (not named, "no test of it named a domain, network or disk of its run"),
    )
    why = next((words for holds, words in lacks if holds), "")
    return (Status.OPEN if why else Status.MET), why
