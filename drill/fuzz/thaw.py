"""What the oracle says of frozen guests: the flag of their points (I13), and how long they stay so (I32, L3)."""

from __future__ import annotations

from typing import Final

from drill.fuzz.faults import AGENT, UNANSWERED
from drill.fuzz.oracle import Oracle
from drill.fuzz.world import SOURCE, World
from drill.model.cycle import LogHeader
from drill.sim.guest import Mood
from drill.sim.hypervisor import SimHypervisor

FROZEN_SECONDS_MAX: Final = 10
PATIENCE_SECONDS: Final = 30
"""Long enough for an agent that hangs in a hook to freeze after all, and for the timer to thaw that too."""


def judge_flag(oracle: Oracle, header: LogHeader, hypervisor: SimHypervisor) -> None:
    """A log begins to travel: what it says of its instant must be proven, and true of any guest that does not lie."""
    if not header.application_consistent:
        return
    guest, instant = hypervisor.guest, hypervisor.instants[header.begun_us]
    oracle.must("I13", guest.proven, "a point is called application-consistent without the guest's word")
    real = instant.frozen or guest.mood is Mood.LIES_FROZEN
    oracle.must("I13", real, "a point is called application-consistent and the guest was not frozen")


def judge_thaw(oracle: Oracle, world: World) -> None:
    """A cycle that may have frozen the guest is over: it is left so neither by us nor by its timers."""
    guest = world.hypervisor.guest
    if world.processes[SOURCE].alive and not world.happened & UNANSWERED:
        oracle.must("I32", not world.hypervisor.paused, "a cycle is over and the guest is still paused")
    if not (guest.armed or guest.frozen):
        return
    hindered = world.happened & (UNANSWERED | set(AGENT)) or world.hypervisor.frozen
    if world.processes[SOURCE].alive and not hindered:
        oracle.must("I32", not guest.frozen, "a cycle is over and the guest is still frozen")
    world.clock.sleep(PATIENCE_SECONDS)
    frozen = guest.frozen
    longest = max((end - begin for begin, end in guest.periods), default=0.0)
    oracle.must("L3", not frozen, f"the guest is frozen {PATIENCE_SECONDS} s after the cycle")
    oracle.must("L3", longest <= FROZEN_SECONDS_MAX, f"the guest was frozen for {longest:.1f} s")
    guest.periods.clear()
    guest.armed = False
