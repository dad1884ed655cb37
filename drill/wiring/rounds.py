"""Where the items of a consistency group meet, each in its own thread, to begin their jobs at one instant (spec S5).

    a cycle of one item begins  →  `call`: a round is opened, and every other item that can come is woken
    an item has looked          →  `begin`: it waits until all that are expected are there, or for PATIENCE_SECONDS
    an item's look failed       →  `absent`: nobody waits for it
    the last one there begins for all (drill/replication/groups.py); each then goes on in its own thread

No guest is paused unless all items of the group are there: where one is missing the others begin alone, and their
points are theirs.  An item that is busy, paused, or waits after a failure is not expected; its retries, its state and
its health are its own.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from drill.model.point import GroupMark, ProtectionOrder
from drill.replication.groups import Begun, GroupPorts, Meeting, Ready, begin_together

PATIENCE_SECONDS = 10.0
"""How long items that are ready wait for the others: what they look at takes a tenth of a second, a resync minutes."""
HOUR = 3600.0
ALONE = "not all items of the group began together"
log = logging.getLogger("drill.agent.source")


class Member(Protocol):
    """An item as its group sees it."""

    @property
    def order(self) -> ProtectionOrder:
        """What is replicated."""
        ...

    def can_come(self) -> bool:
        """Whether it would begin a cycle now if it were woken."""
        ...

    def summon(self) -> None:
        """Have it begin a cycle now, in its own thread."""
        ...


@dataclass(slots=True)
class _Round:
    """Items that are to begin together.  `begun` has what became of those that were there, once it is closed."""

    expected: set[str] = field(default_factory=set)
    there: dict[str, Ready] = field(default_factory=dict)
    closed: bool = False
    begun: dict[str, Begun | Exception] = field(default_factory=dict)
    reason: str = ""


class Rounds:
    """One group on this host."""

    def __init__(
        self, name: str, ports: GroupPorts, nonce: Callable[[], str], patience: float = PATIENCE_SECONDS
    ) -> None:
        self.name = name
        self._ports = ports
        self._nonce = nonce
        self._patience = patience
        self._changed = threading.Condition()
        self._members: dict[str, Member] = {}
        self._round: _Round | None = None
        self._beat: float | None = None
        self._hour_due = -math.inf

    def join(self, item: str, member: Member) -> None:
        """An item of the group is replicated here."""
        with self._changed:
            self._members[item] = member

    def leave(self, item: str) -> None:
        """It is not any more, or is of another group."""
        with self._changed:
            self._members.pop(item, None)
        self.absent(item)

    def beat(self, now: float) -> float:
        """When the cycles of all items begin: at the first one's time, and every interval after it."""
        with self._changed:
            if self._beat is None:
                self._beat = now
            return self._beat

    def call(self, item: str) -> None:
        """A cycle of an item begins: so should those of the others."""
        with self._changed:
            found = self._round
            if found is None or found.closed:
                found = self._round = _Round()
            found.expected.add(item)
            missing = {one: member for one, member in self._members.items() if one not in found.expected}
            others = {one: member for one, member in missing.items() if member.can_come()}
            found.expected |= others.keys()
        for member in others.values():
            member.summon()

    def absent(self, item: str) -> None:
        """An item will not begin in this round."""
        with self._changed:
            found = self._round
            if found is not None and not found.closed and item not in found.there:
                found.expected.discard(item)
                found.closed = not found.expected
                self._changed.notify_all()

    def begin(self, item: str, ready: Ready) -> tuple[Begun | None, str]:
        """Begin an item's job with those of the others; None where it is to begin alone, and why no instant is shared.

        Raises what its begin raised.
        """
        with self._changed:
            found = self._round
            if found is None or found.closed or item in found.there:
                return None, ALONE
            found.there[item] = ready
            self._changed.notify_all()
            self._changed.wait_for(lambda: found.closed or found.expected <= found.there.keys(), self._patience)
            if not found.closed:
                self._close(found)
            begun = found.begun.get(item)
        if isinstance(begun, Exception):
            raise begun
        return begun, found.reason

    def _close(self, found: _Round) -> None:
        """Begin for all that are there; the lock is held, and nobody but they waits for it."""
        try:
            found.reason = self._missing(found)
            if not found.reason:
                found.reason = self._begin(found)
        finally:
            found.closed = True
            self._changed.notify_all()

    def _missing(self, found: _Round) -> str:
        """Why the items that are there are not the whole group, empty where they are."""
        orders = {self._members[one].order.group if one in self._members else None for one in found.there}
        order = next(iter(orders))
        if len(orders) != 1 or order is None:
            return "the items' orders do not agree on who belongs to the group: protect all of them again"
        lacking = [one for one in order.members if one not in found.there]
        if lacking:
            known = [self._members[one].order.domain if one in self._members else one for one in lacking]
            return f"not ready in time: {', '.join(known)}"
        return ""

    def _begin(self, found: _Round) -> str:
        items = sorted(found.there)
        now = self._ports.clock.monotonic()
        mark = GroupMark(
            name=self.name,
            instant=self._nonce() + self._nonce(),
            members=len(items),
            hourly=now >= self._hour_due,
        )
        met = begin_together(self._ports, [found.there[item] for item in items], mark)
        found.begun = dict(zip(items, met.begun, strict=True))
        self._tell(met, mark, now)
        return met.problem

    def _tell(self, met: Meeting, mark: GroupMark, now: float) -> None:
        if met.trouble:
            log.error("guests left to the process outside: group=%s message=%s", self.name, met.trouble)
        if met.problem:
            log.warning("no instant of the group: group=%s message=%s", self.name, met.problem)
            return
        if mark.hourly:
            self._hour_due = now + HOUR
        paused = max((one[1].paused_seconds for one in met.begun if not isinstance(one, Exception)), default=0.0)
        log.info(
            "instant of a group: group=%s instant=%s members=%d paused_seconds=%.3f",
            self.name,
            mark.instant,
            mark.members,
            paused,
        )
