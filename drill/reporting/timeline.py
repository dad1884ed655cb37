"""The timeline of a run: one lane per machine, laid out here and drawn by the template as SVG.

Steps of one lane that overlap are stacked in rows.  The chain that set the RTO is found backwards from the last
answer of a service: before each step goes the one that had ended last when it began.  Lengths are in user units of a
drawing that is `WIDTH` wide; times are seconds after the incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from drill.core import objectives
from drill.model.fact import Fact, IncidentDeclared, RunStarted, ServiceAnswered, StepEnded
from drill.reporting import figures

WIDTH: Final = 1000.0
LABEL: Final = 92.0  # the column of names
PLOT: Final = WIDTH - LABEL - 8
ROW: Final = 22.0
GAP: Final = 10.0
TOP: Final = 44.0
TOLERANCE_US: Final = 50_000  # between the end of a step and the start of what waited for it
ROWS_MAX: Final = 12
CLEAR: Final = 18.0  # between a mark and the caption of a tick
WORTH_TELLING: Final = 0.03  # of the RTO: a step of the chain that is named
_LETTER: Final = 6.0  # the width of a letter of a bar's label


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A step as it is drawn; `label` is empty where it would not fit."""

    x: float
    y: float
    width: float
    label: str
    title: str
    kind: str
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The steps of one machine, or of the whole run."""

    name: str
    y: float
    height: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A vertical line with its caption; `anchor` is where the caption's text begins: start or end."""

    x: float
    caption: str
    kind: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step as a line of the table that says the same as the drawing."""

    vm: str
    step: str
    begins: str
    took: str
    outcome: str
    detail: str
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything the template draws; `chain` is what set the RTO, its longer steps in their order.

    `rest` is what it says of the shorter ones, "" when there are none.
    """

    height: float
    lanes: tuple[Lane, ...]
    ticks: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    rows: tuple[Row, ...]
    chain: tuple[Row, ...]
    rest: str


def build(facts: tuple[Fact, ...]) -> Timeline | None:
    """The timeline, None where no step is on record."""
    steps = sorted(
        (fact for fact in facts if isinstance(fact, StepEnded)), key=lambda one: (one.started_us, one.ended_us, one.vm)
    )
    if not steps:
        return None
    zero_us = _zero(facts, steps)
    end_us = _answered(facts)
    critical = chain(steps, zero_us, end_us) if end_us is not None else ()
    first_us = min(zero_us, *(one.started_us for one in steps))
    scale = _Scale(first_us, max(zero_us + 1, *(one.ended_us for one in steps)))
    marked = frozenset(map(id, critical))
    marks = _marks(scale, zero_us, end_us)
    long = [one for one in critical if one.ended_us - one.started_us >= WORTH_TELLING * ((end_us or 0) - zero_us)]
    order = ("", *objectives.machines(facts))
    lanes, height = _lanes(sorted(steps, key=partial(_place, order)), marked, scale, zero_us)
    rows = {id(one): _row(one, zero_us, id(one) in marked) for one in steps}
    return Timeline(
        height=height,
        lanes=lanes,
        ticks=_ticks(scale, zero_us, marks),
        marks=marks,
        rows=tuple(rows.values()),
        chain=tuple(rows[id(one)] for one in long),
        rest=_rest([one for one in critical if one not in long]),
    )


def chain(steps: Sequence[StepEnded], zero_us: int, end_us: int) -> tuple[StepEnded, ...]:
    """The steps that set the RTO, in their order: each began when the one before it had ended."""
    found: list[StepEnded] = []
    limit_us = end_us
    while True:
        before = [
            one
            for one in steps
            if one.started_us < one.ended_us <= limit_us + TOLERANCE_US
            and one.ended_us > zero_us
            and (not found or one.started_us < found[-1].started_us)
        ]
        if not before:
            return tuple(reversed(found))
        # Of two that ended together, the one of the same machine.
        vm = found[-1].vm if found else ""
        found.append(max(before, key=lambda one: (one.ended_us, one.vm == vm, -one.started_us)))
        limit_us = found[-1].started_us


@dataclass(frozen=True, slots=True)
class _Scale:
    first_us: int
    last_us: int

    def x(self, at_us: int) -> float:
        span = max(1, self.last_us - self.first_us)
        return round(LABEL + PLOT * (at_us - self.first_us) / span, 2)


def _zero(facts: Iterable[Fact], steps: Sequence[StepEnded]) -> int:
    """The incident, else the beginning of the run, else the first step."""
    incidents = [fact.at_us for fact in facts if isinstance(fact, IncidentDeclared)]
    starts = [fact.at_us for fact in facts if isinstance(fact, RunStarted)]
    return min(incidents or starts or [steps[0].started_us])


def _answered(facts: Iterable[Fact]) -> int | None:
    """When the last service had answered."""
    first: dict[tuple[str, str], int] = {}
    for fact in facts:
        if isinstance(fact, ServiceAnswered):
            first.setdefault((fact.vm, fact.service), fact.at_us)
    return max(first.values(), default=None)


def _lanes(
    steps: Sequence[StepEnded], marked: frozenset[int], scale: _Scale, zero_us: int
) -> tuple[tuple[Lane, ...], float]:
    lanes: list[Lane] = []
    top = TOP
    for name in dict.fromkeys(one.vm for one in steps):
        own = [one for one in steps if one.vm == name]
        placed, rows = _stacked(own)
        bars = tuple(_bar(one, top + row * ROW, scale, zero_us, id(one) in marked) for one, row in placed)
        height = rows * ROW
        lanes.append(Lane(name=name or "the run", y=top, height=height, bars=bars))
        top += height + GAP
    return tuple(lanes), top + 4


def _place(order: tuple[str, ...], one: StepEnded) -> int:
    """The whole run first, then the machines in their order; a machine that no other fact names comes last."""
    return order.index(one.vm) if one.vm in order else len(order)


def _rest(short: Sequence[StepEnded]) -> str:
    took = figures.duration(sum(one.ended_us - one.started_us for one in short) / 1e6)
    return f"and {figures.count(len(short), 'shorter step')}, {took} in all" if short else ""


def _stacked(steps: Sequence[StepEnded]) -> tuple[list[tuple[StepEnded, int]], int]:
    """Each step with its row, so that none covers another; the rows beyond the most share the last one."""
    ends: list[int] = []
    placed: list[tuple[StepEnded, int]] = []
    for one in steps:
        free = next((row for row, end_us in enumerate(ends) if end_us <= one.started_us), len(ends))
        row = min(free, ROWS_MAX - 1)
        if row == len(ends):
            ends.append(one.ended_us)
        ends[row] = max(ends[row], one.ended_us)
        placed.append((one, row))
    return placed, len(ends)


def _bar(one: StepEnded, y: float, scale: _Scale, zero_us: int, critical: bool) -> Bar:
    x = scale.x(one.started_us)
    width = max(2.0, round(scale.x(max(one.started_us, one.ended_us)) - x - 1, 2))
    took = figures.duration((one.ended_us - one.started_us) / 1e6)
    begins = figures.duration((one.started_us - zero_us) / 1e6)
    return Bar(
        x=x,
        y=y,
        width=width,
        label=one.step if len(one.step) * _LETTER + 10 <= width else "",
        title=f"{one.vm or 'the run'}: {one.step}, {took}, begun at {begins}, {one.outcome}",
        kind=_kind(one),
        critical=critical,
    )


def _kind(one: StepEnded) -> str:
    """How a bar is coloured: what went wrong first, else what the step is about."""
    if one.outcome != "done":
        return "bad"
    if one.step.startswith(("remove", "unguard", "clean")):
        return "away"
    return "look" if one.step.startswith(("check", "probe", "take", "look", "ask", "read")) else "make"


def _ticks(scale: _Scale, zero_us: int, marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """At most about ten lines at round seconds; a caption that a mark would cross is left out."""
    span = (scale.last_us - scale.first_us) / 1e6
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
    step = next((one for one in steps if span / one <= 10), span / 10)
    ticks: list[Mark] = []
    number = -int((zero_us - scale.first_us) / 1e6 / step)
    while zero_us + number * step * 1e6 <= scale.last_us:
        x = scale.x(zero_us + round(number * step * 1e6))
        crossed = any(abs(x - mark.x) < CLEAR for mark in marks)
        caption = "" if crossed else figures.plain_seconds(round(number * step, 1))
        ticks.append(Mark(x=x, caption=caption, kind="tick"))
        number += 1
    return tuple(ticks)


def _marks(scale: _Scale, zero_us: int, end_us: int | None) -> tuple[Mark, ...]:
    marks = [Mark(x=scale.x(zero_us), caption="incident", kind="incident")]
    if end_us is not None and scale.first_us <= end_us <= scale.last_us:
        took = figures.duration((end_us - zero_us) / 1e6)
        x = scale.x(end_us)
        anchor = "end" if x > LABEL + PLOT * 0.8 else "start"
        marks.append(Mark(x=x, caption=f"service back after {took}", kind="service", anchor=anchor))
    return tuple(marks)


def _row(one: StepEnded, zero_us: int, critical: bool) -> Row:
    return Row(
        vm=one.vm,
        step=one.step,
        begins=figures.duration((one.started_us - zero_us) / 1e6),
        took=figures.duration((one.ended_us - one.started_us) / 1e6),
        outcome=one.outcome,
        detail=one.detail,
        critical=critical,
    )
