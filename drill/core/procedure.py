"""Procedures: runbooks that decide and do not act.

A procedure is a generator.  It yields a `Command` and is sent its reply; it yields `Together` and is sent one reply
or error per branch; it yields a `Note` and a fact is written down.  It touches no clock, disk, network or random
source, so that the same code runs in production, under replay after a crash, and in a simulated world.

Errors arrive by `throw` at the `yield` that asked: `Failed`, `Unknown`, `Refused` and their like from
`drill.errors`, and `Cancelled` once at most, when the operator asked for it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from drill.errors import DrillError
from drill.model.command import Command
from drill.model.fact import Fact

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Note:
    """Write a fact into the run record."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Together:
    """Perform commands side by side, at most `limit` at a time; the reply is a list, one entry per command."""

    commands: tuple[Command[object], ...]
    limit: int


Ask = Command[object] | Together | Note
Procedure = Generator[Ask, object, R]


def ask(command: Command[R]) -> Procedure[R]:
    """One command; its reply, which the performer has checked against the type that the command names."""
    return cast("R", (yield cast("Command[object]", command)))


def note(*facts: Fact) -> Procedure[None]:
    """Write facts down."""
    for fact in facts:
        yield Note(fact)


def together(commands: Sequence[Command[R]], limit: int) -> Procedure[list[R | DrillError]]:
    """Commands side by side; an error stands in the place of its reply, none is raised."""
    if not commands:
        return []
    return cast("list[R | DrillError]", (yield Together(cast("tuple[Command[object], ...]", tuple(commands)), limit)))


def all_of(commands: Sequence[Command[R]], limit: int) -> Procedure[list[R]]:
    """Commands side by side; raises the first error once all of them have ended."""
    replies = yield from together(commands, limit)
    good: list[R] = []
    for reply in replies:
        if isinstance(reply, DrillError):
            raise reply
        good.append(reply)
    return good
