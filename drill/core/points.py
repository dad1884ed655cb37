"""Choosing a recovery point (spec L9)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from drill.errors import Refused, Usage
from drill.model.point import Point

LATEST = "latest"
_EXACT = re.compile(r"([A-Za-z0-9-]+)/([0-9]+)")


def choose(points: Sequence[Point], choice: str, name: str) -> Point:
    """The point that `choice` means: `latest`, or `EPOCH/SEQUENCE`.

    `points` stand oldest first.  Raises Refused when the item has no point yet, Usage for a choice that names none.
    """
    if not points:
        raise Refused(
            reason=f"{name} has no recovery point yet",
            rule="K3",
            cure=f"wait for its initial replication, or run: drill cycle {name}",
        )
    if choice == LATEST:
        return points[-1]
    exact = _EXACT.fullmatch(choice)
    found = [one for one in points if exact and (one.epoch, one.sequence) == (exact[1], int(exact[2]))]
    if not found:
        raise Usage(problem=f"{name} has no recovery point {choice!r}", cure=f"see: drill points {name}")
    return found[0]
