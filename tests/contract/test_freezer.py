"""The simulated guest keeps the Freezer's contract; the real one does so in tests/lab/test_freeze.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from drill.ports import Freezer
from drill.sim.clock import SimClock
from drill.sim.guest import SimFreezer, SimGuest
from drill.sim.process import Process
from tests.contract.freezer_suite import FreezerContract


@dataclass
class SimBench:
    clock: SimClock = field(default_factory=SimClock)
    domain: str = "vm"

    def __post_init__(self) -> None:
        self.guest = SimGuest(self.clock, lambda kind: None)
        self.freezer: Freezer = SimFreezer(self.guest, Process(lambda kind: None))

    def is_still(self) -> bool:
        return self.guest.frozen

    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)


class TestSimulatedFreezer(FreezerContract):
    @pytest.fixture
    def bench(self) -> SimBench:
        return SimBench()
