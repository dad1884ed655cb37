"""One walk: steps performed one after another, the oracle's look after each, and the end that must be well.

`Walk.step` never raises for what a step may legitimately end in; it raises Violated for what must never be, and lets
through what nobody foresaw (any exception but the engine's own errors), which the walker reports as a failure too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from drill.fuzz.deeds import DEEDS
from drill.fuzz.oracle import Violated
from drill.fuzz.scene import CALM_CYCLES, Scene
from drill.fuzz.steps import Step
from drill.fuzz.world import DiskPlan, Ground

AGAIN_EVERY = 4
"""Of so many walks one has a further cycle at its end."""


class Walk:
    """One walk through a world of its own."""

    def __init__(
        self,
        plans: Sequence[DiskPlan],
        faults: Counter[str],
        invariants: Counter[str],
        ground: Ground | None = None,
    ) -> None:
        self.scene = Scene(plans, faults, invariants, ground)
        self.outcomes: list[str] = []

    def step(self, step: Step) -> str:
        """Perform a step and check; returns what became of it."""
        self.scene.begin(step.args)
        outcome = DEEDS[step.kind](self.scene, step.args)
        self.scene.check(step.kind, outcome)
        self.outcomes.append(outcome)
        return outcome

    def finish(self) -> None:
        """Faults stop: within a few cycles the newest point must be what the disks are (L1)."""
        scene, world = self.scene, self.scene.world
        scene.heal()
        for _ in range(CALM_CYCLES):
            outcome = self.step(Step("cycle", {}))
            if outcome == "done":
                break
        else:
            raise Violated("L1", f"{CALM_CYCLES} cycles without a fault, the last one ended with {outcome}")
        now = {target: disk.content() for target, disk in world.hypervisor.disks.items()}
        point, disks = world.contents(world.points()[-1:])[0]
        same = disks.keys() == now.keys() and all(content.same(now[target]) for target, content in disks.items())
        scene.oracle.must("L1", same, f"{point.epoch}/{point.sequence} is not what the disks are")
        if len(world.hypervisor.instants) % AGAIN_EVERY == 0:
            self._once_more()

    def _once_more(self) -> None:
        """A cycle after one that was done copies no disk whole, however much there was before (L2)."""
        scene, world = self.scene, self.scene.world
        outcome, letter = self.step(Step("cycle", {})), world.network.kept[-1:]
        tracked = {target for target, disk in world.hypervisor.disks.items() if disk.tracked}
        whole = [disk.target for one in letter for disk in one.header.disks if disk.full and disk.target in tracked]
        scene.oracle.must("L2", outcome == "done", f"a cycle after one that was done ended with {outcome}")
        scene.oracle.must("L2", not whole, f"disks {whole} are copied whole again, and nothing had happened")

    def close(self) -> None:
        """The walk is over."""
        self.scene.world.close()

    def traces(self) -> tuple[str, ...]:
        """What two runs of the same walk must have in common."""
        return (*self.outcomes, *(point.log_digest for point in self.scene.oracle.seen))
