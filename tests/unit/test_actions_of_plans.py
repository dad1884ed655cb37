"""Which actions of a plan run when, and when a script has failed (spec K4, K8, K9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core import actions
from drill.model.action import Action, FailoverKind, Manual, When
from tests.new_york import estate

EVERY = tuple(FailoverKind)


def action(name: str, when: When, group: int, kinds: tuple[FailoverKind, ...] = EVERY) -> Action:
    return Action(name=name, when=when, group=group, kinds=kinds, step=Manual(instruction="look"))


@pytest.mark.spec("K4.a", "K9.b")
def test_actions_run_before_and_after_their_group_in_order_in_the_kinds_they_chose() -> None:
    plan = replace(
        estate().plans["all"],
        actions=(
            action("b1", When.BEFORE, 1),
            action("a1", When.AFTER, 1),
            action("b2", When.BEFORE, 1, (FailoverKind.PLANNED,)),
            action("g2", When.BEFORE, 2),
            action("end", When.AFTER_CLEANUP, 0, (FailoverKind.TEST,)),
        ),
    )

    def due(kind: FailoverKind, when: When, group: int = 0) -> list[str]:
        return [one.name for one in actions.due(plan, kind, when, group)]

    assert due(FailoverKind.PLANNED, When.BEFORE, 1) == ["b1", "b2"]
    assert due(FailoverKind.UNPLANNED, When.BEFORE, 1) == ["b1"]
    assert due(FailoverKind.FAILBACK, When.AFTER, 1) == ["a1"]
    assert due(FailoverKind.TEST, When.AFTER_CLEANUP) == ["end"]
    assert due(FailoverKind.PLANNED, When.AFTER_CLEANUP) == []


@pytest.mark.spec("K8.a", "K8.b")
@pytest.mark.parametrize(
    ("seconds", "exit_code", "said", "raised", "failure"),
    [
        (600.0, 0, "", "", ""),
        (1.0, 0, " \n", "", ""),
        (600.1, 0, "", "", "it had not ended after 600 s"),
        (600.0, None, "", "", "it had not ended after 600 s"),
        (1.0, 0, "", "ValueError", "it raised ValueError"),
        (1.0, 1, "", "", "it ended with exit code 1"),
        (1.0, -9, "words", "", "it ended with exit code -9"),
        (1.0, 0, "a word", "", "it wrote to standard error"),
    ],
)
def test_a_script_fails_by_its_time_an_exception_its_code_or_a_word_of_trouble(
    seconds: float, exit_code: int | None, said: str, raised: str, failure: str
) -> None:
    assert actions.script_failure(seconds=seconds, exit_code=exit_code, said=said, raised=raised) == failure


def test_only_an_unplanned_failover_goes_on_after_a_failed_script() -> None:
    assert [kind for kind in FailoverKind if actions.goes_on(kind)] == [FailoverKind.UNPLANNED]
