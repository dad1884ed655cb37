"""Forecast of link and storage (spec Q1, E5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import capacity
from drill.core.capacity import Observed
from tests.new_york import mended, told

MIB = 1 << 20


def observed(*sent_mib: int, interval: int = 30, size_mib: int = 1000, held_mib: int = 100) -> Observed:
    return Observed(
        machine="VM1", size_bytes=size_mib * MIB, held_bytes=held_mib * MIB, interval_seconds=interval,
        sent_bytes=tuple(one * MIB for one in sent_mib),
    )  # fmt: skip


@pytest.mark.spec("Q1.a")
@pytest.mark.parametrize(
    ("machines", "rpo", "bytes_per_second"),
    [
        ([observed(8, 24, 16)], 60, MIB),
        ([observed(24)], 35, 6 * MIB),
        ([observed(24), observed(24)], 60, 2 * MIB),
        ([observed(24)], 3600, MIB),
        ([observed()], 60, 0),
        ([], 60, 0),
    ],
)
def test_the_link_carries_the_busiest_cycle_in_what_the_rpo_leaves(
    machines: list[Observed], rpo: float, bytes_per_second: int
) -> None:
    """24 MiB and a quarter to spare are 30 MiB: in the 30 s that an RPO of 60 s leaves, 1 MiB/s."""
    found = capacity.bandwidth(machines, rpo)
    assert (found.bytes_per_second, found.findings) == (bytes_per_second, ())


@pytest.mark.spec("Q1.a")
@pytest.mark.parametrize("rpo", [30, 10])
def test_an_rpo_no_longer_than_the_interval_is_said_to_be_impossible(rpo: float) -> None:
    found = capacity.bandwidth([observed(24)], rpo)
    assert told(found.findings) == ["Q1 machine VM1"]
    assert mended(found.findings)
    assert found.bytes_per_second == 0


@pytest.mark.spec("Q1.b", "E5.d")
@pytest.mark.parametrize(
    ("one", "window", "additional", "mib"),
    [
        pytest.param(observed(4), 0, 0, 100, id="the latest alone"),
        pytest.param(observed(4), 60, 0, 110, id="two points of the window"),
        pytest.param(observed(4, interval=900), 0, 2, 140, id="two hours of four cycles"),
        pytest.param(observed(400), 0, 2, 2100, id="an hour adds no more than the disk has"),
        pytest.param(observed(4, interval=7200), 0, 2, 110, id="cycles rarer than an hour"),
        pytest.param(observed(), 3600, 24, 100, id="nothing observed"),
    ],
)
def test_more_points_need_more_storage(one: Observed, window: int, additional: int, mib: int) -> None:
    assert capacity.storage([one], window_seconds=window, additional=additional) == mib * MIB


def test_the_age_of_a_point_is_the_interval_and_its_way() -> None:
    assert capacity.rpo_seconds(observed(24), MIB) == 60
    assert capacity.rpo_seconds(observed(24), 0) == 30
    assert capacity.rpo_seconds(observed(24), 1) == 30 + 20 * 60
    assert capacity.rpo_seconds(observed(), MIB) == 30
    slow = replace(observed(24), took_seconds=(1.5, 45.0))
    assert (capacity.rpo_seconds(slow, 0), capacity.rpo_seconds(slow, MIB / 2)) == (75, 90)


def test_a_location_that_is_too_small_is_named_with_what_is_missing() -> None:
    found = capacity.shortage([("a", 10, 10), ("b", 11, 10)])
    assert told(found) == ["Q1 storage location b"]
    assert "add 1 bytes" in found[0].remedy


@given(
    st.lists(st.integers(0, 1 << 40), max_size=5),
    st.integers(0, 24),
    st.integers(0, 86400),
    st.sampled_from([30, 300, 900]),
)
def test_a_forecast_never_shrinks_with_more_points_or_more_change(
    sent: list[int], additional: int, window: int, interval: int
) -> None:
    def stored(some: list[int], points: int) -> int:
        one = Observed(
            machine="m", size_bytes=1 << 30, held_bytes=1 << 20, interval_seconds=interval, sent_bytes=tuple(some)
        )
        return capacity.storage([one], window_seconds=window, additional=points)

    assert stored(sent, additional) <= stored(sent, additional + 1)
    assert stored(sent, additional) <= stored([*sent, 1 << 41], additional)
