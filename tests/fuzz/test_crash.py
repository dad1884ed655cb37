"""A crash at every operation of fixed scripts: no state that is left is bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill.fuzz import crash
from fixtures.command_line import CommandLine


def test_there_are_at_least_twelve_scripts_that_each_succeed_without_a_crash() -> None:
    assert len(crash.SCRIPTS) >= 12
    for name in crash.SCRIPTS:
        assert crash.succeeds(name), name


def test_no_crash_in_a_first_copy_leaves_a_bad_state() -> None:
    count = crash.Count()
    assert not list(crash.every(count, 150, lambda text: None))
    assert count.states == 150


def test_the_verb_counts_states(drill: CommandLine, tmp_path: Path) -> None:
    said = drill("fuzz", "crash", "--states", "20", "--traces", str(tmp_path), "--json")
    assert (said.exit_code, said.document["states"], said.document["bad"]) == (0, 20, 0)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_no_crash_anywhere_leaves_a_bad_state() -> None:
    count = crash.Count()
    assert not list(crash.every(count, 100_000, lambda text: None))
    assert len(count.scripts) == len(crash.SCRIPTS)
