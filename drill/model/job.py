"""A job: any long action, with its steps, progress, times, what it waits for, its outcome and the cause (spec I4).

Times are microseconds since the epoch, UTC.  What a job does is elsewhere; this is what is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """How far a job is.  WAITING is for a person; the last four are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self in {JobState.DONE, JobState.FAILED, JobState.UNKNOWN, JobState.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a job did not end well: the error's stable id, its sentence, what to do."""

    error: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep:
    """One step of a job, known by its name; `done` of `total` in `unit`, total 0 while nobody knows."""

    name: str
    state: JobState
    started_us: int | None = None
    ended_us: int | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a job waits for; who answered it, when, and with what words (spec K9)."""

    number: int
    text: str
    asked_us: int
    answer: str = ""
    answered_by: str = ""
    answered_us: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job and everything known of it; `subject` is what it acts on, such as `plan shop`."""

    id: str
    action: str
    subject: str
    actor: str
    state: JobState
    created_us: int
    started_us: int | None = None
    ended_us: int | None = None
    cause: Cause | None = None
    steps: tuple[JobStep, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def waits_for(self) -> Question | None:
        """The question that nobody has answered yet."""
        return next((one for one in self.questions if one.answered_us is None), None)
