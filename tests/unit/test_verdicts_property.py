"""Evidence only ever takes a pass away: what a whole run's pass rests on, and that *unknown* never becomes *pass*."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core.judgement import Judgement
from drill.core.judges import JUDGES
from drill.core.verdicts import IRRELEVANT, judge, worst
from drill.model.fact import Json, Observed
from drill.model.verdict import Outcome
from tests.runs import passing, with_observed, without

FACTS = passing()
RELEVANT = [index for index, fact in enumerate(FACTS) if not isinstance(fact, IRRELEVANT)]
OBSERVED = [index for index, fact in enumerate(FACTS) if isinstance(fact, Observed)]

SCALARS = st.none() | st.booleans() | st.integers(-3, 2000) | st.floats(allow_nan=False) | st.text(max_size=5)
JSON: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["state", "answers", "disks", "nics", "mac", "probes", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("index", RELEVANT, ids=lambda index: f"{index}-{type(FACTS[index]).__name__}")
def test_a_pass_needs_every_fact_that_is_not_irrelevant_by_rule(index: int) -> None:
    assert judge(without(FACTS, index)).outcome is not Outcome.PASS


def test_a_pass_does_not_need_the_facts_that_are_irrelevant_by_rule() -> None:
    kept = tuple(fact for fact in FACTS if not isinstance(fact, IRRELEVANT))
    assert len(kept) < len(FACTS)
    assert replace(judge(kept), checks=()) == replace(judge(FACTS), checks=())


@given(st.sets(st.sampled_from(range(len(FACTS))), min_size=1))
def test_no_set_of_missing_facts_leaves_a_pass(gone: set[int]) -> None:
    kept = tuple(fact for index, fact in enumerate(FACTS) if index not in gone)
    expected = bool(gone & set(RELEVANT))
    assert (judge(kept).outcome is not Outcome.PASS) == expected


@given(st.integers(0, len(FACTS) - 1))
def test_a_run_cut_short_anywhere_is_unknown(length: int) -> None:
    assert judge(FACTS[:length]).outcome is Outcome.UNKNOWN


@given(st.sampled_from(OBSERVED), st.text(min_size=1, max_size=20))
def test_an_observation_with_an_error_never_passes(index: int, error: str) -> None:
    fact = FACTS[index]
    assert isinstance(fact, Observed)
    facts = (*FACTS[:index], replace(fact, error=error), *FACTS[index + 1 :])
    assert judge(facts).outcome is Outcome.UNKNOWN


@given(st.sampled_from(OBSERVED), JSON)
def test_an_observation_of_any_other_shape_never_passes_and_never_raises(index: int, value: Json) -> None:
    fact = FACTS[index]
    assert isinstance(fact, Observed)
    assert judge(with_observed(FACTS, fact.check, fact.vm, value)).outcome is not Outcome.PASS


def leaves(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values inside a JSON value that hold no other."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def put(value: Json, path: tuple[str | int, ...], leaf: Json) -> Json:
    """A copy with another leaf."""
    if not path:
        return leaf
    result = copy.deepcopy(value)
    inner = result
    for step in path[:-1]:
        inner = inner[step]  # type: ignore[index]
    inner[path[-1]] = leaf  # type: ignore[index]
    return result


LEAVES = [
    (index, path)
    for index in OBSERVED
    for fact in (FACTS[index],)
    if isinstance(fact, Observed)
    for path in leaves(fact.observed)
    if fact.check != "nic_count" or path[0] != "nics"  # shown to the reader, counted, not compared
]


@given(st.sampled_from(LEAVES), st.sampled_from([None, True, False, 3, 0.5, "", "text", [], {}]))
def test_a_leaf_of_another_kind_never_passes(place: tuple[int, tuple[str | int, ...]], leaf: Json) -> None:
    index, path = place
    fact = FACTS[index]
    assert isinstance(fact, Observed)
    old: Json = fact.observed
    for step in path:
        old = old[step]  # type: ignore[index]
    if type(old) is type(leaf) or (isinstance(old, float) and isinstance(leaf, int) and not isinstance(leaf, bool)):
        return
    facts = with_observed(FACTS, fact.check, fact.vm, put(fact.observed, path, leaf))
    assert judge(facts).outcome is not Outcome.PASS


@given(st.lists(st.sampled_from(list(Outcome))))
def test_the_worst_outcome_decides_and_none_at_all_is_unknown(outcomes: list[Outcome]) -> None:
    if Outcome.FAIL in outcomes:
        expected = Outcome.FAIL
    elif Outcome.UNKNOWN in outcomes or not outcomes:
        expected = Outcome.UNKNOWN
    else:
        expected = Outcome.PASS
    assert worst(outcomes) is expected


@given(st.dictionaries(st.sampled_from(sorted(JUDGES)), st.sampled_from(list(Outcome)), min_size=len(JUDGES)))
def test_a_run_passes_only_when_every_single_check_does(outcomes: dict[str, Outcome]) -> None:
    def ruled(seen: Observed) -> Judgement:
        return outcomes[seen.check], "as told"

    assert judge(FACTS, dict.fromkeys(JUDGES, ruled)).outcome is worst(list(outcomes.values()))


@pytest.mark.parametrize("index", OBSERVED)
def test_evidence_that_no_rule_knows_is_not_passed_over(index: int) -> None:
    fact = FACTS[index]
    assert isinstance(fact, Observed)
    assert isinstance(fact.observed, dict)
    facts = with_observed(FACTS, fact.check, fact.vm, {**fact.observed, "by the way": "it burns"})
    assert judge(facts).outcome is Outcome.UNKNOWN
