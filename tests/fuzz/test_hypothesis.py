"""The same world under Hypothesis: for reading, and for making small what falls."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from drill.fuzz import hypotheses, planted, trace
from drill.fuzz.deeds import DEEDS
from drill.fuzz.hypotheses import Hunt, disks, routes, steps
from drill.fuzz.perform import Walk
from drill.fuzz.steps import WEIGHTS, Step
from drill.fuzz.walk import Route, walk
from drill.fuzz.world import DiskPlan

SEEDS = tuple(sorted((Path(__file__).parent / "seeds").glob("*.json")))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
SHORT = settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=SLOW)


@SHORT
@given(routes())
def no_route_falls(route: Route) -> None:
    fall, _ = walk(route, Counter(), Counter())
    assert fall is None, fall


def test_no_route_falls_nor_one_that_fell_before() -> None:
    tested = no_route_falls
    for path in SEEDS:
        tested = example(trace.read(path).route)(tested)
    tested()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_route_of_many_falls() -> None:
    settings(SHORT, max_examples=10_000)(no_route_falls)()


class Replication(RuleBasedStateMachine):
    """One item and both its sides: guests write, cycles come, things break; at the end all must be well."""

    walker: Walk | None = None

    @initialize(plans=disks())
    def begin(self, plans: tuple[DiskPlan, ...]) -> None:
        self.walker = Walk(plans, Counter(), Counter())

    @rule(step=steps(("write", "pages", "zero")))
    def a_guest_writes(self, step: Step) -> None:
        self._do(step)

    @rule(step=steps(("cycle",)))
    def a_cycle_is_due(self, step: Step) -> None:
        self._do(step)

    @rule(step=steps(("restart", "power", "room", "rot", "keep", "put back", "old file")))
    def a_host_has_trouble(self, step: Step) -> None:
        self._do(step)

    @rule(step=steps(tuple(WEIGHTS)))
    def anything_happens(self, step: Step) -> None:
        self._do(step)

    def _do(self, step: Step) -> None:
        if self.walker is not None:
            self.walker.step(step)

    def teardown(self) -> None:
        if self.walker is not None:
            self.walker.finish()
            self.walker.close()


def test_no_run_of_the_machine_falls() -> None:
    run_state_machine_as_test(Replication, settings=settings(SHORT, max_examples=15, stateful_step_count=30))


def test_what_hypothesis_draws_is_as_mixed_as_a_walk() -> None:
    """It gives small numbers of a large range four times out of five, which would make a walk of writes alone."""
    kinds: Counter[str] = Counter()

    @settings(SHORT, max_examples=60)
    @given(routes())
    def look(route: Route) -> None:
        kinds.update(step.kind for step in route.steps)

    look()
    assert len(kinds) > len(DEEDS) // 2
    assert kinds["write"] < kinds.total() / 2


def test_a_planted_bug_is_found_by_hypothesis_and_made_small() -> None:
    found = planted.hunt(planted.PLANTS / "skip_zero.patch", seed=1, seconds=60, engine="hypothesis")
    assert found.invariant in ("I7", "I6", "I1"), found
    assert found.steps <= 15


def test_a_walk_that_fell_is_handed_to_hypothesis_and_made_small() -> None:
    plans = (DiskPlan("vda", 65536, granule=65536, cluster=65536),)
    write = Step("write", {"disk": 0, "at": 0.0, "sectors": 8, "fill": 1})
    fallen = Route(plans, (*[write] * 20, Step("cycle", {}), write, Step("spoil", {}), *[write] * 5))
    found = Hunt(20).run(1, [fallen])
    assert found is not None
    assert len(found[0].steps) <= 4


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", planted.plants(), ids=lambda path: path.stem)
def test_planted_bugs_are_found_by_hypothesis_alone(path: Path) -> None:
    """At least 28 of 35 must be; those that take longer than two minutes on a machine that is busy are said here."""
    found = planted.hunt(path, 1, planted.HYPOTHESIS_SECONDS, engine="hypothesis")
    assert found.invariant, found
    assert found.steps <= 15
    assert found.seconds <= planted.HYPOTHESIS_SECONDS + hypotheses.SHRINK_SECONDS + 5
