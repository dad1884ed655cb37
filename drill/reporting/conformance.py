"""The catalogue of rules, and which of them tests have shown to hold.

A rule is *met* when it is carried by at least one test and every test that carries it passed last time, *failed* when
one of them failed, and *open* otherwise: no test, or one that has not run.  The catalogue is
fixtures/spec/catalogue.yaml; the pytest plugin keeps the last outcome of every test that carries a rule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from drill import data
from drill.errors import BadInput


class Outcome(StrEnum):
    """How a test that carries a rule ended; NOT_RUN is the absence of an outcome."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not run"


class Status(StrEnum):
    """What is shown of a rule."""

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
    """One rule; `shown_on` says where a test must show it: `lab` on real hosts and guests, `pure` on code alone."""

    id: str
    title: str
    text: str
    shown_on: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule with the tests that carry it, sorted by name."""

    rule: Rule
    status: Status
    tests: tuple[tuple[str, Outcome], ...]


def catalogue(path: Path | None = None) -> tuple[Rule, ...]:
    """All rules in the catalogue's order.  Raises BadInput for a file that is not one."""
    place = path or data.path("fixtures", "spec", "catalogue.yaml")
    try:
        chapters = yaml.load(place.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return tuple(_rule(entry) for chapter in chapters for entry in chapter["rules"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as cause:
        raise BadInput(where=str(place), problem=f"not a catalogue of rules: {cause!r}") from cause


def judge(
    rules: Iterable[Rule], carried: Mapping[str, Iterable[str]], last: Mapping[str, Outcome]
) -> tuple[Finding, ...]:
    """What is shown of each rule; `carried` maps a rule's id to its tests, `last` a test to its last outcome."""
    return tuple(_finding(rule, carried.get(rule.id, ()), last) for rule in rules)


def recall(path: Path) -> dict[str, Outcome]:
    """The last outcome of each test, by its id; empty when nothing was recorded.  Raises BadInput."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return {str(test): Outcome(outcome) for test, outcome in recorded["outcomes"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise BadInput(where=str(path), problem=f"not a record of outcomes: {cause!r}; delete it") from cause


def remember(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write outcomes over what was recorded of the same tests; what is known of others stays."""
    try:
        known = recall(path)
    except BadInput:
        known = {}
    merged = {**known, **outcomes}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({"outcomes": merged}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)


def _rule(entry: Mapping[str, object]) -> Rule:
    clauses = entry.get("clauses", [])
    if not isinstance(clauses, list):
        raise TypeError(f"clauses of {entry['id']} are not a list")
    return Rule(
        id=str(entry["id"]),
        title=str(entry["title"]),
        text=str(entry["text"]),
        shown_on=str(entry["shown_on"]),
        clauses=tuple(Clause(**{key: str(value) for key, value in clause.items()}) for clause in clauses),
    )


def _finding(rule: Rule, tests: Iterable[str], last: Mapping[str, Outcome]) -> Finding:
    outcomes = tuple((test, last.get(test, Outcome.NOT_RUN)) for test in sorted(tests))
    return Finding(rule=rule, status=_status({outcome for _, outcome in outcomes}), tests=outcomes)


def _status(outcomes: set[Outcome]) -> Status:
    if Outcome.FAILED in outcomes:
        return Status.FAILED
    return Status.MET if outcomes == {Outcome.PASSED} else Status.OPEN
