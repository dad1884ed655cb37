"""How many cards the target has, with the catalogue's numbers (spec J1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import cards
from drill.model.server import Size
from drill.model.target import Target, TargetNic


def size(most: int) -> Size:
    return Size(name="s", max_nics=most, max_vcpus=1, max_memory_mib=1)


@pytest.mark.spec("J1.a")
@pytest.mark.parametrize(("source", "most", "target"), [(2, 4, 2), (2, 1, 1), (2, 2, 2), (0, 4, 0)])
def test_the_target_has_the_lesser_of_its_sources_cards_and_its_sizes(source: int, most: int, target: int) -> None:
    assert cards.count(source, size(most)) == target


@pytest.mark.spec("J1.b")
def test_another_size_gives_another_count() -> None:
    assert [cards.count(3, size(most)) for most in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert cards.count(3, None) == 3


@pytest.mark.spec("J3.a")
def test_a_card_that_the_operator_chose_comes_before_the_others() -> None:
    second = Target(nics=(TargetNic(source=0), TargetNic(source=1, chosen=True), TargetNic(source=9, chosen=True)))
    assert cards.built(2, size(1), Target()) == {0}
    assert cards.built(2, size(1), second) == {1}
    assert cards.built(2, size(2), second) == {0, 1}


@given(source=st.integers(0, 20), most=st.integers(0, 20), chosen=st.sets(st.integers(0, 25)))
def test_as_many_cards_are_built_as_are_counted_and_chosen_ones_first(source: int, most: int, chosen: set[int]) -> None:
    target = Target(nics=tuple(TargetNic(source=one, chosen=True) for one in sorted(chosen)))
    built = cards.built(source, size(most), target)
    wanted = {one for one in chosen if one < source}
    assert len(built) == min(source, most)
    assert built <= set(range(source))
    assert wanted <= built or built <= wanted
