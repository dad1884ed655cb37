"""Bounds of a replication policy (spec E)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from drill.core import policies
from drill.model.estate import InitialReplication
from drill.model.finding import Finding
from tests.new_york import GOLD, mended, told

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


@pytest.mark.spec("E1.a")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"target_type": "region", "host_version": "7.2", "authentication": "pair-key"}, []),
        ({"name": ""}, ["E1 policy (unnamed)"]),
        ({"target_type": "moon"}, ["E1 policy gold"]),
        ({"authentication": "hope"}, ["E2 policy gold"]),
    ],
)
def test_a_policy_has_a_name_a_kind_of_target_and_an_authentication(
    change: dict[str, str], expected: list[str]
) -> None:
    found = policies.policy(replace(GOLD, **change))  # type: ignore[arg-type]
    assert told(found) == expected
    assert mended(found)


@pytest.mark.spec("E4.a")
@pytest.mark.parametrize(
    ("seconds", "taken"), [(30, True), (300, True), (900, True), (0, False), (29, False), (60, False), (1800, False)]
)
def test_cycles_come_every_30_s_5_min_or_15_min(seconds: int, taken: bool) -> None:
    assert told(policies.policy(replace(GOLD, copy_frequency_seconds=seconds))) == ["E4 policy gold"] * (not taken)


@pytest.mark.spec("E4.b")
def test_a_host_version_without_the_choice_copies_every_5_minutes() -> None:
    assert policies.copy_frequency_seconds(GOLD, has_choice=True) == 30
    assert policies.copy_frequency_seconds(GOLD, has_choice=False) == 300


def test_receivers_listen_on_the_port_of_their_authentication_unless_another_is_set() -> None:
    assert policies.port(GOLD) == 8084
    assert policies.port(replace(GOLD, authentication="pair-key")) == 8083
    assert policies.port(replace(GOLD, port=9000)) == 9000


@pytest.mark.spec("E5.a", "E6.a", "E6.b")
@pytest.mark.parametrize(
    ("additional", "hours", "rule", "says"),
    [
        (0, 0, "", ""),
        (24, 12, "", ""),
        (13, 12, "", ""),
        (25, 0, "E5", "25 additional"),
        (24, 13, "E6", "every 13 h"),
        (12, 12, "E6", "none of them might be kept"),
        (0, 1, "E6", "none of them might be kept"),
    ],
)
def test_retention_is_one_number_and_bounds_application_consistent_points(
    additional: int, hours: int, rule: str, says: str
) -> None:
    found = policies.policy(replace(GOLD, additional_points=additional, application_consistent_hours=hours))
    assert [one.rule for one in found] == [rule] * bool(rule)
    assert all(says in one.problem and one.remedy for one in found)


@pytest.mark.spec("E5.e")
@pytest.mark.parametrize(("own", "refused"), [(None, False), (4, False), (24, False), (3, True), (0, True)])
def test_a_machines_own_retention_is_not_below_its_clouds(own: int | None, refused: bool) -> None:
    found = policies.own_retention("VM1", own, replace(GOLD, additional_points=4))
    assert told(found) == ["E5 machine VM1"] * refused


@pytest.mark.spec("E9.b")
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("now", NOW),
        ("2026-11-21T22:00", datetime(2026, 11, 21, 20, 0, tzinfo=UTC)),
        ("2026-11-28T14:00", datetime(2026, 11, 28, 12, 0, tzinfo=UTC)),
        ("2026-11-21T13:59", NOW),
        ("2026-11-28T14:01", "more than 7 days"),
        ("tonight", "not a local time"),
    ],
)
def test_a_first_copy_begins_at_the_source_hosts_time_at_most_seven_days_ahead(
    start: str, expected: datetime | str
) -> None:
    found = policies.first_copy(InitialReplication(start=start), now=NOW, zone=EAST)
    if isinstance(found, Finding):
        assert str(expected) in found.problem
    else:
        assert found == expected
