"""Records of jobs (spec I4): what is known of every long action, for whoever asks and for as long as it is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from drill.errors import Refused, Usage
from drill.model.job import Cause, Job, JobState, JobStep, Question
from drill.vault.book import Book, Change
from drill.vault.schema import job_questions, job_steps, jobs

Row = sa.Row[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class JobRecords:
    """The port `JobRecords` over the vault's database."""

    book: Book

    def begin(self, id: str, action: str, subject: str, steps: Sequence[str] = ()) -> None:
        """A job is there and runs; one that is there already stays as it is."""
        with self.book.writing() as change:
            if _state(change.connection, id) is not None:
                return
            begun = {"created_us": change.now_us, "started_us": change.now_us, "state": JobState.RUNNING.value}
            told = {"id": id, "action": action, "subject": subject, "actor": self.book.actor}
            none = {"cause": "", "cause_message": "", "cause_remedy": ""}
            change.connection.execute(jobs.insert().values(**told, **begun, **none))
            for name in steps:
                _put_step(change, id, JobStep(name=name, state=JobState.QUEUED))

    def step(self, job: str, step: JobStep) -> None:
        """How far a step is; of a job that ended nothing is changed any more."""
        with self.book.writing() as change:
            if not _known(change.connection, job).is_end:
                _put_step(change, job, step)

    def ask(self, job: str, text: str) -> int:
        """The job waits for a person; the question's number."""
        with self.book.writing() as change:
            state = _known(change.connection, job)
            asked = _questions(change.connection, (job,))[job]
            open_ = next((one for one in asked if one.text == text and one.answered_us is None), None)
            if open_ is not None:
                return open_.number
            if state.is_end:
                raise Refused(f"job {job} has ended: {state.value}")
            row = {"job": job, "number": len(asked) + 1, "text": text, "asked_us": change.now_us}
            change.connection.execute(job_questions.insert().values(**row, answer="", answered_by="", note=""))
            _set_state(change, job, JobState.WAITING)
            return len(asked) + 1

    def answer(self, job: str, number: int, answer: str, *, by: str, note: str = "") -> None:
        """A person answered; the same answer again is harmless."""
        with self.book.change("answer", f"job {job}") as change:
            asked = {one.number: one for one in _questions(change.connection, (job,))[job]}
            if number not in asked:
                raise Usage(f"job {job[:80]!r} asks no question {number}", "see: drill jobs show")
            known = asked[number]
            if known.answered_us is not None and known.answer != answer:
                raise Refused(f"job {job}: {known.answered_by} answered {known.answer!r} already")
            if known.answered_us is not None:
                change.note("it was answered so already")
                return
            table = job_questions
            row = sa.update(table).where(table.c.job == job, table.c.number == number)
            said = {"answer": answer, "answered_by": by, "answered_us": change.now_us, "note": note}
            change.connection.execute(row.values(**said))
            if all(one.answered_us is not None for one in asked.values() if one.number != number):
                _set_state(change, job, JobState.RUNNING)
            change.note(f"question {number}: {answer}, by {by}")

    def end(self, job: str, state: JobState, cause: Cause | None = None) -> None:
        """The job ended; what it ended with first stays."""
        if not state.is_end:
            raise ValueError(f"{state.value} is no end")
        with self.book.change("end", f"job {job}") as change:
            if _known(change.connection, job).is_end:
                change.note("it had ended already")
                return
            said = {"state": state.value, "ended_us": change.now_us}
            if cause is not None:
                said |= {"cause": cause.error, "cause_message": cause.message, "cause_remedy": cause.remedy}
            change.connection.execute(sa.update(jobs).where(jobs.c.id == job).values(**said))
            change.note(state.value)

    def job(self, id: str) -> Job:
        """All of one job; Usage when there is none."""
        with self.book.reading() as connection:
            found = connection.execute(sa.select(jobs).where(jobs.c.id == id)).all()
            if not found:
                raise Usage(f"there is no job {id[:80]!r}", "see: drill jobs list")
            return _jobs(connection, found)[0]

    def jobs(self, *, waiting: bool = False, limit: int = 1000) -> tuple[Job, ...]:
        """The newest jobs, newest first; with `waiting` those that wait for a person."""
        wanted = sa.select(jobs).order_by(jobs.c.created_us.desc(), jobs.c.id.desc()).limit(limit)
        if waiting:
            wanted = wanted.where(jobs.c.state == JobState.WAITING.value)
        with self.book.reading() as connection:
            return _jobs(connection, connection.execute(wanted).all())

    def forget(self, before_us: int) -> int:
        """Take away jobs that ended before an instant; how many."""
        with self.book.change("forget", "jobs") as change:
            ended = jobs.c.ended_us.is_not(None) & (jobs.c.ended_us < before_us)
            count = change.connection.execute(sa.delete(jobs).where(ended)).rowcount
            change.note(f"{count} jobs that ended before {before_us}")
            return count


def _state(connection: sa.Connection, job: str) -> JobState | None:
    found = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == job)).scalar_one_or_none()
    return JobState(found) if found is not None else None


def _known(connection: sa.Connection, job: str) -> JobState:
    state = _state(connection, job)
    if state is None:
        raise Usage(f"there is no job {job[:80]!r}", "see: drill jobs list")
    return state


def _set_state(change: Change, job: str, state: JobState) -> None:
    change.connection.execute(sa.update(jobs).where(jobs.c.id == job).values(state=state.value))


def _put_step(change: Change, job: str, step: JobStep) -> None:
    connection, table = change.connection, job_steps
    same = (table.c.job == job) & (table.c.name == step.name)
    values = {
        "state": step.state.value,
        "started_us": step.started_us,
        "ended_us": step.ended_us,
        "done": step.done,
        "total": step.total,
        "unit": step.unit,
        "detail": step.detail,
    }
    if connection.execute(sa.update(table).where(same).values(**values)).rowcount:
        return
    last = sa.select(sa.func.coalesce(sa.func.max(table.c.position), 0)).where(table.c.job == job)
    position = connection.execute(last).scalar_one() + 1
    connection.execute(table.insert().values(job=job, position=position, name=step.name, **values))


def _jobs(connection: sa.Connection, found: Sequence[Row]) -> tuple[Job, ...]:
    names = [str(row.id) for row in found]
    steps, questions = _steps(connection, names), _questions(connection, names)
    return tuple(_job(row, steps[row.id], questions[row.id]) for row in found)


def _steps(connection: sa.Connection, names: Iterable[str]) -> dict[str, list[JobStep]]:
    found: dict[str, list[JobStep]] = defaultdict(list)
    wanted = sa.select(job_steps).where(job_steps.c.job.in_(tuple(names))).order_by(job_steps.c.position)
    for row in connection.execute(wanted):
        step = JobStep(
            name=row.name,
            state=JobState(row.state),
            started_us=row.started_us,
            ended_us=row.ended_us,
            done=row.done,
            total=row.total,
            unit=row.unit,
            detail=row.detail,
        )
        found[row.job].append(step)
    return found


def _questions(connection: sa.Connection, names: Iterable[str]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = defaultdict(list)
    table = job_questions
    for row in connection.execute(sa.select(table).where(table.c.job.in_(tuple(names))).order_by(table.c.number)):
        question = Question(
            number=row.number,
            text=row.text,
            asked_us=row.asked_us,
            answer=row.answer,
            answered_by=row.answered_by,
            answered_us=row.answered_us,
            note=row.note,
        )
        found[row.job].append(question)
    return found


def _job(row: Row, steps: list[JobStep], questions: list[Question]) -> Job:
    cause = Cause(error=row.cause, message=row.cause_message, remedy=row.cause_remedy) if row.cause else None
    return Job(
        id=row.id,
        action=row.action,
        subject=row.subject,
        actor=row.actor,
        state=JobState(row.state),
        created_us=row.created_us,
        started_us=row.started_us,
        ended_us=row.ended_us,
        cause=cause,
        steps=tuple(steps),
        questions=tuple(questions),
    )
