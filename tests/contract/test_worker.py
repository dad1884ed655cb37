"""The thread that begins an item's cycles, over a host in memory: states, health, retries, pauses; a clock of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from drill.errors import Cancelled, Damaged, DrillError, Refused, Unreachable
from drill.model.point import Health, ItemState, ItemStatus, ProtectionOrder, Way
from drill.replication.journal import Journal, JournalFile
from drill.sim.guest import SimFreezer
from drill.sim.process import Process
from drill.wiring.item import SourceWorld, Worker
from tests.contract.pair import ITEM, OneLane, Pair

NOON_US = 1_795_262_400_000_000


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now_us(self) -> int:
        return NOON_US + int(self.at * 1e6)

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Desk:
    """A worker whose thread is not started: a test begins its cycles."""

    def __init__(self, window: str = "") -> None:
        self.pair = Pair({"vda": 1 << 20})
        self.pair.host.write("vda", 0, b"x" * 70_000)
        self.clock = HandClock()
        order = ProtectionOrder(item=ITEM, domain="vm", receiver="-", interval_seconds=30, resync_window=window)
        self.world = SourceWorld(
            backups=self.pair.host,
            freezer=SimFreezer(self.pair.guest, Process(lambda kind: None)),
            files=self.pair.source_files,
            clock=self.clock,
            lanes=OneLane(),
            link=lambda _: self.pair.link,
        )
        self.file = JournalFile(self.pair.source_files, ITEM)
        self.file.save(Journal(order=order))
        self.worker = Worker(self.world, self.file, Journal(order=order))

    def cycle(self) -> None:
        self.worker.cycle(witness=False, application_consistent=False, deep=False)

    def fails(self) -> ItemStatus:
        with suppress(DrillError):
            self.cycle()
        return self.worker.status()

    def break_link(self, error: DrillError) -> None:
        def broken(_step: str) -> None:
            raise error

        self.pair.link.fail = broken

    def mend_link(self) -> None:
        self.pair.link.fail = lambda step: None


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.spec("S4.a")
def test_an_item_goes_from_ready_over_its_first_copy_to_replicating(desk: Desk) -> None:
    assert desk.worker.status().state is ItemState.READY_FOR_INITIAL_REPLICATION
    seen = []
    desk.pair.host.during = lambda: seen.append(desk.worker.status())
    desk.cycle()
    assert seen[0].state is ItemState.INITIAL_REPLICATION
    assert seen[0].progress is not None
    found = desk.worker.status()
    assert (found.state, found.health.level, found.progress) == (ItemState.REPLICATING, Health.NORMAL, None)


@pytest.mark.spec("S3.a")
def test_the_first_failure_raises_the_alarm_and_the_first_success_ends_it(desk: Desk) -> None:
    """L4: within two cycles; here at once."""
    desk.cycle()
    desk.break_link(Unreachable("receiver", "h:1", "no route"))
    found = desk.fails()
    assert (found.state, found.health.level) == (ItemState.REPLICATING, Health.WARNING)
    assert "no route" in found.health.reasons[0]
    desk.mend_link()
    desk.cycle()
    assert desk.worker.status().health.level is Health.NORMAL


@pytest.mark.spec("S2.b", "S3.b")
def test_what_trying_cannot_mend_is_critical_until_somebody_asks_again(desk: Desk) -> None:
    desk.cycle()
    desk.break_link(Damaged("manifest", "x"))
    found = desk.fails()
    assert (found.state, found.health.level) == (ItemState.ERROR, Health.CRITICAL)
    desk.mend_link()
    desk.worker.nudge()
    desk.cycle()
    assert desk.worker.status().health.level is Health.NORMAL


@pytest.mark.spec("S3.a", "S3.c")
def test_missed_cycles_and_silence_show_in_the_health(desk: Desk) -> None:
    for _ in range(8):
        desk.cycle()
        desk.clock.at += 30
    assert desk.worker.status().missed_cycles == 0
    desk.clock.at += 90
    found = desk.worker.status()
    assert (found.missed_cycles, found.health.level) == (3, Health.WARNING)
    desk.clock.at += 3600
    found = desk.worker.status()
    assert found.missed_cycles == 120, "of the last hour alone"
    assert any("nothing was shipped for" in reason for reason in found.health.reasons)


@pytest.mark.spec("S4.a")
def test_a_paused_item_says_so_and_a_running_cycle_ends_when_it_is_paused(desk: Desk, tmp_path: Path) -> None:
    desk.cycle()
    desk.pair.host.kill()
    pausing: list[threading.Thread] = []

    def pause() -> None:
        pausing.append(threading.Thread(target=desk.worker.pause))
        pausing[0].start()
        while not desk.worker._source._stop_asked:
            pass

    desk.pair.host.during = pause
    desk.pair.host.write("vda", 700_000, b"y")
    with pytest.raises(Cancelled):
        desk.cycle()
    pausing[0].join(30)
    found = desk.worker.status()
    assert (found.state, found.health.level) == (ItemState.RESYNC_SUSPENDED, Health.WARNING)
    with pytest.raises(Refused, match="paused"):
        desk.cycle()
    desk.worker.resume()
    desk.cycle()
    found = desk.worker.status()
    assert (found.state, found.cycles[-1].disks[0].way) == (ItemState.REPLICATING, Way.COMPARED)
    assert desk.pair.wrong_points(tmp_path) == []


@pytest.mark.spec("S1.b")
def test_a_resync_waits_for_its_window_unless_an_operator_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    desk = Desk("18:30-06:00")
    desk.cycle()
    desk.pair.host.kill()
    found = desk.fails()
    assert (found.state, found.health.level) == (ItemState.WAITING_FOR_RESYNC, Health.WARNING)
    desk.clock.at += 7 * 3600
    desk.cycle()
    assert desk.worker.status().state is ItemState.REPLICATING
    desk.clock.at += 12 * 3600
    desk.pair.host.kill()
    assert desk.fails().state is ItemState.WAITING_FOR_RESYNC
    seen = []
    desk.pair.host.during = lambda: seen.append(desk.worker.status().state)
    desk.worker.resync()
    assert seen == [ItemState.RESYNCHRONIZING]


def test_a_deep_check_that_finds_a_lie_is_critical_until_one_finds_none(desk: Desk) -> None:
    desk.cycle()
    desk.pair.host.disks["vda"][0] ^= 1
    desk.worker.cycle(witness=False, application_consistent=False, deep=True)
    assert desk.worker.status().health.level is Health.CRITICAL
    desk.cycle()
    assert desk.worker.status().health.level is Health.CRITICAL
    desk.worker.cycle(witness=False, application_consistent=False, deep=True)
    assert desk.worker.status().health.level is Health.NORMAL


@pytest.fixture
def started(desk: Desk) -> Iterator[Desk]:
    desk.worker.start()
    yield desk
    desk.worker.stop()


@pytest.mark.timeout(60)
def test_the_thread_begins_at_once_and_when_it_is_woken(started: Desk) -> None:
    def points(count: int) -> None:
        while len(started.pair.points()) < count:
            threading.Event().wait(0.01)

    points(1)
    started.worker.pause()
    assert started.worker.status().state is ItemState.SUSPENDED
    started.worker.resume()
    points(2)
    started.worker.change(ProtectionOrder(item=ITEM, domain="vm", receiver="x", interval_seconds=60))
    points(3)
    started.worker.end()
    assert started.pair.source_files.content == {}
