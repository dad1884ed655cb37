"""Figures read off a run's facts: what is not on record has no figure, and says what is missing."""

from __future__ import annotations

from dataclasses import replace

from drill.core.objectives import rpo_records, rpo_seconds
from drill.model.fact import IncidentDeclared, MachinePredicted, PointChosen
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
