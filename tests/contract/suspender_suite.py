"""What every Suspender does, simulated or real: tests that a subclass runs with its own `bench`."""

from __future__ import annotations

from typing import Protocol

from drill.ports import Suspender


class Bench(Protocol):
    """A guest that runs, and what suspends it."""

    suspender: Suspender
    domain: str

    def runs(self) -> bool:
        """Whether the guest's processors run, seen by another way than the port."""
        ...

    def pause_by_hand(self) -> None:
        """An operator pauses the guest."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SuspenderContract:
    """The port's promises."""

    def test_a_suspended_guest_stands_still_until_it_is_resumed(self, bench: Bench) -> None:
        assert bench.suspender.arm(bench.domain, 30)
        assert bench.runs()
        bench.suspender.suspend(bench.domain)
        assert bench.suspender.is_suspended(bench.domain)
        assert not bench.runs()
        bench.suspender.resume(bench.domain)
        bench.suspender.disarm(bench.domain)
        assert not bench.suspender.is_suspended(bench.domain)
        assert bench.runs()

    def test_a_guest_that_nobody_resumes_is_resumed_from_outside_at_its_time(self, bench: Bench) -> None:
        assert bench.suspender.arm(bench.domain, 1)
        bench.suspender.suspend(bench.domain)
        bench.wait(2)
        assert not bench.suspender.is_suspended(bench.domain)
        bench.suspender.resume(bench.domain)
        bench.suspender.disarm(bench.domain)
        assert bench.runs()

    def test_a_guest_that_an_operator_paused_is_not_armed_and_stays_paused(self, bench: Bench) -> None:
        bench.pause_by_hand()
        assert not bench.suspender.arm(bench.domain, 1)
        assert bench.suspender.is_suspended(bench.domain)
        bench.wait(2)
        assert not bench.runs()

    def test_what_is_disarmed_is_left_alone(self, bench: Bench) -> None:
        assert bench.suspender.arm(bench.domain, 1)
        bench.suspender.disarm(bench.domain)
        bench.pause_by_hand()
        bench.wait(2)
        assert not bench.runs()
