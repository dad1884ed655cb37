"""Which versions drill was tested with (spec A7); checked before a server registers, and printed in the guide.

A component has the oldest version that has all that drill needs, and the newest that the suite ran on.  Older refuses.
Newer is named and accepted: nobody has seen it fail, and nobody has seen it pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from drill.errors import Refused
from drill.model.finding import Finding
from drill.model.vault import SeenVersion

_NUMBERS: Final = re.compile(r"\d{1,6}(?:\.\d{1,6}){0,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One row; `needed_for` says what an older version lacks."""

    component: str
    oldest: str
    newest: str
    needed_for: str


MATRIX: Final = (
    Tested(component="libvirt", oldest="8.0", newest="9.0", needed_for="a backup mode per disk, and tb-cache"),
    Tested(component="qemu", oldest="6.2", newest="7.2", needed_for="dirty bitmaps over NBD that stay"),
    Tested(component="agent", oldest="6.2", newest="7.2", needed_for="freeze, thaw and the addresses of cards"),
    Tested(component="kernel", oldest="5.15", newest="6.1", needed_for="filters at bridges, VXLAN"),
)
"""Debian 12 is what the suite runs on; Ubuntu 22.04 has the oldest versions that are supported."""


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, `6.1.0-18-amd64` being (6, 1, 0); empty where it begins with none."""
    found = _NUMBERS.match(version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def judge(seen: Iterable[SeenVersion]) -> tuple[Finding, ...]:
    """What the table does not have, by place and component; `refuses` unless it is newer than what was tested."""
    rows = {row.component: row for row in MATRIX}
    ordered = sorted(seen, key=lambda one: (one.place, one.component))
    return tuple(finding for one in ordered if (finding := _judged(one, rows.get(one.component))) is not None)


def check(seen: Iterable[SeenVersion]) -> tuple[str, ...]:
    """Sentences about versions newer than the tested ones; Refused (A7), naming all, when one is too old or unknown."""
    findings = judge(seen)
    refusing = [one for one in findings if one.refuses]
    if refusing:
        reason = "; ".join(f"{one.name}: {one.problem}" for one in refusing)
        raise Refused(reason, "A7", "; ".join(f"{one.name}: {one.remedy}" for one in refusing))
    return tuple(f"{one.name}: {one.problem}" for one in findings)


def _judged(seen: SeenVersion, row: Tested | None) -> Finding | None:
    if row is None:
        return _finding(seen, "is not in the table of tested versions", "look at the table: drill vault versions")
    found, oldest, newest = numbers(seen.version), numbers(row.oldest), numbers(row.newest)
    cure = f"install {row.component} {row.newest}"
    if not found:
        return _finding(seen, f"is of an unknown version {seen.version[:40]}".rstrip(), cure)
    if found < oldest:
        return _finding(seen, f"is {seen.version[:40]}, and needs {row.oldest} for {row.needed_for}", cure)
    if found[: len(newest)] > newest:
        problem = f"is {seen.version[:40]}, newer than {row.newest}, the newest that was tested"
        return _finding(seen, problem, cure, refuses=False)
    return None


def _finding(seen: SeenVersion, problem: str, cure: str, *, refuses: bool = True) -> Finding:
    told = f"{seen.component[:40]} {problem}"
    return Finding(rule="A7", kind="host", name=seen.place, problem=told, remedy=cure, refuses=refuses)
