"""A crash at every operation of fixed scripts: no state that is left is bad, and planted bugs leave some that are."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import Failed
from drill.fuzz import crash, crash_jobs, planted
from drill.fuzz.positions import Dark, Position
from drill.fuzz.scripts import SCRIPTS
from drill.fuzz.snapshot import Snapshot
from drill.fuzz.steps import Step
from fixtures.command_line import CommandLine

PLANT_STATES_MAX = 3000
"""A planted bug of durability shows before so many states were recovered from."""


def test_there_are_at_least_twelve_scripts_that_each_succeed_without_a_crash() -> None:
    assert len(SCRIPTS) >= 12
    for name in SCRIPTS:
        assert crash.succeeds(name), name
        crash.walked_to_last(name).walk().close()


@pytest.mark.parametrize("fault", ["receiver power", "receiver crash", "source power", "source crash"])
def test_one_look_at_a_start_sees_what_a_walk_to_each_of_its_operations_leaves(fault: str) -> None:
    count, losses = crash.Count(), range(crash.FIRST_LOOKS[True])
    begun = crash.walked_to_last("third point")
    crashed = crash.strike(Position("third point", fault, 26, None), range(1), begun)
    assert crashed is not None
    start = Position("third point", fault, 26, crash.ENDLESS)
    _, writes = crash.started(Snapshot(crashed.walker), start, count)
    seen = count.seen | {state for write in writes for state in struck(write, losses, begun)}
    walked: set[int] = set()
    for operation in itertools.count():
        states = struck(replace(start, start=operation), losses, begun)
        if not states:
            break
        walked |= states
    assert operation > 1
    assert seen == walked


@pytest.mark.parametrize("fault", ["receiver power", "source power"])
def test_a_start_after_another_loss_is_the_start_that_a_walk_from_the_beginning_comes_to(fault: str) -> None:
    begun, losses = crash.walked_to_last("third point"), range(crash.FIRST_LOOKS[True])
    first = Position("third point", fault, 26, None)
    kept = crash.lit(first, begun)
    assert kept is not None
    seen: set[int] = set()
    for loss in range(1, 6):
        count, start = crash.Count(), Position("third point", fault, 26, crash.ENDLESS, before=loss)
        dark = Dark(kept, start.side, loss)
        found, writes = crash.started(dark, start, count)
        copied = count.seen | {state for write in writes for state in struck(write, losses, begun)}
        walked = {
            state
            for operation in range(len(writes) + max(one.start or 0 for one, _ in found) + 1)
            for state in struck(replace(start, start=operation), losses, begun)
        }
        assert copied == walked
        seen |= walked
    assert len(seen) > 1


def test_every_loss_that_left_a_new_state_has_its_start_crashed() -> None:
    begun, count, positions = crash.walked_to_last("third point"), crash.Count(), list[Position]()
    first = Position("third point", "receiver power", 26, None, owed=[1, 2, 3])
    tried = list(crash.deeper(first, count, begun, positions))
    assert first.owed == []
    assert {position.before for position in positions} <= {1, 2, 3}
    assert len(tried) == count.crashes == len(count.seen) > 0
    assert [trace for _, trace in tried if trace] == []


def struck(position: Position, losses: range, begun: Snapshot) -> set[int]:
    found = crash.strike(position, losses, begun)
    return {state for state, _ in found.states} if found else set()


def test_a_state_that_is_gone_on_from_in_a_copy_ends_as_its_walk_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crash, "CHECKED_EVERY", 1)
    found = crash_jobs.run(60, 60, 1, lambda text: None)
    assert (found.checked, found.bad) == (60, [])


def test_no_crash_in_a_first_copy_leaves_a_bad_state() -> None:
    found = crash_jobs.run(150, 60, 1, lambda text: None)
    assert (found.states, found.crashes, found.bad) == (150, 150, [])


def test_a_state_counts_once_however_many_processes_saw_it() -> None:
    found = crash_jobs.run(200, 60, 2, lambda text: None)
    assert 200 <= found.states <= found.crashes
    assert not found.bad


def test_a_process_that_ends_before_its_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    upkeep_under_way = (*SCRIPTS["points retired"][:-1], Step("tend", {"slices": 5}), Step("cycle", {}))
    monkeypatch.setattr(crash, "SCRIPTS", {"not to be copied": upkeep_under_way})
    with pytest.raises(Failed, match="ended before its time"):
        crash_jobs.run(10, 60, 2, lambda text: None)


def test_it_stops_when_the_time_is_over() -> None:
    begun = time.monotonic()
    found = crash_jobs.run(1_000_000, 1.0, 1, lambda text: None)
    assert 0 < found.states < 100_000
    assert time.monotonic() - begun < 60


def test_the_verb_counts_states(drill: CommandLine, tmp_path: Path) -> None:
    said = drill("fuzz", "crash", "--states", "20", "--jobs", "1", "--traces", str(tmp_path), "--json")
    assert (said.exit_code, said.document["states"], said.document["bad"]) == (0, 20, 0)


def test_too_few_states_are_an_error_that_says_how_many_there_were(drill: CommandLine, tmp_path: Path) -> None:
    said = drill("fuzz", "crash", "--seconds", "1", "--jobs", "1", "--traces", str(tmp_path))
    assert said.exit_code == 6
    assert "states were reached, not 100000" in said.errors


def test_a_manifest_that_is_not_synced_leaves_a_bad_state() -> None:
    found = planted.hunt(planted.PLANTS / "no_fsync_manifest.patch", seed=1, seconds=60, engine="crash")
    assert found.invariant, found


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", planted.DURABILITY)
def test_every_bug_of_durability_leaves_a_bad_state(name: str) -> None:
    found = planted.hunt(planted.PLANTS / f"{name}.patch", seed=1, seconds=300, engine="crash")
    assert found.invariant, found
    assert found.walks <= PLANT_STATES_MAX


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_crash_anywhere_leaves_a_bad_state() -> None:
    found = crash_jobs.run(100_000, 3600, 2, lambda text: None)
    assert found.states >= 100_000
    assert not found.bad
