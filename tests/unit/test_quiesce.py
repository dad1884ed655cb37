"""Freezing a guest for a checkpoint: what counts, what is thawed, when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from drill.errors import Failed, Unsupported
from drill.ports import BackupJob
from drill.replication import quiesce
from drill.replication.quiesce import Interval, Quiet
from drill.sim.clock import SimClock
from drill.sim.guest import Mood, SimFreezer, SimGuest
from drill.sim.process import Process

JOB = cast("BackupJob", object())
GOOD = Quiet(application_consistent=True)
BAD = Quiet(application_consistent=False, reason="no agent")


class Room:
    """A guest, its freezer, and whether it was frozen when the job began."""

    def __init__(self, mood: Mood = Mood.WELL) -> None:
        self.clock = SimClock()
        self.guest = SimGuest(self.clock, lambda kind: None)
        self.guest.mood = mood
        self.freezer = SimFreezer(self.guest, Process(lambda kind: None))
        self.was_frozen = False

    def begin(self, seconds: float = 0.05, error: Exception | None = None) -> Callable[[], BackupJob]:
        def act() -> BackupJob:
            self.clock.sleep(seconds)
            self.was_frozen = self.guest.frozen
            if error is not None:
                raise error
            return JOB

        return act

    def taken(self, begin: Callable[[], BackupJob]) -> Quiet:
        job, quiet = quiesce.begin_frozen(self.freezer, self.clock, "vm", begin)
        assert job is JOB
        return quiet


def test_a_job_begins_while_the_guest_is_frozen_and_leaves_it_thawed() -> None:
    room = Room()
    quiet = room.taken(room.begin())
    assert quiet.application_consistent
    assert not quiet.reason
    assert room.was_frozen
    assert not room.guest.frozen
    assert 0.05 <= quiet.frozen_seconds < 1


BELIEVED = (Mood.WELL, Mood.LATE, Mood.LIES_FROZEN, Mood.LIES_THAWED)


@pytest.mark.parametrize("mood", [mood for mood in Mood if mood not in BELIEVED])
def test_a_point_counts_only_where_every_answer_confirms_it(mood: Mood) -> None:
    room = Room(mood)
    quiet = room.taken(room.begin())
    assert not quiet.application_consistent
    assert quiet.reason


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        (Mood.LIES_NONE, "0 file systems were frozen, 2 were still so at the thaw"),
        (Mood.LIES_COUNT, "2 file systems were frozen, 3 were still so at the thaw"),
        (Mood.LIES_STATE, "the guest says that it is still frozen"),
        (Mood.ABSENT, "the guest was not frozen: guest agent does not answer at vm: not connected"),
        (Mood.DIES, "the freeze is not confirmed: guest agent does not answer at vm: no answer"),
    ],
)
def test_why_a_point_does_not_count_is_said(mood: Mood, reason: str) -> None:
    room = Room(mood)
    assert room.taken(room.begin()).reason == reason


@pytest.mark.parametrize("mood", Mood)
def test_no_agent_keeps_a_guest_frozen_for_longer_than_ten_seconds(mood: Mood) -> None:
    room = Room(mood)
    room.taken(room.begin())
    room.clock.sleep(40)
    assert not room.guest.frozen
    assert all(end - begin <= 10 for begin, end in room.guest.periods)


def test_a_guest_without_a_timer_is_not_frozen() -> None:
    room = Room(Mood.NO_TIMER)
    quiet = room.taken(room.begin())
    assert not room.was_frozen
    assert "timer" in quiet.reason


def test_a_checkpoint_that_fails_leaves_the_guest_thawed() -> None:
    room = Room()
    with pytest.raises(Failed, match="no bitmap"):
        quiesce.begin_frozen(room.freezer, room.clock, "vm", room.begin(error=Failed("begin", "no bitmap")))
    assert not room.guest.frozen
    assert room.guest.periods


def test_a_checkpoint_that_comes_after_the_timer_does_not_count() -> None:
    room = Room()
    quiet = room.taken(room.begin(seconds=9))
    assert not quiet.application_consistent
    assert not room.was_frozen


def test_an_agent_that_is_slow_within_the_window_counts() -> None:
    room = Room(Mood.LATE)
    assert room.taken(room.begin()).application_consistent


def test_the_process_outside_thaws_when_its_parent_dies() -> None:
    room = Room()
    room.freezer.arm("vm", 8)
    room.freezer.freeze("vm")
    room.guest.parent_died()
    assert not room.guest.frozen


def test_a_guest_that_died_frozen_can_be_frozen_again() -> None:
    room = Room(Mood.DIES)
    room.taken(room.begin())
    room.guest.recover()
    room.clock.sleep(12)
    assert room.taken(room.begin()).application_consistent


def test_the_next_point_is_due_an_interval_after_a_good_one() -> None:
    interval = Interval()
    assert interval.is_due(0.0, 3600)
    interval.done(10.0, 3600, GOOD)
    assert not interval.is_due(3609.0, 3600)
    assert interval.is_due(3610.0, 3600)
    assert not interval.is_due(1e9, 0)


def test_a_failure_is_tried_again_at_growing_pauses_and_is_an_alarm_the_second_time() -> None:
    interval, now, pauses, alarms = Interval(), 0.0, [], []
    for _ in range(8):
        interval.done(now, 3600, BAD)
        pauses.append(next(wait for wait in range(1, 4000) if interval.is_due(now + wait, 3600)))
        alarms.append(interval.alarm)
        now += pauses[-1]
    assert pauses == [60, 120, 240, 480, 600, 1800, 1800, 1800]
    assert alarms == ["", *(["no agent"] * 7)]
    interval.done(now, 3600, GOOD)
    assert (interval.alarm, interval.failures, interval.reason) == ("", 0, "")


def test_a_point_asked_for_by_hand_counts_without_an_interval() -> None:
    interval = Interval()
    interval.done(5.0, 0, BAD)
    assert interval.reason == "no agent"
    assert not interval.is_due(100.0, 0)


def test_a_timer_that_cannot_be_armed_says_why() -> None:
    class Bare(SimFreezer):
        def arm(self, _domain: str, seconds: int) -> None:
            raise Unsupported("a timer inside the guest", "no fsfreeze")

    room: Any = Room()
    room.freezer = Bare(room.guest, Process(lambda kind: None))
    assert "no fsfreeze" in room.taken(room.begin()).reason
