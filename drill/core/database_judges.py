"""The rules of the checks that look into a recovered database; shapes as in docs/checks.md."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from drill.core.judgement import Judgement, fails, few, passes, unproven
from drill.core.shapes import Unreadable, by_key, count, fields, flag, rows, some, text
from drill.model import rows as model
from drill.model.fact import Json, Observed
from drill.model.rows import Ranges
from drill.model.verdict import Outcome

DAMAGED = 2
"""The exit code by which pg_amcheck says that it found damage; 1 is for what kept it from looking."""
SQL_FAILED = 1
"""The exit code by which psql says that the database refused a query; 2 is for a connection that was lost."""


def database(seen: Observed) -> Judgement:
    """Every database comes up and its own checker finds no damage in its heaps and indexes."""
    owed = some(fields(seen.expected, "databases", where="expected")[0], "expected.databases", text)
    found = by_key(
        rows(fields(seen.observed, "databases", where="observed")[0], "observed.databases", _examined), "databases"
    )
    if dead := [f"{name} does not come up{_said(one.said)}" for name, one in found.items() if not one.answers]:
        return fails("; ".join(dead))
    if damaged := [f"{name} is damaged{_said(one.said)}" for name, one in found.items() if one.exit_code == DAMAGED]:
        return fails("; ".join(damaged))
    if missing := sorted(set(owed) - found.keys()):
        return unproven(f"not looked at: {few(missing)}")
    if unread := [f"{name} was not examined{_said(one.said)}" for name, one in found.items() if one.exit_code != 0]:
        return unproven("; ".join(unread))
    return passes(f"{few(sorted(found))} came up, heaps and indexes whole")


def database_rows(seen: Observed) -> Judgement:
    """In every table: rows acknowledged before the backup began ⊆ the replica's ⊆ rows sent before it had begun."""
    bounds = by_key(some(fields(seen.expected, "tables", where="expected")[0], "expected.tables", _bounds), "expected")
    found = by_key(rows(fields(seen.observed, "tables", where="observed")[0], "observed.tables", _read), "observed")
    if strangers := sorted(found.keys() - bounds.keys()):
        raise Unreadable(f"nothing was expected of {few(strangers)}")
    if missing := sorted(bounds.keys() - found.keys()):
        return unproven(f"not read: {few(missing)}")
    judged = [_table(name, bounds[name], found[name]) for name in sorted(bounds)]
    for outcome in (Outcome.FAIL, Outcome.UNKNOWN):
        if reasons := [reason for one, reason in judged if one is outcome]:
            return outcome, "; ".join(reasons)
    return passes("; ".join(reason for _, reason in judged))


def rows_lost(seen: Observed) -> int:
    """How many of the rows that were acknowledged when the incident was declared the replica lacks.

    Raises Unreadable where the observation does not say.
    """
    bounds = by_key(some(fields(seen.expected, "tables", where="expected")[0], "expected.tables", _bounds), "expected")
    found = by_key(rows(fields(seen.observed, "tables", where="observed")[0], "observed.tables", _read), "observed")
    lost = 0
    for name, bound in bounds.items():
        if name not in found or found[name].exit_code != 0:
            raise Unreadable(f"{name} was not read")
        lost += model.count(model.minus(bound.acknowledged_at_incident, found[name].rows))
    return lost


@dataclass(frozen=True, slots=True)
class _Examined:
    """A database as it was found; `exit_code` is pg_amcheck's, None where the database did not answer."""

    answers: bool
    exit_code: int | None
    said: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A table as it was read; `exit_code` is psql's."""

    exit_code: int
    rows: Ranges
    said: str


def _table(name: str, bound: model.RowBounds, read: _Read) -> Judgement:
    """One table against its bounds."""
    if read.exit_code == SQL_FAILED:
        return fails(f"{name} cannot be read{_said(read.said)}")
    if read.exit_code != 0:
        return unproven(f"{name} was not read{_said(read.said)}")
    if model.minus(bound.acknowledged_before, bound.sent_before):
        return unproven(f"{name}: rows acknowledged that were not sent: the bounds prove nothing")
    if defect := _defect(bound, read.rows):
        return fails(f"{name} {defect}")
    if not bound.acknowledged_before:
        return unproven(f"{name}: no row was acknowledged before the point, so none could be missed")
    least, most = model.count(bound.acknowledged_before), model.count(bound.sent_before)
    return passes(f"{name} holds {model.count(read.rows)} rows: all {least} acknowledged, none but the {most} sent")


def _defect(bound: model.RowBounds, held: Ranges) -> str:
    """What is wrong with the rows of a table, or ""."""
    if any(later[0] <= earlier[1] for earlier, later in pairwise(held)):
        return "holds a row twice"
    if phantom := model.minus(held, bound.sent_before):
        return f"holds {_rows(phantom)}, not sent before the point: the point is not what it says"
    if lost := model.minus(bound.acknowledged_before, held):
        return f"lacks {_rows(lost)}, acknowledged before the point: rows are lost"
    return ""


def _rows(some: Ranges) -> str:
    """A number of rows, and which."""
    named = [str(first) if first == last else f"{first} to {last}" for first, last in some]
    many = model.count(some)
    return f"{many} {'row' if many == 1 else 'rows'} ({few(named, 4)})"


def _said(text_of_tool: str) -> str:
    return f": {' '.join(text_of_tool.split())[:200]}" if text_of_tool.strip() else ""


def _examined(value: Json, where: str) -> tuple[str, _Examined]:
    name, answers, exit_code, said = fields(value, "name", "answers", "exit_code", "said", where=where)
    alive = flag(answers, where)
    if alive == (exit_code is None):
        raise Unreadable(f"{where}.exit_code does not fit {where}.answers")
    code = None if exit_code is None else count(exit_code, where)
    return text(name, where), _Examined(alive, code, _words(said, where))


def _read(value: Json, where: str) -> tuple[str, _Read]:
    name, exit_code, held, said = fields(value, "name", "exit_code", "rows", "said", where=where)
    return text(name, where), _Read(count(exit_code, where), _ranges(held, where), _words(said, where))


def _bounds(value: Json, where: str) -> tuple[str, model.RowBounds]:
    keys = ("acknowledged_before", "sent_before", "acknowledged_at_incident")
    name, *sets = fields(value, "name", *keys, where=where)
    acknowledged, sent, promised = (_ascending(one, where) for one in sets)
    return text(name, where), model.RowBounds(
        acknowledged_before=acknowledged, sent_before=sent, acknowledged_at_incident=promised
    )


def _ascending(value: Json, where: str) -> Ranges:
    """Ranges that are a set."""
    found = _ranges(value, where)
    if any(later[0] <= earlier[1] for earlier, later in pairwise(found)):
        raise Unreadable(f"{where} names a row twice")
    return found


def _ranges(value: Json, where: str) -> Ranges:
    """`[[first, last], …]` in order; those of a broken table may overlap."""
    found = tuple(rows(value, where, _range))
    if list(found) != sorted(found):
        raise Unreadable(f"{where} is not in order")
    return found


def _range(value: Json, where: str) -> tuple[int, int]:
    pair = rows(value, where, count)
    if len(pair) != 2 or pair[0] > pair[1]:
        raise Unreadable(f"{where} is no range of rows")
    return pair[0], pair[1]


def _words(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{where} is not a text")
    return value
