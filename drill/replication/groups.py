"""Consistency groups: the checkpoints of up to 16 items at one instant (spec S5, I2).

    freeze    where an application-consistent point is due: every guest's file systems, as for one item (quiesce.py)
    arm       a process outside resumes every guest when its time is over, or at once when this one dies
    suspend   the processors of every guest
    begin     checkpoint and backup job of every item
    look      all of them still stand still, and the time is not over
    resume    always, whatever became of the steps before
    thaw      as for one item

While all guests stand still none of their disks changes, and what one of them has heard of another is on that one's
disk or will be written again: any moment between the last `suspend` and the look is the instant of all of them.  Where
one guest did not stand still, or one checkpoint was not taken, the items have points of their own and the group none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from drill.errors import DrillError
from drill.model.point import GroupMark
from drill.ports import BackupJob, Clock, Freezer, Lanes, Suspender
from drill.replication import quiesce
from drill.replication.quiesce import Freeze, Quiet

PAUSE_SECONDS = 5.0
"""When the process outside resumes the guests.  Sixteen checkpoints take less than one (docs/performance.md); half of
what a frozen guest is given (L3), for a guest that stands still answers nobody."""

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An item whose cycle may begin; `freeze` where an application-consistent point is asked for or due."""

    domain: str
    begin: Callable[[], BackupJob]
    freeze: bool


Begun: TypeAlias = tuple[BackupJob, Quiet]
Together: TypeAlias = Callable[[Ready], Begun | None]
"""Begins an item's job with those of its group; None where it is to begin alone, and raises what its begin raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPorts:
    """The world of a group; its lanes are as many as it has members, and nobody else's."""

    freezer: Freezer
    suspender: Suspender
    clock: Clock
    lanes: Lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What became of the members, in their order: a job each, or the error that its begin raised.

    `problem` says why they do not share an instant, and is empty where they do; `trouble` which guests only the
    process outside can resume.
    """

    begun: tuple[Begun | Exception, ...]
    problem: str
    trouble: str


def begin_alone(freezer: Freezer, clock: Clock, ready: Ready) -> Begun:
    """One item by itself: its disks share one instant without any pause."""
    if ready.freeze:
        return quiesce.begin_frozen(freezer, clock, ready.domain, ready.begin)
    return ready.begin(), Quiet(application_consistent=False)


def begin_together(ports: GroupPorts, members: Sequence[Ready], mark: GroupMark) -> Meeting:
    """Begin the jobs of all members at one instant, which is `mark`.

    Every guest is resumed and thawed on return, or by the process outside that is armed for it; raises nothing of ours.
    """
    frozen = _frozen(ports, members)
    pause = _Pause(ports, [member.domain for member in members])
    try:
        problem = pause.begin()
        begun = _each(ports, lambda member: _begin(ports.clock, member), members)
        problem = problem or _first_error(members, begun) or pause.look()
    finally:
        trouble = pause.end()
        unconfirmed = _each(ports, Freeze.thaw, frozen)
    shared = Quiet(application_consistent=False, paused_seconds=pause.seconds, group=None if problem else mark)
    quiets = [shared] * len(members)
    for index, one in enumerate(frozen):
        seen = one.quiet(begun[index][1], unconfirmed[index])
        quiets[index] = replace(seen, paused_seconds=shared.paused_seconds, group=shared.group)
    found = [job if isinstance(job, Exception) else (job, quiet) for (job, _), quiet in zip(begun, quiets, strict=True)]
    return Meeting(begun=tuple(found), problem=problem, trouble=trouble)


def _frozen(ports: GroupPorts, members: Sequence[Ready]) -> list[Freeze]:
    """All guests are frozen, or none is: what one of them knows of another must be of one piece."""
    if not any(member.freeze for member in members):
        return []
    return _each(ports, lambda member: quiesce.freeze(ports.freezer, ports.clock, member.domain), members)


class _Pause:
    """The time in which the guests stand still."""

    def __init__(self, ports: GroupPorts, domains: Sequence[str]) -> None:
        self._ports = ports
        self._domains = domains
        self._armed: list[str] = []
        self._armed_at = self._paused_at = ports.clock.monotonic()
        self.seconds = 0.0

    def begin(self) -> str:
        """Arm all, then suspend all; why they do not all stand still, empty where they do."""
        armed = _each(self._ports, self._arm, self._domains)
        self._armed = [domain for domain, how in zip(self._domains, armed, strict=True) if how is True]
        self._paused_at = self._ports.clock.monotonic()
        problem = next((how for how in armed if isinstance(how, str)), "")
        if problem:
            return problem
        stopped = _each(self._ports, self._suspend, self._armed)
        return next((how for how in stopped if how), "") or self.look()

    def look(self) -> str:
        """Why not all guests stand still, or not for certain; empty where they do."""
        if self._ports.clock.monotonic() - self._armed_at >= PAUSE_SECONDS:
            return f"the checkpoints were not taken within {PAUSE_SECONDS:g} s"
        return next((how for how in _each(self._ports, self._look, self._domains) if how), "")

    def end(self) -> str:
        """Let all run again that ran before; which of them only the process outside can resume."""
        left = _each(self._ports, self._resume, self._armed)
        self.seconds = self._ports.clock.monotonic() - self._paused_at if self._armed else 0.0
        return "; ".join(how for how in left if how)

    def _arm(self, domain: str) -> bool | str:
        try:
            return self._ports.suspender.arm(domain, PAUSE_SECONDS)
        except DrillError as error:
            return f"{domain} cannot be paused: {error}"

    def _suspend(self, domain: str) -> str:
        try:
            self._ports.suspender.suspend(domain)
        except DrillError as error:
            return f"{domain} was not paused: {error}"
        return ""

    def _look(self, domain: str) -> str:
        try:
            stands = self._ports.suspender.is_suspended(domain)
        except DrillError as error:
            return f"nobody can say whether {domain} is paused: {error}"
        return "" if stands else f"{domain} does not stand still"

    def _resume(self, domain: str) -> str:
        try:
            self._ports.suspender.resume(domain)
            self._ports.suspender.disarm(domain)
        except DrillError as error:
            return f"{domain} is resumed from outside: {error}"
        return ""


def _begin(clock: Clock, member: Ready) -> tuple[BackupJob | Exception, float]:
    """A member's job and when it was there; what went wrong is raised in its own cycle, not in that of the others."""
    try:
        return member.begin(), clock.monotonic()
    except Exception as error:  # noqa: BLE001 - the member whose it is raises it
        return error, clock.monotonic()


def _first_error(members: Sequence[Ready], begun: Sequence[tuple[BackupJob | Exception, float]]) -> str:
    for member, (job, _) in zip(members, begun, strict=True):
        if isinstance(job, Exception):
            return f"{member.domain} has no checkpoint: {job}"
    return ""


def _each(ports: GroupPorts, work: Callable[[P], R], pieces: Sequence[P]) -> list[R]:
    return list(ports.lanes.ordered(work, pieces))
