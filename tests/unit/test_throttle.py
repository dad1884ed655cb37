"""The limit on what is sent: exact over time, by the window of the local day, shared by whoever goes the same way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drill.model.bandwidth import Bandwidth, BandwidthWindow
from drill.transport.throttle import Throttle, Throttles

MIB = 1 << 20
NIGHT = BandwidthWindow(begin_minute=22 * 60, end_minute=6 * 60, bytes_per_second=8 * MIB)
WEEKEND = BandwidthWindow(begin_minute=0, end_minute=24 * 60 - 1, bytes_per_second=0, weekdays=(5, 6))


class SteppedClock:
    """Time passes only when somebody sleeps."""

    def __init__(self, begin: datetime) -> None:
        self.begin = begin
        self.passed = 0.0

    def now_us(self) -> int:
        return int((self.begin.timestamp() + self.passed) * 1e6)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def utc(now_us: int) -> datetime:
    return datetime.fromtimestamp(now_us / 1e6, UTC)


def throttle(bandwidth: Bandwidth, begin: str) -> tuple[Throttle, SteppedClock]:
    clock = SteppedClock(datetime.fromisoformat(begin).replace(tzinfo=UTC))
    return Throttle(bandwidth, clock, utc), clock


def test_what_is_sent_stays_at_the_limit() -> None:
    bucket, clock = throttle(Bandwidth(bytes_per_second=4 * MIB), "2026-11-20T12:00")
    for _ in range(100):
        bucket.take(MIB)
    assert 100 / 4 - 1 < clock.passed < 100 / 4 + 1


def test_no_limit_never_waits() -> None:
    bucket, clock = throttle(Bandwidth(windows=(NIGHT,)), "2026-11-20T12:00")
    for _ in range(1000):
        bucket.take(MIB)
    assert clock.passed == 0


@pytest.mark.parametrize(
    ("at", "limit"),
    [
        ("2026-11-20T21:59", 4 * MIB),
        ("2026-11-20T22:00", 8 * MIB),
        ("2026-11-20T23:59", 8 * MIB),
        ("2026-11-21T05:59", 8 * MIB),
        ("2026-11-23T06:00", 4 * MIB),
        ("2026-11-21T12:00", 0),
    ],
)
def test_the_first_window_that_covers_the_minute_rules_it(at: str, limit: int) -> None:
    bandwidth = Bandwidth(bytes_per_second=4 * MIB, windows=(NIGHT, WEEKEND))
    then = datetime.fromisoformat(at)
    assert bandwidth.at(then.weekday(), then.hour * 60 + then.minute) == limit


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday_night = BandwidthWindow(begin_minute=22 * 60, end_minute=6 * 60, bytes_per_second=1, weekdays=(4,))
    assert friday_night.covers(4, 23 * 60)
    assert friday_night.covers(5, 5 * 60)
    assert not friday_night.covers(4, 5 * 60)
    assert not friday_night.covers(5, 23 * 60)


def test_a_limit_that_changes_in_the_middle_counts_from_then_on() -> None:
    bucket, clock = throttle(Bandwidth(bytes_per_second=MIB, windows=(NIGHT,)), "2026-11-20T21:59:50")
    for _ in range(90):
        bucket.take(MIB)
    assert 18 < clock.passed < 23, "10 s at 1 MiB/s, then 80 MiB at 8"


def test_time_that_was_not_used_is_not_saved_up() -> None:
    bucket, clock = throttle(Bandwidth(bytes_per_second=MIB), "2026-11-20T12:00")
    bucket.take(MIB)
    clock.sleep(3600)
    before = clock.passed
    for _ in range(10):
        bucket.take(MIB)
    assert clock.passed - before > 8


def test_items_that_go_the_same_way_share_one_limit() -> None:
    clock = SteppedClock(datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=12))
    ways, slow = Throttles(clock), Bandwidth(bytes_per_second=MIB)
    assert ways.towards("chi1:8084", slow) is ways.towards("chi1:8084", Bandwidth(bytes_per_second=MIB))
    assert ways.towards("chi1:8084", slow) is not ways.towards("chi2:8084", slow)
    assert ways.towards("chi1:8084", None) is None
