"""Which versions drill was tested with (spec A7); checked before a server registers, and printed in the guide.

A component has the oldest version that has all that drill needs, and the newest that the suite ran on.  Older is
refused.  Newer is accepted and said: nobody has seen it fail, and nobody has seen it pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from drill.errors import Refused
from drill.model.vault import SeenVersion

_NUMBERS: Final = re.compile(r"(\d{1,6})((?:\.\d{1,6}){0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One row: `needed_for` says what an older version lacks."""

    component: str
    oldest: str
    newest: str
    needed_for: str


MATRIX: Final = (
    Tested(
        component="libvirt", oldest="8.0", newest="9.0", needed_for="checkpoints with a backup mode per disk, tb-cache"
    ),
    Tested(component="qemu", oldest="6.2", newest="7.2", needed_for="persistent dirty bitmaps over NBD"),
    Tested(
        component="guest agent", oldest="6.2", newest="7.2", needed_for="freeze, thaw and addresses per network card"
    ),
    Tested(component="kernel", oldest="5.15", newest="6.1", needed_for="bridge filters of nftables, VXLAN"),
)
"""Debian 12 is what the suite runs on; Ubuntu 22.04 has the oldest versions that are supported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFinding:
    """What is to be said of a version that was seen; `is_refused` when it is older than the oldest tested one."""

    seen: SeenVersion
    is_refused: bool
    text: str


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, `6.1.0-18-amd64` being (6, 1, 0); empty where it begins with none."""
    found = _NUMBERS.match(version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def judge(seen: Iterable[SeenVersion], matrix: Iterable[Tested] = MATRIX) -> tuple[VersionFinding, ...]:
    """What is wrong or unproven, by place and component; empty when everything seen is within the table."""
    rows = {row.component: row for row in matrix}
    ordered = sorted(seen, key=lambda one: (one.place, one.component))
    return tuple(finding for one in ordered if (finding := _judged(one, rows.get(one.component))) is not None)


def check(seen: Iterable[SeenVersion]) -> tuple[str, ...]:
    """Sentences about versions newer than the tested ones; Refused (A7), naming all, when one is too old or unknown."""
    findings = judge(seen)
    refused = [finding.text for finding in findings if finding.is_refused]
    if refused:
        raise Refused("; ".join(refused), "A7", "upgrade what is named, then register again")
    return tuple(finding.text for finding in findings)


def _judged(seen: SeenVersion, row: Tested | None) -> VersionFinding | None:
    named = f"{seen.place}: {seen.component} {seen.version[:40]}"
    if row is None:
        return VersionFinding(seen=seen, is_refused=True, text=f"{named} is not in the table of tested versions")
    found, oldest, newest = numbers(seen.version), numbers(row.oldest), numbers(row.newest)
    if not found:
        return VersionFinding(seen=seen, is_refused=True, text=f"{named} is no version")
    if found < oldest:
        text = f"{named} is older than {row.oldest}, the oldest that has {row.needed_for}"
        return VersionFinding(seen=seen, is_refused=True, text=text)
    if found[: len(newest)] > newest:
        text = f"{named} is newer than {row.newest}, the newest that was tested"
        return VersionFinding(seen=seen, is_refused=False, text=text)
    return None
