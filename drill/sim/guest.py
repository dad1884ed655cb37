"""The guest's file systems and the agent inside it (the Freezer port): it hangs, dies, lies, floods, answers late.

What is not obvious (ground 1.25, measured on QEMU 7.2): an agent that hangs in a hook freezes later, when nobody waits
any more; the agent's own word `frozen` outlives its death and a thaw by anybody else, and while it says so it refuses
all but status and thaw; a thaw counts only what was still frozen.  The timer inside the guest needs no agent; the
process outside needs one, and acts at once when its parent has died.

`periods` is the truth about freezing, in seconds of the monotonic clock; `proven` is whether every answer that an
honest flag needs was given.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from drill.errors import BadInput, Failed, Unknown, Unreachable, Unsupported
from drill.sim.clock import SimClock
from drill.sim.process import Process

FILE_SYSTEMS = 2
FREEZE_SECONDS, THAW_SECONDS = 5.0, 3.0
HOOK_SECONDS = 20.0
LATE_SECONDS = 4.0
AGAIN_SECONDS = 1.0


class Mood(StrEnum):
    """How the agent is; what it says when it lies is in the name."""

    WELL = "well"
    ABSENT = "absent"
    NO_TIMER = "no timer"
    HANGS = "hangs in freeze"
    DIES = "dies frozen"
    FLOODS = "floods"
    LATE = "answers late"
    LIES_FROZEN = "lies that it froze"
    LIES_NONE = "lies that nothing froze"
    LIES_THAWED = "lies that it thawed"
    LIES_COUNT = "lies about how many"
    LIES_STATE = "lies about its state"


class SimGuest:
    """One guest; it outlives every agent of ours."""

    def __init__(self, clock: SimClock, noted: Callable[[str], None]) -> None:
        self.mood = Mood.WELL
        self.noted = noted
        self.periods: list[tuple[float, float]] = []
        self.proven = False
        self.armed = False
        self._clock = clock
        self._since: float | None = None
        self._says_frozen = False
        self._died = False
        self._freezes_at: float | None = None
        self._busy_until = 0.0
        self._timer: float | None = None
        self._again = False
        self._watch: float | None = None

    @property
    def frozen(self) -> bool:
        """Whether the file systems are frozen, in truth."""
        self.settle()
        return self._since is not None

    @property
    def answers(self) -> bool:
        """Whether the agent answers now."""
        gone = self.mood is Mood.ABSENT or self._died
        return not gone and self._clock.monotonic() >= self._busy_until

    def recover(self) -> None:
        """The agent is started anew, and well."""
        self.mood, self._died = Mood.WELL, False

    def parent_died(self) -> None:
        """The agent that froze is gone: the process outside acts."""
        if self._watch is not None:
            self._watch = min(self._watch, self._clock.monotonic())

    def rebooted(self) -> None:
        """QEMU ended: nothing is frozen, nothing armed, and the agent knows of nothing."""
        self._thaw(self._clock.monotonic())
        self._says_frozen, self._freezes_at, self._timer, self._watch, self._busy_until = False, None, None, None, 0.0

    def settle(self) -> None:
        """What timers did up to now."""
        now = self._clock.monotonic()
        if self._freezes_at is not None and self._freezes_at <= now:
            self._freeze(self._freezes_at)
            self._freezes_at = None
        if self._since is not None and self._timer is not None:
            fired = self._timer
            while self._again and fired < self._since:
                fired += AGAIN_SECONDS
            if self._since <= fired <= now:
                self._thaw(fired)
        if self._watch is not None and self._watch <= now and self.answers:
            self._says_frozen, self._watch = False, None
            self._thaw(now)

    def arm(self, seconds: float) -> None:
        """The timer inside, then the one outside."""
        self.settle()
        self.proven, self.armed = False, True
        if self.mood is not Mood.WELL:
            self.noted(f"agent {self.mood}")
        if self.mood is Mood.ABSENT or not self.answers:
            raise Unreachable("guest agent", "vm", "not connected")
        if self.mood is Mood.NO_TIMER:
            raise Unsupported("a timer inside the guest", "no fsfreeze")
        now = self._clock.monotonic()
        if self._says_frozen:
            self._watch = now + 10
            raise Failed("freezing", "it is frozen already")
        self._timer, self._again, self._watch = now + seconds, True, now + seconds

    def freeze(self) -> int:
        """Freeze, or claim it."""
        self.settle()
        self._must_answer(FREEZE_SECONDS)
        if self._says_frozen:
            raise Failed("guest-fsfreeze-freeze", "the command is disabled while frozen")
        if self.mood is Mood.HANGS:
            self._freezes_at = self._busy_until = self._clock.monotonic() + HOOK_SECONDS
            self._clock.sleep(FREEZE_SECONDS)
            raise Unknown("guest-fsfreeze-freeze", "no answer in time")
        self._says_frozen = True
        if self.mood is not Mood.LIES_FROZEN:
            self._freeze(self._clock.monotonic())
        if self.mood is Mood.LATE:
            self._clock.sleep(LATE_SECONDS)
        self._died = self.mood is Mood.DIES
        self._must_answer(FREEZE_SECONDS)
        self.proven = self.mood is not Mood.LIES_NONE
        return FILE_SYSTEMS if self.proven else 0

    def thaw(self) -> int:
        """Thaw, or claim it."""
        self.settle()
        self._must_answer(THAW_SECONDS)
        count = FILE_SYSTEMS if self._since is not None or self.mood is Mood.LIES_FROZEN else 0
        self._says_frozen = False
        if self.mood is not Mood.LIES_THAWED:
            self._thaw(self._clock.monotonic())
        if self.mood is Mood.LIES_COUNT:
            count += 1
        self.proven = self.proven and count == FILE_SYSTEMS
        return count

    def is_frozen(self) -> bool:
        """What the agent says of itself."""
        self.settle()
        self._must_answer(THAW_SECONDS)
        says = self._says_frozen or self.mood is Mood.LIES_STATE
        self.proven = self.proven and not says
        return says

    def disarm(self) -> None:
        """The process outside forgets; the timer inside fires once more."""
        self.settle()
        self._must_answer(THAW_SECONDS)
        self._again, self._watch = False, None

    def _freeze(self, at: float) -> None:
        if self._since is None:
            self._since = at

    def _thaw(self, at: float) -> None:
        if self._since is not None:
            self.periods.append((self._since, at))
            self._since = None

    def _must_answer(self, seconds: float) -> None:
        if self.mood is Mood.FLOODS:
            raise BadInput("agent of guest vm", "a reply of 99999999 characters")
        if not self.answers:
            self._clock.sleep(seconds)
            self.settle()
            raise Unreachable("guest agent", "vm", "no answer")


class SimFreezer:
    """The Freezer port as one agent has it; every call may fail before its effect, or lose its answer after it."""

    def __init__(self, guest: SimGuest, process: Process) -> None:
        self._guest = guest
        self._process = process

    def arm(self, _domain: str, seconds: int) -> None:
        """Arm."""
        self._ask("arm")
        self._guest.arm(seconds)
        self._answer("arm")

    def freeze(self, _domain: str) -> int:
        """Freeze."""
        self._ask("freeze")
        count = self._guest.freeze()
        self._answer("freeze")
        return count

    def thaw(self, _domain: str) -> int:
        """Thaw."""
        self._ask("thaw")
        count = self._guest.thaw()
        self._answer("thaw")
        return count

    def is_frozen(self, _domain: str) -> bool:
        """Look."""
        self._ask("is_frozen")
        says = self._guest.is_frozen()
        self._answer("is_frozen")
        return says

    def disarm(self, _domain: str) -> None:
        """Disarm."""
        self._ask("disarm")
        self._guest.disarm()
        self._answer("disarm")

    def _ask(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"libvirt {operation}", "")

    def _answer(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"libvirt answer {operation}", "")
