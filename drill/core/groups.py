"""Which instants of a consistency group are whole: every item of it has the point (spec S5, I2).

Pure: points in, instants out.  A point of an instant that one item lacks is a point of that item and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drill.errors import Refused, Usage
from drill.model.point import Point

MEMBERS_MIN, MEMBERS_MAX = 2, 16
LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPoint:
    """All items of a group at one instant; `points` are sorted by item.

    The instant lies between `begun_us` and `taken_us` by the source's clock.  It is application-consistent where it is
    so for every item.
    """

    group: str
    instant: str
    begun_us: int
    taken_us: int
    application_consistent: bool
    points: tuple[Point, ...]


def complete(group: str, kept: Mapping[str, Sequence[Point]]) -> tuple[GroupPoint, ...]:
    """Instants that every item has a point of, oldest first.

    `kept` has the points that may be served of every item that belongs to the group now, oldest first.  They come in
    the order of the items' sequences, never by time (I12): all items have the instants they share in the same order.
    """
    found: dict[str, dict[str, Point]] = {}
    for item, points in sorted(kept.items()):
        for point in points:
            if point.group is not None and point.group.name == group:
                found.setdefault(point.group.instant, {})[item] = point
    return tuple(_whole(group, instant, parts) for instant, parts in found.items() if _is_whole(parts, len(kept)))


def choose(found: Sequence[GroupPoint], choice: str, group: str) -> GroupPoint:
    """The instant that `choice` means: `latest`, or its id.

    `found` stand oldest first.  Refused when the group has none yet, Usage for a choice that names none.
    """
    if not found:
        raise Refused(f"group {group} has no recovery point that all its items share", "S5", "see: drill status")
    if choice == LATEST:
        return found[-1]
    chosen = [one for one in found if one.instant == choice]
    if not chosen:
        raise Usage(f"group {group} has no recovery point {choice!r}", f"see: drill points --group {group}")
    return chosen[0]


def _is_whole(parts: Mapping[str, Point], members: int) -> bool:
    """All items of the group, and as many as the instant had by what each of them says."""
    return len(parts) == members and {point.group.members for point in parts.values() if point.group} == {members}


def _whole(group: str, instant: str, parts: Mapping[str, Point]) -> GroupPoint:
    points = tuple(parts[item] for item in sorted(parts))
    return GroupPoint(
        group=group,
        instant=instant,
        begun_us=min(point.begun_us for point in points),
        taken_us=max(point.taken_us for point in points),
        application_consistent=all(point.application_consistent for point in points),
        points=points,
    )
