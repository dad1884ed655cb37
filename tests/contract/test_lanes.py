"""What Lanes promise: results in the order of the pieces, few pieces ahead, and an error ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from drill.host.lanes import ThreadLanes
from drill.ports import Lanes
from tests.contract.pair import OneLane


@pytest.fixture(params=["threads", "one"])
def lanes(request: pytest.FixtureRequest) -> Iterator[Lanes]:
    if request.param == "one":
        yield OneLane()
        return
    found = ThreadLanes(3, 4)
    yield found
    found.close()


def test_results_come_in_the_order_of_the_pieces(lanes: Lanes) -> None:
    assert list(lanes.ordered(lambda n: n * n, range(200))) == [n * n for n in range(200)]
    assert list(lanes.ordered(lambda n: n, [])) == []


def test_pieces_are_taken_only_a_few_ahead(lanes: Lanes) -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = lanes.ordered(lambda n: n, pieces())
    assert next(results) == 0
    assert len(taken) <= 6


def test_an_error_of_the_work_is_raised_at_its_place(lanes: Lanes) -> None:
    def work(n: int) -> int:
        if n == 5:
            raise ZeroDivisionError
        return n

    results = lanes.ordered(work, range(100))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_pieces_is_raised(lanes: Lanes) -> None:
    def pieces() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(lanes.ordered(lambda n: n, pieces()))


def test_work_is_done_side_by_side() -> None:
    """Three pieces wait for each other: one lane alone would wait for ever."""
    found = ThreadLanes(3, 4)
    together = threading.Barrier(3, timeout=10)
    assert list(found.ordered(lambda n: (together.wait(), n)[1], range(3))) == [0, 1, 2]
    found.close()


def test_no_work_is_left_running_when_the_caller_stops() -> None:
    found = ThreadLanes(2, 4)
    running = []

    def work(n: int) -> int:
        running.append(n)
        running.remove(n)
        return n

    results = found.ordered(work, range(1000))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert running == []
    found.close()
