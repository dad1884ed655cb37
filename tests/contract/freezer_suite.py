"""What every Freezer does, simulated or real: tests that a subclass runs with its own `bench`."""

from __future__ import annotations

import time
from typing import Protocol

import pytest

from drill.errors import Failed
from drill.ports import Freezer


class Bench(Protocol):
    """A guest that writes all the time, and its freezer."""

    freezer: Freezer
    domain: str

    def is_still(self) -> bool:
        """Whether the guest writes nothing, seen from outside."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class FreezerContract:
    """The port's promises."""

    def test_a_freeze_stops_writes_and_a_thaw_lets_them_go_on(self, bench: Bench) -> None:
        bench.freezer.arm(bench.domain, 9)
        frozen = bench.freezer.freeze(bench.domain)
        assert bench.freezer.is_frozen(bench.domain)
        assert bench.is_still()
        assert bench.freezer.thaw(bench.domain) == frozen > 0
        assert not bench.freezer.is_frozen(bench.domain)
        bench.freezer.disarm(bench.domain)
        assert not bench.is_still()

    def test_a_freeze_that_nobody_thaws_is_thawed_by_the_timers(self, bench: Bench) -> None:
        bench.freezer.arm(bench.domain, 2)
        bench.freezer.freeze(bench.domain)
        assert bench.is_still()
        bench.wait(3)
        assert not bench.is_still()
        bench.freezer.disarm(bench.domain)

    def test_a_thaw_after_the_timer_counts_nothing(self, bench: Bench) -> None:
        bench.freezer.arm(bench.domain, 1)
        bench.freezer.freeze(bench.domain)
        bench.wait(2)
        assert bench.freezer.thaw(bench.domain) == 0
        bench.freezer.disarm(bench.domain)

    def test_a_guest_that_is_frozen_already_is_not_armed(self, bench: Bench) -> None:
        bench.freezer.arm(bench.domain, 9)
        bench.freezer.freeze(bench.domain)
        with pytest.raises(Failed, match="frozen already"):
            bench.freezer.arm(bench.domain, 9)
        bench.freezer.thaw(bench.domain)
        bench.freezer.disarm(bench.domain)


def sleep(seconds: float) -> None:
    """Real time passes: a timer inside a real guest cannot be polled."""
    time.sleep(seconds)
