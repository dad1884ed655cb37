"""Which recovery points go (spec E5, E6; guarantees I12, I21).

    time of replication  ──────────────────────────────────────────────────────────▶ newest
    │ · │ · │ · │ … one per hour │ one per part of the hour that is leaving │ ||||||||||||||| │
                `additional`                                                 window: all

Age is not told by a clock.  Every point carries the *time of replication* at which it was sealed: the sum of the times
between one seal and the next, none below zero and none above GAP_MAX_US.  So a clock that jumps a year ages the points
by twenty minutes, one that goes back or stands still ages nothing, and a machine that was off for a week finds its
points as it left them.

Points leave the window in parts of an hour and not one by one, and the hour becomes one point when all of it has left:
what is stored is folded twice, whatever the interval of the cycles.  One point at a time would be folded into a file
that grows all hour long (120 times at 30 s).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drill.errors import Refused
from drill.model.retention import RetentionPolicy

ADDITIONAL_MAX = 24
WINDOW_MAX_SECONDS = 24 * 3600
HOUR_US = 3600 * 1_000_000
PART_US = HOUR_US // 10
GAP_MAX_US = 20 * 60 * 1_000_000
"""Longer than any interval of cycles (15 minutes): what is longer is an outage, or a clock that was set."""
POINTS_MAX = 170
"""120 points of a window of an hour at 30 s, the hour that leaves it, and 24 hours; QEMU opens every file below one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A point as retention sees it.  `elapsed_us` is its time of replication; held means locked or in use.

    `hourly`: the other items of its consistency group keep the same instant for their hour.
    """

    elapsed_us: int
    application_consistent: bool = False
    hourly: bool = False
    is_held: bool = False
    is_damaged: bool = False


def check(policy: RetentionPolicy, application_hours: int = 0) -> None:
    """Refused, with the rule, where a policy is none: 0-24 additional points (E5), application-consistent ones every
    1-12 hours and less than the additional points (E6); 0 means no application-consistent points."""
    if not 0 <= policy.additional <= ADDITIONAL_MAX:
        raise Refused(f"{policy.additional} additional recovery points", "E5", f"keep 0 to {ADDITIONAL_MAX}")
    if not 0 <= policy.window_seconds <= WINDOW_MAX_SECONDS:
        raise Refused(f"a window of {policy.window_seconds} s", "E5", f"keep 0 to {WINDOW_MAX_SECONDS} s")
    if application_hours and not 1 <= application_hours <= 12:
        raise Refused(f"application-consistent points every {application_hours} h", "E6", "take one every 1 to 12 h")
    if application_hours and application_hours >= policy.additional:
        raise Refused(
            f"application-consistent points every {application_hours} h with {policy.additional} additional points: "
            "none of them might be kept",
            "E6",
            "keep more additional points than hours between application-consistent ones",
        )


def elapsed(before: tuple[int, int] | None, now_us: int) -> int:
    """The time of replication of a point sealed at `now_us`; `before` is (that of the point before, its seal)."""
    if before is None:
        return 0
    return before[0] + min(max(now_us - before[1], 0), GAP_MAX_US)


def expired(points: Sequence[Candidate], policy: RetentionPolicy, most: int = POINTS_MAX) -> tuple[int, ...]:
    """Places of the points that go, ascending; `points` stand oldest first.

    Never the newest, the newest that is whole, or a held one.  At most `most` stay, but for those.
    """
    if not points:
        return ()
    safe = {len(points) - 1, *(place for place, point in enumerate(points) if point.is_held)}
    safe |= set([place for place, point in enumerate(points) if not point.is_damaged][-1:])
    kept = safe | _by_age(points, policy)
    _crowd(points, kept, safe, most)
    return tuple(place for place in range(len(points)) if place not in kept)


def _by_age(points: Sequence[Candidate], policy: RetentionPolicy) -> set[int]:
    edge = points[-1].elapsed_us - policy.window_seconds * 1_000_000
    kept: set[int] = set()
    hours: defaultdict[int, list[int]] = defaultdict(list)
    parts: defaultdict[int, list[int]] = defaultdict(list)
    for place, point in enumerate(points):
        hour, part = point.elapsed_us // HOUR_US, point.elapsed_us // PART_US
        if point.elapsed_us >= edge:
            kept.add(place)
        elif (hour + 1) * HOUR_US <= edge:
            hours[hour].append(place)
        elif (part + 1) * PART_US <= edge:
            parts[part].append(place)
        elif policy.additional:
            kept.add(place)
    if policy.additional:
        kept |= _best(points, parts, parts) | _best(points, hours, sorted(hours)[-policy.additional :])
    return kept


def _best(points: Sequence[Candidate], groups: Mapping[int, Sequence[int]], chosen: Iterable[int]) -> set[int]:
    """Of every chosen group the newest application-consistent point, else the newest; a damaged one last of all.

    Of equals that one goes first which the other items of a consistency group keep too.
    """

    def worth(place: int) -> tuple[bool, bool, bool, int]:
        point = points[place]
        return not point.is_damaged, point.application_consistent, point.hourly, place

    return {max(groups[group], key=worth) for group in chosen}


def _crowd(points: Sequence[Candidate], kept: set[int], safe: set[int], most: int) -> None:
    """Take out of `kept` what is more than `most`: first the point that leaves the shortest gap, of equals the older.

    The oldest leaves no gap but the history that ends with it: it is worth an hour.
    """
    while len(kept) > most:
        order = sorted(kept)
        free = [number for number, place in enumerate(order) if place not in safe]
        if not free:
            return

        def cost(number: int, order: Sequence[int] = order) -> tuple[bool, int, int]:
            place = order[number]
            before = points[order[number - 1]].elapsed_us if number else points[place].elapsed_us - HOUR_US
            return points[place].application_consistent, points[order[number + 1]].elapsed_us - before, number

        kept.discard(order[min(free, key=cost)])
