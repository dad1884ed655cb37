"""Single rules on evidence that a drill seldom brings: each must say what it cannot know, never pass."""

from __future__ import annotations

from typing import Any

import pytest

from drill.core.judges import JUDGES
from drill.core.shapes import Unreadable, by_key
from drill.model.verdict import Outcome
from tests.paper import seen


def judged(check: str, expected: Any, observed: Any) -> tuple[Outcome, str]:
    return JUDGES[check](seen(check, "db", expected, observed))


def test_a_first_beat_without_a_second_ledger_shows_no_instant() -> None:
    assert judged("one_instant", {"lag_max": 1}, {"first": 1, "second": 0})[0] is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (0, 0, Outcome.UNKNOWN),
        (2, 0, Outcome.FAIL),
        (5, 5, Outcome.PASS),
        (6, 5, Outcome.PASS),
        (7, 5, Outcome.FAIL),
        (4, 5, Outcome.FAIL),
    ],
)
def test_the_first_ledger_may_be_ahead_by_the_beat_between_two_writes_only(
    first: int, second: int, outcome: Outcome
) -> None:
    assert judged("one_instant", {"lag_max": 1}, {"first": first, "second": second})[0] is outcome


@pytest.mark.parametrize(
    "found", [{"state": "shut off", "item_state": "replicating"}, {"state": "running", "item_state": "error"}]
)
def test_a_primary_that_stopped_or_no_longer_replicates_fails(found: dict[str, str]) -> None:
    outcome, said = judged("primary", {"state": "running", "item_state": "replicating"}, found)
    assert outcome is Outcome.FAIL
    assert f"{found['state']} and {found['item_state']}, not running and replicating" in said


def test_a_count_that_is_not_that_of_its_cards_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="not the number of"):
        judged("nic_count", {"count": 2}, {"count": 2, "nics": [{"mac": "a"}]})


def test_no_card_expected_and_none_seen_proves_no_subnet() -> None:
    assert judged("subnet", {"nics": []}, {"nics": []})[0] is Outcome.UNKNOWN


def test_a_card_that_vanished_has_not_the_address_it_was_promised() -> None:
    wish = {"mac": "52:54:00:61:00:01", "address": "10.61.1.11"}
    outcome, said = judged("address", {"nics": [wish]}, {"nics": []})
    assert (outcome, said) == (Outcome.FAIL, "52:54:00:61:00:01 is not there")


def test_rows_of_a_table_of_which_nothing_was_expected_are_unreadable() -> None:
    bounds = {
        "name": "shop",
        "acknowledged_before": [[1, 2]],
        "sent_before": [[1, 2]],
        "acknowledged_at_incident": [[1, 2]],
    }
    tables = [{"name": name, "exit_code": 0, "rows": [[1, 2]], "said": ""} for name in ("shop", "other")]
    with pytest.raises(Unreadable, match="nothing was expected of other"):
        judged("database_rows", {"tables": [bounds]}, {"tables": tables})


def test_a_database_that_answers_has_an_exit_code_and_one_that_does_not_has_none() -> None:
    silent = {"name": "shop", "answers": False, "exit_code": 0, "said": ""}
    with pytest.raises(Unreadable, match="does not fit"):
        judged("database", {"databases": ["shop"]}, {"databases": [silent]})


def test_rows_out_of_order_are_unreadable() -> None:
    bounds = {
        "name": "shop",
        "acknowledged_before": [[1, 9]],
        "sent_before": [[1, 9]],
        "acknowledged_at_incident": [[1, 9]],
    }
    table = {"name": "shop", "exit_code": 0, "rows": [[5, 9], [1, 4]], "said": ""}
    with pytest.raises(Unreadable, match="not in order"):
        judged("database_rows", {"tables": [bounds]}, {"tables": [table]})


def test_a_key_that_occurs_twice_is_unreadable() -> None:
    assert by_key([("a", 1), ("b", 2)], "x") == {"a": 1, "b": 2}
    with pytest.raises(Unreadable, match="x names one thing twice"):
        by_key([("a", 1), ("a", 1)], "x")
