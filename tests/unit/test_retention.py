"""Which points go: by time of replication, never by a clock, and never one that somebody needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import retention
from drill.core.retention import GAP_MAX_US, HOUR_US, PART_US, POINTS_MAX, Candidate, elapsed, expired
from drill.errors import Refused
from drill.model.retention import RetentionPolicy

MINUTE = 60 * 1_000_000
POLICY = RetentionPolicy()


def history(hours: float, interval: float = 0.5, application_every: int = 0) -> list[Candidate]:
    """Points every `interval` minutes for some hours; every n-th application-consistent."""
    count = int(hours * 60 / interval)
    return [
        Candidate(
            elapsed_us=int(number * interval * MINUTE),
            application_consistent=bool(application_every) and number % application_every == 0,
        )
        for number in range(count)
    ]


def lived(hours: float, policy: RetentionPolicy = POLICY, interval: float = 0.5) -> tuple[list[Candidate], int]:
    """What is left when retention is asked after every point, and the most there ever were."""
    kept: list[Candidate] = []
    longest = 0
    for point in history(hours, interval):
        kept.append(point)
        gone = set(expired(kept, policy))
        kept = [one for place, one in enumerate(kept) if place not in gone]
        longest = max(longest, len(kept))
    return kept, longest


def test_every_point_of_the_window_stays_and_one_an_hour_before_it() -> None:
    kept, longest = lived(30)
    newest = kept[-1].elapsed_us
    window = [one for one in kept if one.elapsed_us >= newest - 3600 * 1_000_000]
    assert len(window) == 121
    complete = {
        one.elapsed_us // HOUR_US for one in kept if (one.elapsed_us // HOUR_US + 1) * HOUR_US <= newest - HOUR_US
    }
    assert len(complete) == 24
    assert longest <= POINTS_MAX


def test_items_of_a_group_keep_the_same_instant_of_an_hour_wherever_their_hours_begin() -> None:
    """Every hour the source marks an instant: one that each item keeps, though one was protected 17 minutes later."""
    policy = RetentionPolicy(window_seconds=600, additional=24)
    kept: list[set[int]] = []
    for late in (0, 17 * 60):
        times = [second for second in range(late, 8 * 3600, 30) if second >= late]
        points = [Candidate(elapsed_us=(at - late) * 1_000_000, hourly=at % 3600 == 2400) for at in times]
        gone = set(expired(points, policy))
        kept.append({at for place, at in enumerate(times) if place not in gone and points[place].hourly})
    assert len(kept[0] & kept[1]) >= 6


@pytest.mark.spec("E5.b")
@pytest.mark.parametrize("interval", [0.5, 5, 15])
def test_a_policy_of_the_latest_only_keeps_the_window_alone(interval: float) -> None:
    kept, _ = lived(5, RetentionPolicy(window_seconds=600, additional=0), interval)
    assert all(one.elapsed_us >= kept[-1].elapsed_us - 600 * 1_000_000 for one in kept)
    kept, longest = lived(5, RetentionPolicy(window_seconds=0, additional=0), interval)
    assert (len(kept), longest) == (1, 1)


def test_the_newest_application_consistent_point_of_an_hour_is_its_point() -> None:
    points = history(4, interval=5, application_every=5)
    gone = expired(points, POLICY)
    kept = [one for place, one in enumerate(points) if place not in gone]
    early = [one for one in kept if one.elapsed_us < 2 * HOUR_US]
    assert [(one.elapsed_us // HOUR_US, one.application_consistent) for one in early] == [(0, True), (1, True)]


def test_points_leave_the_window_in_parts_of_an_hour() -> None:
    points = history(1.5)
    kept = [one for place, one in enumerate(points) if place not in expired(points, POLICY)]
    edge = points[-1].elapsed_us - HOUR_US
    leaving = [one for one in kept if one.elapsed_us < edge]
    parts = {one.elapsed_us // PART_US for one in leaving}
    assert len(parts) < len(leaving) < 2 * PART_US // (MINUTE // 2)


def test_a_clock_that_jumps_ages_points_by_twenty_minutes_and_one_that_goes_back_by_nothing() -> None:
    year = 365 * 24 * HOUR_US
    assert elapsed(None, 5) == 0
    assert elapsed((100, 1000), 1000 + MINUTE) == 100 + MINUTE
    assert elapsed((100, 1000), 1000 + year) == 100 + GAP_MAX_US
    assert elapsed((100, 1000), 1000 - year) == 100
    points = [*history(0.5), Candidate(elapsed_us=elapsed((30 * MINUTE, 0), year))]
    assert expired(points, POLICY) == ()


def test_a_clock_that_stands_still_keeps_the_newest_points() -> None:
    points = [Candidate(elapsed_us=0)] * (POINTS_MAX + 5)
    assert expired(points, POLICY) == (1, 2, 3, 4, 5), "the oldest is as far as one can go back"


def test_too_many_points_are_thinned_where_they_are_dense_and_hours_stay() -> None:
    hours = [Candidate(elapsed_us=number * HOUR_US) for number in range(24)]
    dense = [Candidate(elapsed_us=24 * HOUR_US + number * 1_000_000) for number in range(300)]
    gone = expired([*hours, *dense], POLICY)
    assert len(gone) == len(hours) + len(dense) - POINTS_MAX
    assert min(gone) >= len(hours)


def test_nothing_is_left_to_say_of_no_points() -> None:
    assert expired([], POLICY) == ()
    assert expired([Candidate(elapsed_us=0)], RetentionPolicy(window_seconds=0, additional=0)) == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 2 * GAP_MAX_US), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60
    ),
    st.integers(0, 3 * 3600),
    st.integers(0, 24),
    st.integers(1, 80),
)
def test_no_held_point_goes_nor_the_newest_nor_the_last_good_one(
    gaps: list[tuple[int, bool, bool, bool]], window: int, additional: int, most: int
) -> None:
    at, points = 0, []
    for gap, application, held, damaged in gaps:
        at = elapsed((at, 0), gap)
        points.append(Candidate(elapsed_us=at, application_consistent=application, is_held=held, is_damaged=damaged))
    policy = RetentionPolicy(window_seconds=window, additional=additional)
    gone = set(expired(points, policy, most))
    stay = [place for place in range(len(points)) if place not in gone]
    safe = {place for place, one in enumerate(points) if one.is_held} | {len(points) - 1}
    good = [place for place, one in enumerate(points) if not one.is_damaged]
    assert safe | set(good[-1:]) <= set(stay)
    assert len(stay) <= max(most, len(safe | set(good[-1:])))
    again = [points[place] for place in stay]
    assert expired(again, policy, most) == (), "what retention leaves, it leaves"
    if len(points) <= most:
        edge = points[-1].elapsed_us - window * 1_000_000
        assert all(points[place].elapsed_us < edge for place in gone)


@pytest.mark.spec("E5.a")
@pytest.mark.parametrize("policy", [replace(POLICY, additional=25), replace(POLICY, additional=-1)])
def test_more_than_24_additional_points_are_refused(policy: RetentionPolicy) -> None:
    with pytest.raises(Refused) as caught:
        retention.check(policy)
    assert caught.value.rule == "E5"


@pytest.mark.parametrize("seconds", [-1, 24 * 3600 + 1])
def test_a_window_is_no_longer_than_a_day(seconds: int) -> None:
    with pytest.raises(Refused):
        retention.check(replace(POLICY, window_seconds=seconds))


@pytest.mark.spec("E6.a", "E6.b")
@pytest.mark.parametrize(("hours", "additional"), [(13, 24), (-1, 24), (1, 0), (1, 1), (4, 4), (12, 12), (12, 1)])
def test_application_consistent_points_rarer_than_what_is_kept_are_refused(hours: int, additional: int) -> None:
    with pytest.raises(Refused) as caught:
        retention.check(replace(POLICY, additional=additional), hours)
    assert caught.value.rule == "E6"
    assert f"every {hours} h" in caught.value.reason
    assert ("1 to 12 h" in caught.value.remedy) == (not 1 <= hours <= 12)


@pytest.mark.spec("E6.a", "E6.b")
def test_policies_within_the_bounds_are_taken() -> None:
    for hours, additional in ((0, 0), (0, 24), (1, 2), (12, 13), (12, 24)):
        retention.check(replace(POLICY, additional=additional), hours)
