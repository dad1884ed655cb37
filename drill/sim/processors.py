"""A guest's processors, and who stops them: a pause that somebody ends whatever becomes of us.

What is not obvious: a guest that somebody else paused is not ours to resume; the process outside resumes at its time or
when its parent dies, and does so also while libvirt refuses the agent; a new QEMU runs.

`periods` is the truth about pauses, in seconds of the monotonic clock.
"""

from __future__ import annotations

from drill.errors import Unsupported
from drill.sim.clock import SimClock


class SimProcessors:
    """Those of one guest; they outlive every agent of ours.  `watchless`: no process outside can be had."""

    def __init__(self, clock: SimClock) -> None:
        self.watchless = False
        self.periods: list[tuple[float, float]] = []
        self._clock = clock
        self._since: float | None = None
        self._watch: float | None = None

    @property
    def stand(self) -> bool:
        """Whether they stand still, in truth."""
        if self._since is None:
            return False
        if self._watch is not None and self._watch <= self._clock.monotonic():
            self._run(self._watch)
        return self._since is not None

    def arm(self, seconds: float) -> bool:
        """The process outside; False where they stand already."""
        if self.watchless:
            raise Unsupported("a watch over the guest", "no process answers")
        if self.stand:
            return False
        self._watch = self._clock.monotonic() + seconds
        return True

    def stop(self) -> None:
        """Stop them: we do, or an operator."""
        if not self.stand:
            self._since = self._clock.monotonic()

    def run(self) -> None:
        """Let them go on."""
        if self.stand:
            self._run(self._clock.monotonic())

    def disarm(self) -> None:
        """The process outside forgets."""
        self._watch = None

    def parent_died(self) -> None:
        """The agent that armed is gone: the process outside acts at once."""
        if self._watch is not None:
            self._watch = min(self._watch, self._clock.monotonic())

    def rebooted(self) -> None:
        """QEMU ended."""
        self.run()
        self._watch = None

    def _run(self, at: float) -> None:
        if self._since is not None:
            self.periods.append((self._since, max(at, self._since)))
            self._since = self._watch = None
