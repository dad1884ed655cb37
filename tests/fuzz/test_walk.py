"""The walker: that it finds nothing in the engine, that it would, and that what it finds can be walked again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import BadInput
from drill.fuzz import shrink, trace, walk
from drill.fuzz.deeds import DEEDS
from drill.fuzz.steps import WEIGHTS, Step
from drill.fuzz.walk import Route, Tally
from fixtures.command_line import CommandLine

SEEDS = Path(__file__).parent / "seeds"


def test_no_walk_falls_and_every_fault_and_invariant_comes() -> None:
    """Seeds are fixed, so that this is the same every time; `drill fuzz walk` goes on from here."""
    tally = Tally()
    falls = [(number, fall) for number, _, fall in walk.run(1, 240, tally, most=800)]
    assert not falls
    counts = {**tally.faults, **tally.invariants}
    assert not [name for name, count in counts.items() if not count]
    assert tally.steps / tally.sequences >= 40
    assert sum(tally.faults.values()) / tally.sequences >= 1


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_no_walk_falls_for_two_minutes(seed: int) -> None:
    assert not [(number, fall) for number, _, fall in walk.run(seed, 120, Tally())]


def test_the_canary_falls() -> None:
    fall = walk.canary()
    assert fall is not None
    assert fall.invariant == "I1"


@pytest.mark.parametrize("number", [3, 17, 64])
def test_a_walk_goes_the_same_way_twice(number: int) -> None:
    route = walk.route(9, number)
    assert walk.walk(route, Counter(), Counter()) == walk.walk(route, Counter(), Counter())


def test_every_kind_of_step_has_its_deed() -> None:
    assert WEIGHTS.keys() == DEEDS.keys() - {"spoil"}


def spoilt_route() -> Route:
    """A walk of thirty steps that falls because of two of them."""
    route = walk.route(4, 1)
    harmless = [step for step in route.steps if step.kind in ("write", "zero", "pages", "clock", "keep")]
    return replace(route, steps=(*harmless[:20], Step("cycle", {}), Step("spoil", {}), *harmless[:8]))


def test_a_walk_that_falls_is_shrunk_to_what_makes_it_fall() -> None:
    route = spoilt_route()
    fall, _ = walk.walk(route, Counter(), Counter())
    assert fall is not None
    smaller, last = shrink.shrink(route, fall)
    assert last.invariant == fall.invariant
    assert [step.kind for step in smaller.steps if step.kind not in ("write", "pages")] == ["cycle", "spoil"]
    assert len(smaller.steps) <= 3
    assert len(smaller.disks) == 1


def test_a_trace_that_was_kept_falls_again(drill: CommandLine, tmp_path: Path) -> None:
    route = spoilt_route()
    fall, _ = walk.walk(route, Counter(), Counter())
    assert fall is not None
    path = tmp_path / "walk.json"
    trace.write(trace.Trace(4, 1, route, fall), path)
    assert trace.read(path).route == route
    said = drill("fuzz", "replay", str(path), "--json")
    assert (said.exit_code, said.document["fall"]["invariant"]) == (6, fall.invariant)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "drill walk 1"}', "nonsense"])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "walk.json"
    path.write_text(text)
    with pytest.raises(BadInput):
        trace.read(path)


@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_walk_that_fell_once_does_not_fall_any_more(path: Path) -> None:
    fall, _ = walk.walk(trace.read(path).route, Counter(), Counter())
    assert fall is None, fall


def test_the_verb_walks_and_counts(drill: CommandLine, tmp_path: Path) -> None:
    said = drill("fuzz", "walk", "--seconds", "1", "--seed", "8", "--traces", str(tmp_path / "walks"), "--json")
    assert (said.exit_code, said.document["failures"], said.document["falls"]) == (0, 0, [])
    assert said.document["sequences"] > 0
    assert said.document["canary"] == "I1"
    assert json.dumps(said.document)
    assert not (tmp_path / "walks").exists()
