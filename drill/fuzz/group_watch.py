"""What the oracle knows of a consistency group: guests that write in turn, and the instants that fit their writes (I2).

Guests write in turn whenever time passes: the main item's, then the next one's, and who cannot write keeps the others
waiting.  An instant that all items have sealed is one instant when there is a moment at which every disk was as its
point says: after the last of those writes that a point has, before the first that one has not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final

from drill.core import groups
from drill.fuzz.oracle import Oracle
from drill.fuzz.world import ITEM, World
from drill.model.point import Point
from drill.sim.hypervisor import SimHypervisor

NAME: Final = "shop"
TURNS: Final = 7


class GroupWatch:
    """What an oracle knows of the group: when each guest wrote in turn, by the monotonic clock."""

    def __init__(self, world: World, oracle: Oracle, write: Callable[[], None]) -> None:
        """`write` is a write of the main item's guest."""
        self._world, self._oracle, self._write = world, oracle, write
        self._turn = 0
        self.wrote: dict[str, list[float]] = {}

    def hosts(self) -> dict[str, SimHypervisor]:
        """All of the group, by their items."""
        world = self._world
        return {ITEM: world.hypervisor, **{one.item: one.hypervisor for one in world.neighbours}}

    def write_in_turn(self) -> None:
        """Some writes, one guest after the other."""
        world, hosts = self._world, list(self.hosts().items())
        for _ in range(TURNS):
            item, host = hosts[self._turn % len(hosts)]
            if not host.writes:
                return
            if item == ITEM:
                self._write()
            else:
                world.neighbours[self._turn % len(hosts) - 1].write(self._turn)
            self.wrote.setdefault(item, []).append(world.clock.monotonic())
            self._turn += 1

    def judge(self, kept: Mapping[str, Sequence[Point]]) -> None:
        """What is listed as an instant of all is one instant, sealed for all; and what is so is listed."""
        listed = {one.instant: one for one in groups.complete(NAME, kept)}
        marks = {item: {p.group.instant: p for p in points if p.group} for item, points in kept.items()}
        for instant, found in listed.items():
            members = {point.item: point for point in found.points}
            self._must(members.keys() == kept.keys(), f"instant {instant} is listed for {sorted(members)} alone")
            for item, point in members.items():
                self._must(marks[item].get(instant) == point, f"instant {instant} is listed, and {item} has it not")
            self._one_instant(instant, members)
        everywhere = set.intersection(*(set(found) for found in marks.values()))
        whole = {
            instant
            for instant in everywhere
            if all((mark := found[instant].group) and mark.members == len(kept) for found in marks.values())
        }
        self._must(whole == listed.keys(), f"instants {sorted(whole ^ listed.keys())} are sealed for all or listed")

    def _one_instant(self, instant: str, members: Mapping[str, Point]) -> None:
        """Whether a moment fits all points: since the last write that one has, and before the next."""
        begin, end = 0.0, inf
        for item, host in self.hosts().items():
            at, wrote = host.instants[members[item].begun_us].at, self.wrote.get(item, [])
            place = bisect_right(wrote, at)
            begin = max(begin, wrote[place - 1] if place else 0.0)
            end = min(end, wrote[place] if place < len(wrote) else inf)
        self._must(begin < end, f"instant {instant} is not one instant: guests wrote between its checkpoints")

    def _must(self, holds: bool, detail: str) -> None:
        self._oracle.must("I2", holds, detail)
