"""Figures read off a run's facts: what is not on record has no figure, and says what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core.objectives import counted, machines, rpo_records, rpo_seconds, rto_seconds
from drill.model.fact import (
    ChecksPlanned,
    Fact,
    IncidentDeclared,
    MachinePredicted,
    Observed,
    PointChosen,
    ServiceAnswered,
)
from tests.paper import NOW, ledger, point

INCIDENT = IncidentDeclared(at_us=NOW)
PREDICTED = MachinePredicted(at_us=NOW, vm="db", host="chi1", group=1, size="", nics=())


def chosen(begun_us: int) -> PointChosen:
    return PointChosen(at_us=NOW, vm="db", point=replace(point("db"), begun_us=begun_us))


def test_the_loss_is_from_the_points_instant_to_the_incident() -> None:
    assert rpo_seconds((INCIDENT, PREDICTED, chosen(NOW - 7_000_000))).value == 7


def test_a_run_without_machines_has_no_rpo() -> None:
    figure = rpo_seconds((INCIDENT,))
    assert (figure.value, figure.missing) == (None, "the run has no machine")


def test_a_machine_without_a_point_has_no_rpo() -> None:
    figure = rpo_seconds((INCIDENT, PREDICTED))
    assert (figure.value, figure.missing) == (None, "no point is on record for db")


def test_a_point_of_after_the_incident_gives_no_rpo() -> None:
    figure = rpo_seconds((INCIDENT, PREDICTED, chosen(NOW + 1)))
    assert (figure.value, figure.missing) == (None, "the point of db is later than the incident")


def test_a_damaged_ledger_at_the_source_counts_no_loss() -> None:
    whole, replica = ledger("db", "source", 110), ledger("db", "replica", 100)
    assert rpo_records((whole, replica)).value == 10
    for source in (replace(whole, damage="record 7 is torn"), replace(whole, records=0)):
        figure = rpo_records((source, replica))
        assert (figure.value, figure.missing) == (None, "the ledger of db cannot be counted on the source side")


def planned(*checks: tuple[str, str]) -> ChecksPlanned:
    return ChecksPlanned(at_us=NOW, checks=checks)


def observed(check: str, vm: str, expected: object = None, error: str = "") -> Observed:
    return Observed(at_us=NOW, check=check, vm=vm, expected=expected, observed=None, evidence=None, error=error)  # type: ignore[arg-type]


def answered(vm: str, service: str, after_seconds: float) -> ServiceAnswered:
    return ServiceAnswered(at_us=NOW + int(after_seconds * 1_000_000), vm=vm, service=service)


def test_a_machine_is_counted_by_what_it_owes_and_by_what_was_read_of_it() -> None:
    owing = planned(("ledger", "a"), ("database_rows", "b"), ("boot", "z"))
    assert counted((owing, ledger("c", "source", 1), observed("database_rows", "d"), observed("boot", "y"))) == (
        "a",
        "b",
        "c",
        "d",
    )


def test_machines_come_in_the_order_in_which_they_are_named_and_no_run_is_one() -> None:
    facts = (
        PREDICTED,
        planned(("ledger", "a"), ("isolation", "")),
        chosen(NOW),
        observed("boot", "b"),
        observed("x", ""),
    )
    assert machines(facts) == ("db", "a", "b")


def test_the_worst_machine_sets_the_loss() -> None:
    other = PointChosen(at_us=NOW, vm="app", point=replace(point("app"), begun_us=NOW - 9_000_000))
    figure = rpo_seconds((INCIDENT, chosen(NOW - 7_000_000), other))
    assert (figure.value, figure.worst, figure.missing) == (9, "app", "")
    assert rpo_seconds((INCIDENT, other, chosen(NOW - 7_000_000))).worst == "app"


def test_facts_written_twice_give_the_larger_loss() -> None:
    later = replace(INCIDENT, at_us=NOW + 3_000_000)
    assert rpo_seconds((INCIDENT, later, chosen(NOW - 1_000_000), chosen(NOW - 2_000_000))).value == 5


def test_the_machine_that_lost_most_records_sets_the_loss_in_data() -> None:
    facts = tuple(
        ledger(vm, side, records)
        for vm, side, records in (
            ("a", "source", 110), ("a", "replica", 108), ("b", "source", 90), ("b", "replica", 40), ("c", "source", 5),
            ("c", "replica", 5),
        )
    )  # fmt: skip
    figure = rpo_records(facts)
    assert (figure.value, figure.worst, figure.missing) == (50, "b", "")


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ((), "no machine has a ledger, nor a database with a history"),
        ((planned(("ledger", "db")),), "the ledger of db was not read on the source side"),
        ((ledger("db", "source", 3),), "the ledger of db was not read on the replica side"),
        ((ledger("db", "replica", 3),), "the ledger of db was not read on the source side"),
        (
            (ledger("db", "source", 3), ledger("db", "replica", 4)),
            "the replica's ledger of db is ahead of the source's",
        ),
        ((planned(("database_rows", "db")),), "the database rows of db were not read"),
        ((observed("database_rows", "db", error="no answer"),), "the database rows of db were not read"),
        ((observed("database_rows", "db"),), "the database rows of db cannot be counted: expected is not an object"),
    ],
)
def test_what_is_missing_for_the_loss_in_data_is_named(facts: tuple[Fact, ...], missing: str) -> None:
    figure = rpo_records(facts)
    assert (figure.value, figure.missing, figure.worst) == (None, missing, "")


def test_one_machine_that_cannot_be_counted_leaves_the_loss_in_data_uncounted() -> None:
    whole = (ledger("a", "source", 9), ledger("a", "replica", 1))
    assert rpo_records((*whole, ledger("b", "source", 9))).value is None
    assert rpo_records((*whole, ledger("b", "source", 9), ledger("b", "replica", 9))).value == 8


def test_the_last_owed_service_ends_the_time_to_recovery_by_its_first_answer() -> None:
    facts = (
        INCIDENT,
        planned(("service", "db"), ("service", "app")),
        observed("service", "db", {"services": ["sql"]}),
        observed("service", "app", {"services": ["web"]}),
    )
    answers = (answered("db", "sql", 4), answered("app", "web", 2.5), answered("db", "sql", 90))
    figure = rto_seconds((*facts, *answers))
    assert (figure.value, figure.worst, figure.missing) == (4, "db", "")
    assert rto_seconds((*facts, *answers, replace(INCIDENT, at_us=NOW - 1_000_000))).value == 5


SERVICES = {"services": ["sql", "web"]}


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ((), "no incident was declared"),
        ((INCIDENT,), "no service was owed, so nothing ends it"),
        ((INCIDENT, planned(("service", "db"))), "the services of db were not observed"),
        ((INCIDENT, planned(("service", "db")), observed("service", "db", {})), "the services of db were not observed"),
        (
            (INCIDENT, planned(("service", "db")), observed("service", "app", SERVICES)),
            "the services of db were not observed",
        ),
        (
            (INCIDENT, planned(("service", "db")), observed("service", "db", SERVICES), answered("db", "sql", 1)),
            "no answer of web on db is on record",
        ),
        (
            (INCIDENT, planned(("service", "db")), observed("service", "db", SERVICES), answered("db", "web", 1)),
            "no answer of sql on db is on record",
        ),
        ((INCIDENT, answered("db", "sql", -1)), "a service answered before the incident"),
        (
            (INCIDENT, answered("db", "sql", 5), answered("db", "web", -0.000001)),
            "a service answered before the incident",
        ),
    ],
)
def test_what_is_missing_for_the_time_to_recovery_is_named(facts: tuple[Fact, ...], missing: str) -> None:
    figure = rto_seconds(facts)
    assert (figure.value, figure.missing, figure.worst) == (None, missing, "")


def test_no_incident_is_missing_for_the_loss_in_time() -> None:
    figure = rpo_seconds((PREDICTED, chosen(NOW)))
    assert (figure.value, figure.missing) == (None, "no incident was declared")
