"""Which recovery point a choice means (spec L9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core.points import choose
from drill.errors import Refused, Usage
from drill.model.point import Point
from tests.paper import point

HISTORY = tuple(replace(point("db"), epoch=epoch, sequence=n) for epoch, n in [("e1", 1), ("e1", 2), ("e2", 1)])


@pytest.mark.parametrize(
    ("choice", "found"), [("latest", HISTORY[2]), ("e1/1", HISTORY[0]), ("e1/2", HISTORY[1]), ("e2/1", HISTORY[2])]
)
def test_a_choice_names_one_point(choice: str, found: Point) -> None:
    assert choose(HISTORY, choice, "db") is found


@pytest.mark.parametrize("choice", ["", "e1", "e1/3", "e3/1", "e1/1 ", "e1/-1", "Latest", "e1/1/1", "e1/²"])
def test_a_choice_that_names_no_point_is_a_wrong_request_that_says_where_to_look(choice: str) -> None:
    with pytest.raises(Usage, match=r"db has no recovery point") as error:
        choose(HISTORY, choice, "db")
    assert error.value.cure == "see: drill points db"


def test_without_any_point_the_rule_and_the_remedy_are_named() -> None:
    with pytest.raises(Refused, match="db has no recovery point yet") as error:
        choose((), "latest", "db")
    assert error.value.rule == "K3"
    assert "drill cycle db" in error.value.cure
