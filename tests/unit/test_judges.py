"""Single rules on evidence that a drill seldom brings: each must say what it cannot know, never pass."""

from __future__ import annotations

from typing import Any

import pytest

from drill.core.database_judges import rows_lost
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


@pytest.mark.parametrize(
    ("last", "outcome", "says"),
    [
        (9, Outcome.FAIL, "it ends at 9, but 10 was acknowledged before the point: records are lost"),
        (10, Outcome.PASS, "10 records, whole up to 10 (between 10 and 12)"),
        (12, Outcome.PASS, "12 records, whole up to 12 (between 10 and 12)"),
        (13, Outcome.FAIL, "it ends at 13, but only 12 had been sent: the point is not what it says"),
    ],
)
def test_a_ledger_ends_between_what_was_acknowledged_and_what_was_sent(last: int, outcome: Outcome, says: str) -> None:
    found = {"last_sequence": last, "records": last, "torn_bytes": 0, "damage": ""}
    assert judged("ledger", {"acknowledged_before": 10, "sent_before": 12}, found) == (outcome, says)


def test_bounds_that_meet_are_bounds_and_one_byte_is_a_torn_tail() -> None:
    found = {"last_sequence": 1, "records": 1, "torn_bytes": 1, "damage": ""}
    outcome, says = judged("ledger", {"acknowledged_before": 1, "sent_before": 1}, found)
    assert outcome is Outcome.PASS
    assert says.endswith(", and a torn tail of 1 bytes, as a crash leaves it")
    assert judged("ledger", {"acknowledged_before": 2, "sent_before": 1}, found)[0] is Outcome.UNKNOWN
    assert judged("ledger", {"acknowledged_before": 0, "sent_before": 1}, found | {"records": 0})[0] is Outcome.FAIL


@pytest.mark.parametrize(
    ("least", "beats", "outcome"),
    [
        (1, [1, 2, 3], Outcome.UNKNOWN),
        (2, [1, 2], Outcome.PASS),
        (2, [1], Outcome.FAIL),
        (3, [1, 2, 3, 4], Outcome.PASS),
        (2, [1, 1], Outcome.FAIL),
        (2, [2, 1], Outcome.FAIL),
        (2, [1, 2, 2], Outcome.FAIL),
    ],
)
def test_beats_rise_and_are_as_many_as_were_asked_for(least: int, beats: list[int], outcome: Outcome) -> None:
    assert judged("heartbeat", {"beats_min": least}, {"beats": beats})[0] is outcome


@pytest.mark.parametrize(("took", "said"), [(1, "1.0 s"), (0.999, "999 ms"), (0, "0 ms"), (61.25, "61.2 s")])
def test_how_long_an_answer_took_is_said_in_milliseconds_below_a_second(took: float, said: str) -> None:
    assert judged("agent", {"answers": True}, {"answers": True, "seconds": took})[1].endswith(f"after {said}")


def test_a_service_that_does_not_answer_is_named_with_its_detail_where_it_has_one() -> None:
    services = [{"name": "web", "answers": False, "detail": "refused"}, {"name": "sql", "answers": False, "detail": ""}]
    said = judged("service", {"services": ["web", "sql", "ssh"]}, {"services": services})
    assert said == (Outcome.FAIL, "web does not answer: refused; sql does not answer")


def bounds_of(name: str, *rows: list[list[int]]) -> dict[str, object]:
    return dict(
        zip(("name", "acknowledged_before", "sent_before", "acknowledged_at_incident"), (name, *rows), strict=True)
    )


def test_the_rows_lost_are_those_of_all_tables_together() -> None:
    expected = {
        "tables": [
            bounds_of("a", [[1, 5]], [[1, 9]], [[1, 8]]),
            bounds_of("b", [[1, 5]], [[1, 9]], [[1, 9]]),
            bounds_of("c", [[1, 5]], [[1, 9]], [[1, 5]]),
        ]
    }
    tables = [
        {"name": name, "exit_code": 0, "rows": [[1, last]], "said": ""} for name, last in (("a", 6), ("b", 5), ("c", 5))
    ]
    assert rows_lost(seen("database_rows", "db", expected, {"tables": tables})) == 6
    outcome, says = judged("database_rows", expected, {"tables": tables})
    held = (
        f"{name} holds {count} rows: all 5 acknowledged, none but the 9 sent"
        for name, count in zip("abc", (6, 5, 5), strict=True)
    )
    assert (outcome, says) == (Outcome.PASS, "; ".join(held))


def test_every_table_that_lacks_rows_is_named() -> None:
    expected = {"tables": [bounds_of(name, [[1, 5]], [[1, 9]], [[1, 8]]) for name in ("a", "b")]}
    tables = [
        {"name": "a", "exit_code": 0, "rows": [[1, 4]], "said": ""},
        {"name": "b", "exit_code": 0, "rows": [], "said": ""},
    ]
    outcome, says = judged("database_rows", expected, {"tables": tables})
    lost = "acknowledged before the point: rows are lost"
    assert (outcome, says) == (Outcome.FAIL, f"a lacks 1 row (5), {lost}; b lacks 5 rows (1 to 5), {lost}")
