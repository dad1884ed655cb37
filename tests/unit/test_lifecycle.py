"""States, health and schedules as tables (spec S1 to S4); every time is given, none passes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from drill.core.lifecycle import ItemFacts, health, state
from drill.core.retries import Schedule, in_window, is_recoverable, minutes, missed, retry_after
from drill.errors import (
    BadInput,
    Cancelled,
    Damaged,
    DrillError,
    Failed,
    Refused,
    ResyncNeeded,
    Unknown,
    Unreachable,
    Unsupported,
    Usage,
)
from drill.model.point import Health, ItemState, Mode

WELL = ItemFacts(has_point=True)
NEW = ItemFacts(has_point=False)


@pytest.mark.spec("S4.a")
@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (NEW, ItemState.READY_FOR_INITIAL_REPLICATION),
        (replace(NEW, is_running=True), ItemState.INITIAL_REPLICATION),
        (replace(NEW, error="no room"), ItemState.INITIAL_REPLICATION),
        (replace(NEW, error="gone", is_final=True), ItemState.ERROR),
        (replace(NEW, is_paused=True), ItemState.SUSPENDED),
        (replace(NEW, is_running=True, resync="x"), ItemState.INITIAL_REPLICATION),
        (replace(NEW, is_seeding=True, error="waits"), ItemState.WAITING_FOR_INITIAL_REPLICATION),
        (replace(WELL, is_seeding=True), ItemState.REPLICATING),
        (WELL, ItemState.REPLICATING),
        (replace(WELL, is_running=True), ItemState.REPLICATING),
        (replace(WELL, error="no route"), ItemState.REPLICATING),
        (replace(WELL, error="gone", is_final=True), ItemState.ERROR),
        (replace(WELL, resync="vda"), ItemState.WAITING_FOR_RESYNC),
        (replace(WELL, resync="vda", is_running=True), ItemState.RESYNCHRONIZING),
        (replace(WELL, resync="vda", is_paused=True), ItemState.RESYNC_SUSPENDED),
        (replace(WELL, is_paused=True), ItemState.SUSPENDED),
        (replace(WELL, is_paused=True, error="gone", is_final=True), ItemState.SUSPENDED),
    ],
)
def test_the_state_follows_from_what_is_observed(facts: ItemFacts, expected: ItemState) -> None:
    assert state(facts) is expected


@pytest.mark.spec("S4.a")
def test_all_sixteen_states_have_their_names() -> None:
    names = """
        disabled, ready for initial replication, initial replication in progress, waiting for initial replication,
        replicating, prepared for failover, failed over waiting completion, failed over, suspended, error,
        waiting for start of resync, resynchronizing, resync suspended, recovery in progress, failback in progress,
        failback complete
    """
    assert sorted(one.value for one in ItemState) == sorted(name.strip() for name in names.split(","))


@pytest.mark.spec("S4.b")
def test_all_five_modes_have_their_names() -> None:
    assert [one.value for one in Mode] == ["none", "primary", "replica", "test replica", "extended replica"]


@pytest.mark.spec("S3.a", "S3.b")
@pytest.mark.parametrize(
    ("facts", "level", "says"),
    [
        (WELL, Health.NORMAL, ""),
        (replace(WELL, missed_cycles=2, due_cycles=10), Health.NORMAL, ""),
        (replace(WELL, missed_cycles=3, due_cycles=10), Health.WARNING, "3 of 10 cycles were missed"),
        (replace(WELL, seconds_since_shipped=3600), Health.NORMAL, ""),
        (replace(WELL, seconds_since_shipped=3601), Health.WARNING, "nothing was shipped for 1.0 h"),
        (replace(WELL, is_paused=True), Health.WARNING, "paused"),
        (NEW, Health.WARNING, "initial replication is not done"),
        (replace(WELL, error="no route"), Health.WARNING, "the last cycle failed: no route"),
        (replace(WELL, resync="vda: lost"), Health.WARNING, "a resync is needed: vda: lost"),
        (replace(WELL, warnings=("no freeze",)), Health.WARNING, "no freeze"),
        (replace(WELL, error="gone", is_final=True), Health.CRITICAL, "trying again cannot help: gone"),
        (replace(WELL, untracked_pages=7), Health.CRITICAL, "7 pages changed behind"),
    ],
)
def test_health_is_as_bad_as_its_worst_reason_and_says_it(facts: ItemFacts, level: Health, says: str) -> None:
    found = health(facts)
    assert found.level is level
    assert bool(found.reasons) is (level is not Health.NORMAL)
    assert any(says in reason for reason in found.reasons) or not says


def test_every_reason_is_said_in_words_the_worst_first() -> None:
    ill = ItemFacts(
        has_point=False, is_paused=True, error="gone", missed_cycles=3, due_cycles=9, seconds_since_shipped=5400,
        untracked_pages=12, warnings=("no freeze",),
    )  # fmt: skip
    assert health(ill).reasons == (
        "the deep check found 12 pages changed behind the change tracker's back",
        "replication is paused",
        "the initial replication is not done",
        "the last cycle failed: gone",
        "3 of 9 cycles were missed",
        "nothing was shipped for 1.5 h",
        "no freeze",
    )
    assert health(replace(WELL, resync="vda: lost", error="gone", is_final=True)).reasons == (
        "trying again cannot help: gone",
        "a resync is needed: vda: lost",
    )
    assert health(replace(NEW, resync="vda: lost")).reasons == ("the initial replication is not done",)


def test_one_page_behind_the_trackers_back_is_critical_and_none_is_not() -> None:
    assert health(replace(WELL, untracked_pages=1)).level is Health.CRITICAL
    assert health(replace(WELL, missed_cycles=1, due_cycles=5)).level is Health.NORMAL
    assert health(replace(WELL, missed_cycles=1, due_cycles=4)).level is Health.WARNING


def test_every_reason_is_said_and_the_worst_first() -> None:
    found = health(replace(NEW, is_paused=True, error="gone", is_final=True, untracked_pages=1))
    assert [reason.split()[0] for reason in found.reasons] == ["trying", "the", "replication", "the"]


@pytest.mark.spec("S2.b")
@pytest.mark.parametrize(
    ("error", "recoverable"),
    [
        (Unreachable("receiver", "h:1", "no route"), True),
        (Unknown("sending", "reset"), True),
        (Failed("storing", "no space left"), True),
        (ResyncNeeded("i", "vda", "x"), True),
        (Refused("expected another log", "I9"), True),
        (Refused("busy"), True),
        (Refused("a lower term", "I29"), False),
        (Refused("not allowed", "I11"), False),
        (Usage("no domain"), False),
        (Unsupported("qcow2", "raw"), False),
        (BadInput("log", "x"), False),
        (Damaged("manifest", "x"), False),
        (Cancelled("the cycle"), True),
    ],
)
def test_only_what_can_mend_itself_is_tried_again(error: DrillError, recoverable: bool) -> None:
    assert is_recoverable(error) is recoverable
    later = Schedule(interval_seconds=30, beat=10, due=100).failed(error, 100)
    assert math.isfinite(later.due) is recoverable


def test_failures_in_a_row_are_counted_whether_they_are_tried_again_or_not() -> None:
    found = Schedule(interval_seconds=30, beat=10, due=0)
    errors = (
        Failed("x", "y"),
        ResyncNeeded("i", "vda", "x"),
        Usage("gone"),
        Refused("a lower term", "I29"),
        Unknown("x", "y"),
    )
    for number, error in enumerate(errors, start=1):
        found = found.failed(error, 5)
        assert found.failures == number
    waits = found.failed(Refused("it waits", "S1"), 15)
    assert (waits.failures, waits.due) == (5, 40)
    assert waits.done(15).failures == 0


@pytest.mark.spec("S2.a")
def test_retries_come_after_1_2_4_8_10_minutes_and_then_every_half_hour() -> None:
    found, now, waits = Schedule(interval_seconds=30, beat=10, due=0), 0.0, []
    for _ in range(8):
        found = found.failed(Unreachable("receiver", "h:1", "no route"), now)
        waits.append((found.due - now) / 60)
        now = found.due
    assert waits == [1, 2, 4, 8, 10, 30, 30, 30]
    assert retry_after(1000) == 1800
    assert found.done(now).failed(Failed("x", "y"), now).due == now + 60, "a success begins the row anew"


def test_a_machine_that_is_off_is_looked_at_every_interval() -> None:
    found = Schedule(interval_seconds=300, beat=0, due=0)
    for now in (0.0, 300.0, 600.0):
        found = found.failed(Failed("the cycle", "vm is off"), now)
        assert found.due == now + 300


def test_a_resync_that_heals_itself_does_not_wait_and_one_that_runs_in_circles_does() -> None:
    found = Schedule(interval_seconds=30, beat=10, due=0)
    waits = []
    for _ in range(4):
        found = found.failed(ResyncNeeded("i", "vda", "x"), 5.0)
        waits.append(found.due - 5.0)
    assert waits == [0, 0, 240, 480]


@pytest.mark.spec("S1.b")
def test_a_resync_outside_its_window_is_looked_at_again_every_interval_and_is_no_failure() -> None:
    for rule in ("S1", "H2"):
        found = Schedule(interval_seconds=30, beat=10, due=100).failed(Refused("it waits", rule), 101)
        assert (found.due, found.failures) == (130, 0)


@pytest.mark.parametrize(
    ("now", "due"), [(100.0, 130.0), (129.9, 130.0), (130.0, 160.0), (500.0, 520.0), (100 + 86400 * 365, 31536130.0)]
)
def test_cycles_keep_their_beat_and_what_a_long_one_passed_is_left_out(now: float, due: float) -> None:
    assert Schedule(interval_seconds=30, beat=10, due=100).done(now).due == due


def test_what_an_operator_does_brings_a_cycle_at_once_also_after_what_was_final() -> None:
    final = Schedule(interval_seconds=30, beat=10, due=0).failed(Usage("no domain"), 7)
    assert final.at_once(9) == Schedule(interval_seconds=30, beat=10, due=9)
    assert final.done(9).due == 10


@pytest.mark.spec("S3.c")
@pytest.mark.parametrize(
    ("shipped", "now", "expected"),
    [
        pytest.param([], 0.0, (0, 0), id="nothing is due yet"),
        pytest.param([], 95.0, (3, 3), id="three intervals passed with nothing"),
        pytest.param([5.0, 35.0, 65.0], 95.0, (0, 3), id="each had its own"),
        pytest.param([5.0, 6.0, 7.0], 95.0, (2, 3), id="three in one interval are one"),
        pytest.param([91.0], 95.0, (3, 3), id="the interval that has not ended does not count"),
        pytest.param([-50.0, -1.0], 95.0, (3, 3), id="what was before does not count"),
        pytest.param([5.0], 3600.0 * 24 * 400, (1151999, 1152000), id="a clock that jumped"),
    ],
)
def test_a_cycle_is_missed_if_none_was_shipped_within_its_interval(
    shipped: list[float], now: float, expected: tuple[int, int]
) -> None:
    assert missed(shipped, since=0.0, now=now, interval_seconds=30) == expected


@pytest.mark.spec("S1.b")
@pytest.mark.parametrize(
    ("window", "clock", "inside"),
    [
        ("", "12:00", True),
        ("18:30-06:00", "18:29", False),
        ("18:30-06:00", "18:30", True),
        ("18:30-06:00", "00:00", True),
        ("18:30-06:00", "05:59", True),
        ("18:30-06:00", "06:00", False),
        ("01:00-02:00", "01:30", True),
        ("01:00-02:00", "02:00", False),
        ("05:00-05:00", "05:00", False),
    ],
)
def test_a_window_may_cross_midnight(window: str, clock: str, inside: bool) -> None:
    hour, _, minute = clock.partition(":")
    assert in_window(window, int(hour) * 60 + int(minute)) is inside


@pytest.mark.parametrize("text", ["24:00-06:00", "18:30", "1830-0600", "18:30-06:60", "18:30-06:00 ", "at night"])
def test_a_window_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="resync window"):
        minutes(text)
