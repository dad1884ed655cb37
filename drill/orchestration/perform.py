"""Performs a procedure: commands out, replies in, each recorded before the procedure sees it.

The journal knows, for every position, the reply that was recorded there or that there is none yet.  A reply is an
envelope of plain JSON: the command's name and arguments, the outcome, the value or the error, the times, and whether
cancel had been asked for.  After a crash the same procedure is run again from its start and fed the same envelopes,
so it arrives where it stopped; a command whose effect happened but whose envelope was lost is performed once more,
and commands are written so that this is harmless.

Facts for the report (one `StepEnded` per command, and the procedure's own notes) come from the envelopes alone, so
that a replay produces the same facts in the same order; those that the record holds already are not written again.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from pydantic import TypeAdapter

from drill.core.procedure import Ask, Note, Procedure, Together
from drill.errors import Cancelled, Damaged, DrillError, Failed, Unknown, revive
from drill.model.command import Command
from drill.model.fact import Fact, Json, StepEnded
from drill.ports import Clock, Recorder, StepJournal

R = TypeVar("R")
_LOG = logging.getLogger(__name__)


class Act(Protocol):
    """Performs one command against the world; raises from `drill.errors`."""

    def __call__(self, command: Command[object]) -> object:
        """Perform it and return its reply."""
        ...


def _silent(fact: Fact) -> None:
    """No progress is shown."""
    del fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A recorded reply: `value` when it was done, `error_id` and `error_fields` when it failed or nobody knows."""

    command: str
    arguments: Json
    outcome: Literal["done", "failed", "unknown"]
    value: Json
    error_id: str
    error_fields: dict[str, Json]
    started_us: int
    ended_us: int
    cancel_asked: bool


_ENVELOPE: TypeAdapter[Envelope] = TypeAdapter(Envelope)
_ADAPTERS: dict[type, TypeAdapter[object]] = {}


@dataclass(slots=True)
class Performer:
    """One run of one procedure.  `cancel_asked` is read inside every step and recorded with it."""

    act: Act
    journal: StepJournal
    recorder: Recorder
    clock: Clock
    cancel_asked: Callable[[], bool]
    progress: Callable[[Fact], None] = _silent
    _facts: int = 0
    _cancelled: bool = False

    def perform(self, procedure: Procedure[R]) -> R:
        """Drive the procedure to its end and return its result; what it raises is raised here."""
        reply: object = None
        error: DrillError | None = None
        while True:
            try:
                asked = procedure.send(reply) if error is None else procedure.throw(error)
            except StopIteration as end:
                result: R = end.value
                return result
            reply, error = self._answer(asked)

    def _answer(self, asked: Ask) -> tuple[object, DrillError | None]:
        """What the procedure is sent next, or the error that is thrown into it."""
        if isinstance(asked, Note):
            self._write(asked.fact)
            return None, None
        branches = asked if isinstance(asked, Together) else Together((asked,), 1)
        envelopes = self._together(branches)
        cancelled = self._cancellation(branches.commands, envelopes)
        if cancelled is not None:
            return None, cancelled
        replies = [_unpack(one, envelope) for one, envelope in zip(branches.commands, envelopes, strict=True)]
        if isinstance(asked, Together):
            return replies, None
        return (None, replies[0]) if isinstance(replies[0], DrillError) else (replies[0], None)

    def _cancellation(self, commands: Sequence[Command[object]], envelopes: Sequence[Envelope]) -> Cancelled | None:
        """The one `Cancelled` of a run, at the first step whose envelope says that cancel had been asked for."""
        forward = not any(one.undoes for one in commands)
        if self._cancelled or not forward or not any(one.cancel_asked for one in envelopes):
            return None
        self._cancelled = True
        return Cancelled(action=commands[0].title)

    def _together(self, asked: Together) -> list[Envelope]:
        """Reserve every position first, in order, then run the branches side by side (a crash repeats only the
        unfinished ones)."""
        steps = [self.journal.reserve(type(one).__name__) for one in asked.commands]
        if len(steps) == 1:
            texts = [steps[0](lambda: self._body(asked.commands[0]))]
        else:
            with ThreadPoolExecutor(max_workers=min(asked.limit, len(steps))) as pool:
                futures = [
                    pool.submit(contextvars.copy_context().run, step, lambda one=one: self._body(one))
                    for step, one in zip(steps, asked.commands, strict=True)
                ]
                texts = [future.result() for future in futures]
        envelopes = [_ENVELOPE.validate_json(text) for text in texts]
        for command, envelope in zip(asked.commands, envelopes, strict=True):
            _compare(command, envelope)
            self._write(_step(command, envelope))
        return envelopes

    def _body(self, command: Command[object]) -> str:
        """Perform one command; never raises, so that every outcome is recorded."""
        started = self.clock.now_us()
        value: Json = None
        outcome: Literal["done", "failed", "unknown"] = "done"
        error_id = ""
        error_fields: dict[str, Json] = {}
        try:
            value = _adapter(command.reply).dump_python(self.act(command), mode="json")
        except DrillError as error:
            outcome = "unknown" if isinstance(error, Unknown) else "failed"
            error_id, error_fields = error.id, dict(vars(error))
        except Exception as error:  # noqa: BLE001 - the interpreter's edge: a defect must not lose the cleanup
            _LOG.exception("step %s broke", type(command).__name__)
            outcome = "unknown"
            error_id, error_fields = "Unknown", {"action": command.title, "cause": f"{type(error).__name__}: {error}"}
        envelope = Envelope(
            command=type(command).__name__,
            arguments=_arguments(command),
            outcome=outcome,
            value=value,
            error_id=error_id,
            error_fields=error_fields,
            started_us=started,
            ended_us=self.clock.now_us(),
            cancel_asked=self.cancel_asked(),
        )
        return _ENVELOPE.dump_json(envelope).decode()

    def _write(self, fact: Fact) -> None:
        if self._facts >= self.recorder.written():
            self.recorder.append(fact)
            self.progress(fact)
        self._facts += 1


def _adapter(kind: object) -> TypeAdapter[object]:
    if not isinstance(kind, type):
        raise TypeError(f"{kind!r} is no type")
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _arguments(command: Command[object]) -> Json:
    arguments: Json = _adapter(type(command)).dump_python(command, mode="json")
    return arguments


def _compare(command: Command[object], envelope: Envelope) -> None:
    """The record must be this very command, arguments included; the journal itself only notices a changed name."""
    if (envelope.command, envelope.arguments) != (type(command).__name__, _arguments(command)):
        raise Damaged(
            what="the step journal",
            problem=f"it holds {envelope.command} {envelope.arguments} where the procedure now asks for "
            f"{type(command).__name__} {_arguments(command)}; another version of drill wrote it",
        )


def _unpack(command: Command[object], envelope: Envelope) -> object:
    """The reply as a value of the command's type, live or replayed alike; an error as its class."""
    if envelope.outcome == "done":
        return _adapter(command.reply).validate_python(envelope.value, strict=False)
    return revive(envelope.error_id, envelope.error_fields) or Failed(action=command.title, cause=envelope.error_id)


def _step(command: Command[object], envelope: Envelope) -> StepEnded:
    name = f"{command.title} {getattr(command, 'check', '') or getattr(command, 'host', '')}".strip()
    error = None if envelope.outcome == "done" else revive(envelope.error_id, envelope.error_fields)
    return StepEnded(
        started_us=envelope.started_us,
        ended_us=envelope.ended_us,
        vm=command.vm,
        step=name,
        outcome=envelope.outcome,
        detail=str(error) if error else "",
    )
