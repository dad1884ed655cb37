"""What a drill says, word by word: an auditor reads these sentences, so a change of one is a change to look at.

The files in `said/` hold them.  `DRILL_SAID=write pytest tests/unit/test_said.py` writes them anew; read the diff.
"""

from __future__ import annotations

import os
import pprint
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from drill.core.failover_test import failover_test
from drill.core.verdicts import judge
from drill.errors import Failed
from drill.model.fact import Fact, Json, MachinePredicted, Observed, RunEnded, StepEnded
from drill.model.verdict import Outcome
from drill.orchestration.perform import Performer
from tests.paper import MemoryJournal, MemoryRecord, Paper, StandingClock, estate
from tests.runs import with_expected
from tests.unit.test_failover_test import order
from tests.unit.test_verdicts import BARE, FACTS, PLANTS, WEAK, WRONG_PREDICTIONS, edited, foretold

SAID = Path(__file__).with_name("said")


def same(name: str, lines: Iterable[str]) -> None:
    """`lines` are those of said/NAME.txt."""
    path, text = SAID / f"{name}.txt", "\n".join(lines) + "\n"
    if os.environ.get("DRILL_SAID") == "write":
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def drill(trouble: type | None = None, **changes: object) -> tuple[Paper, MemoryRecord]:
    """One test failover on paper, its commands side by side performed one after another."""

    def refuse(command: object) -> None:
        if trouble is not None and isinstance(command, trouble):
            raise Failed(action=type(command).__name__, cause="planted")

    paper, record = Paper(trouble=refuse), MemoryRecord()
    performer = Performer(
        act=paper, journal=MemoryJournal(), recorder=record, clock=StandingClock(), cancel_asked=lambda: False
    )
    performer.perform(failover_test(order(**changes)))
    return paper, record


def commands(paper: Paper) -> Iterator[str]:
    """Every command with its arguments, the estate left out; those that run side by side in one order."""
    return (pprint.pformat(one, width=118) for one in sorted(paper.log, key=repr))


def judgement(facts: tuple[Fact, ...]) -> Iterator[str]:
    """The verdict's own lines, and every check that is no pass."""
    verdict = judge(facts)
    loss = f"rpo {verdict.rpo_seconds} s, {verdict.rpo_records} records"
    yield f"  {verdict.outcome}: {loss}, rto {verdict.rto_seconds} s"
    for one in verdict.checks:
        if one.outcome is not Outcome.PASS:
            yield f"  {one.outcome} {one.check} {one.vm or '-'}: {one.reason}"


def test_the_commands_of_a_healthy_drill() -> None:
    same("commands", commands(drill()[0]))


def test_the_facts_of_a_healthy_drill() -> None:
    facts = drill()[1].facts
    same("facts", (pprint.pformat(one, width=118) for one in sorted(facts, key=repr)))


def test_the_order_of_the_steps_of_a_healthy_drill() -> None:
    same("steps", (one.step for one in drill()[1].facts if isinstance(one, StepEnded)))


def test_the_facts_of_drills_in_which_one_kind_of_step_fails() -> None:
    kinds = sorted({type(one) for one in drill()[0].log}, key=lambda kind: kind.__name__)
    lines: list[str] = []
    for kind in kinds:
        paper, record = drill(kind)
        lines += [kind.__name__, *judgement(tuple(record.facts))]  # type: ignore[arg-type]
        lines += [f"  left: {one}" for one in sorted(paper.made)]
        lines += [f"  {one}" for one in record.facts if isinstance(one, RunEnded)]
    same("failures", lines)


def test_what_is_predicted_when_cards_are_dropped_or_mapped_to_nothing() -> None:
    worlds = {"one card": estate(), "three cards": estate(web_nics=3), "no mapping": estate(mappings={})}
    lines: list[str] = []
    for name, world in worlds.items():
        lines.append(name)
        lines += [
            pprint.pformat(one, width=118) for one in drill(estate=world)[1].facts if isinstance(one, MachinePredicted)
        ]
    same("predictions", lines)


def test_the_sentences_of_a_passing_run() -> None:
    same("passes", (f"{one.check} {one.vm or '-'}: {one.reason}" for one in judge(FACTS).checks))


def test_the_sentences_of_planted_defects() -> None:
    lines: list[str] = []
    for name, plant in PLANTS.items():
        lines += [name, *judgement(edited(plant.check, plant.vm, plant.edit))]
    for name, (check, vm, expected) in WEAK.items():
        lines += [name, *judgement(with_expected(FACTS, check, vm, cast("Json", expected)))]
    for name, fields in WRONG_PREDICTIONS.items():
        lines += [name, *judgement(foretold(**cast("dict[str, object]", fields)))]
    for name, facts in BARE.items():
        lines += [name, *judgement(facts)]
    same("defects", lines)


def test_the_sentences_of_runs_in_which_one_value_of_the_evidence_is_gone_or_of_another_kind() -> None:
    lines: list[str] = []
    for at, fact in enumerate(FACTS):
        if not isinstance(fact, Observed):
            continue
        for side in ("expected", "observed"):
            for name, spoilt in spoilings(getattr(fact, side)):
                spoil: dict[str, Any] = {side: spoilt}
                changed = replace(fact, **spoil)
                found = judge((*FACTS[:at], changed, *FACTS[at + 1 :]))
                (one,) = (one for one in found.checks if (one.check, one.vm) == (fact.check, fact.vm))
                lines.append(f"{fact.check} {fact.vm or '-'} {side}{name}: {one.outcome}: {one.reason}")
    same("spoilt", sorted(set(lines)))


def spoilings(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every way to leave out one part of a value, or to put something of another kind in its place."""
    others: tuple[Json, ...] = (None, "x", -1, [], {})
    for other in others:
        yield f"{path}={other!r}", other
    if isinstance(value, dict):
        for key, part in value.items():
            rest = {name: one for name, one in value.items() if name != key}
            yield f"{path}-{key}", rest
            yield from ((name, value | {key: spoilt}) for name, spoilt in spoilings(part, f"{path}.{key}"))
    if isinstance(value, list) and value:
        yield f"{path}[0] twice", [value[0], *value]
        yield from ((name, [spoilt, *value[1:]]) for name, spoilt in spoilings(value[0], f"{path}[0]"))
