"""One protected item on its source host: a thread that begins its cycles, and what is observed of it.

When a cycle is due, when it is tried again, and what state and health follow from what happened is decided by pure
functions (drill/core/retries.py, drill/core/lifecycle.py); here they are given the clock and the errors.
"""

from __future__ import annotations

import logging
import math
import secrets
import string
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from drill.core import lifecycle, retries
from drill.core.lifecycle import ItemFacts
from drill.core.retries import Schedule
from drill.errors import Cancelled, DrillError, Failed, Refused
from drill.model.point import CycleRecord, ItemStatus, Point, ProtectionOrder
from drill.ports import Backups, Clock, Files, Freezer, Lanes, ReceiverLink
from drill.replication.cycle import ItemSource, SourcePorts
from drill.replication.groups import Begun, Ready
from drill.replication.journal import Journal, JournalFile
from drill.wiring.rounds import Rounds

T = TypeVar("T")
BUSY_SECONDS = 30.0
CYCLES_KEPT = 64
APART_ALARM = 2
"""After so many points in a row without an instant of its group an item says so (L4)."""
HOUR = 3600.0
WAIT_SECONDS_MAX = 3600.0
log = logging.getLogger("drill.agent.source")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWorld:
    """The ports all items share; `link` gives the receiver that an order names, `rounds` the group of a name."""

    backups: Backups
    freezer: Freezer
    files: Files
    clock: Clock
    lanes: Lanes
    link: Callable[[ProtectionOrder], ReceiverLink]
    rounds: Callable[[str], Rounds] | None = None


class Worker:
    """One item: its cycles run in a thread of its own, and no error ever ends that thread."""

    def __init__(self, world: SourceWorld, file: JournalFile, journal: Journal) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._stopped = False
        self._running = False
        self._wake = threading.Event()
        self._cycles: deque[CycleRecord] = deque(maxlen=CYCLES_KEPT)
        self._error: DrillError | None = None
        self._untracked = 0
        self._source = self._make(file, journal)
        self._file = file
        self._schedule = Schedule(interval_seconds=1, beat=0, due=0)
        self._shipped: deque[float] = deque()
        self._counted_from = 0.0
        self._apart, self._apart_reason = 0, ""
        self._rounds = self._joined()
        self._begin_anew()
        self._thread = threading.Thread(target=self._run, name=f"item {journal.order.item}", daemon=True)

    @property
    def order(self) -> ProtectionOrder:
        """What is replicated."""
        return self._source.journal.order

    def start(self) -> None:
        """Begin with a cycle at once."""
        self._thread.start()

    def stop(self) -> None:
        """Return when no cycle is running and none will begin."""
        self._stopped = True
        self._wake.set()
        if self._rounds is not None:
            self._rounds.leave(self.order.item)
        if self._thread.is_alive():
            self._thread.join()

    def change(self, order: ProtectionOrder) -> None:
        """Go on under another order, with a cycle at once."""
        with self._lock:
            self._source.save(replace(self._source.journal, order=order))
            self._source = self._make(self._file, self._source.journal)
            if self._rounds is not None:
                self._rounds.leave(order.item)
            self._rounds = self._joined()
            self._begin_anew()
        self._wake.set()

    def can_come(self) -> bool:
        """Whether a cycle could begin now: none is running, and none waits for a person or after a failure."""
        journal, schedule = self._source.journal, self._schedule
        waits = journal.paused or journal.seeding is not None or math.isinf(schedule.due)
        backs_off = schedule.failures > 0 and schedule.due > self._world.clock.monotonic()
        return not (self._stopped or self._lock.locked() or waits or backs_off)

    def summon(self) -> None:
        """Begin a cycle now, with those of the group."""
        self._schedule = replace(self._schedule, due=self._world.clock.monotonic())
        self._wake.set()

    def nudge(self) -> None:
        """An operator asks again: what failed is tried at once, also what trying could not mend."""
        if self._error is not None:
            self._schedule = self._schedule.at_once(self._world.clock.monotonic())
            self._wake.set()

    def cycle(self, *, witness: bool, application_consistent: bool, deep: bool) -> Point:
        """One cycle now, after the one that may be running."""
        with self._held():
            return self._cycle(witness=witness, application_consistent=application_consistent, deep=deep)

    def resync(self) -> Point:
        """Read every disk whole and compare, now."""
        with self._held():
            self._source.owe_all()
            return self._cycle(resync=True)

    def pause(self) -> None:
        """End the cycle that is running and begin none until `resume`; the checkpoint is kept."""
        self._source.stop()
        with self._lock:
            self._source.pause()
            self._error = None
        log.info("item paused: item=%s", self.order.item)

    def resume(self) -> None:
        """Go on where it stopped, with a cycle at once."""
        with self._lock:
            self._source.resume()
            self._begin_anew()
        self._wake.set()
        log.info("item resumed: item=%s", self.order.item)

    def seeded(self, work: Callable[[ItemSource, SourcePorts], T]) -> T:
        """Do something with the item's first copy while no cycle runs; Refused when one does for too long."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise Refused(f"item {self.order.item} is being copied", "H2", "wait for the cycle, or unprotect the item")
        try:
            return work(self._source, self._ports)
        finally:
            self._schedule = self._schedule.at_once(self._world.clock.monotonic())
            self._lock.release()
            self._wake.set()

    def end(self) -> None:
        """Stop, drop our checkpoints, delete the journal."""
        self.stop()
        with self._lock:
            self._source.end()

    def status(self) -> ItemStatus:
        """What is observed now; does not wait for a running cycle."""
        journal, interval = self._source.journal, self._source.interval
        known, facts = journal.acknowledged, self._facts(journal)
        return ItemStatus(
            item=journal.order.item,
            domain=journal.order.domain,
            state=lifecycle.state(facts),
            epoch=known.point.epoch if known else "",
            acknowledged_sequence=known.point.sequence if known else 0,
            last_point=known.point if known else None,
            last_error=facts.error,
            cycles=tuple(self._cycles),
            missed_cycles=facts.missed_cycles,
            without_bitmap=tuple(sorted(self._source.without_bitmap)),
            application_failures=interval.failures,
            application_reason=interval.reason,
            health=lifecycle.health(facts),
            progress=self._source.progress,
            group=journal.order.group.name if journal.order.group else "",
            group_reason=self._apart_reason,
        )

    def _facts(self, journal: Journal) -> ItemFacts:
        now, interval = self._world.clock.monotonic(), self._source.interval
        since = self._counted_from
        if now - since > HOUR:
            since += (now - since - HOUR) // self._schedule.interval_seconds * self._schedule.interval_seconds
        missed, due = retries.missed(
            tuple(self._shipped), since=since, now=now, interval_seconds=self._schedule.interval_seconds
        )
        owed = sorted({*journal.owed, *journal.owed_whole})
        ways = [f"{way.target}: {way.reason}" for way in self._source.ways if way.waits]
        return ItemFacts(
            has_point=journal.acknowledged is not None,
            is_paused=journal.paused,
            is_running=self._running,
            is_seeding=journal.seeding is not None,
            resync=", ".join(ways or owed),
            error=str(self._error) if self._error else "",
            is_final=self._error is not None and not retries.is_recoverable(self._error),
            missed_cycles=0 if journal.paused else missed,
            due_cycles=due,
            seconds_since_shipped=now - (self._shipped[-1] if self._shipped else self._counted_from),
            untracked_pages=self._untracked,
            warnings=(
                *((f"no application-consistent point: {interval.alarm}",) if interval.alarm else ()),
                *((f"no instant with its group: {self._apart_reason}",) if self._apart >= APART_ALARM else ()),
            ),
        )

    def _make(self, file: JournalFile, journal: Journal) -> ItemSource:
        world = self._world
        self._ports = ports = SourcePorts(
            backups=world.backups,
            freezer=world.freezer,
            link=world.link(journal.order),
            files=world.files,
            clock=world.clock,
            lanes=world.lanes,
            nonce=nonce,
        )
        return ItemSource(ports, file, journal)

    def _begin_anew(self) -> None:
        """The first cycle now, and nothing counted yet; the caller holds the lock, or there is no thread yet."""
        now, interval = self._world.clock.monotonic(), self._source.journal.order.interval_seconds
        beat = now if self._rounds is None else self._rounds.beat(now)
        self._schedule = Schedule(interval_seconds=interval, beat=beat, due=now)
        self._counted_from = now
        self._shipped = deque(maxlen=max(CYCLES_KEPT, int(HOUR // interval) + 2))

    def _held(self) -> threading.Lock:
        """The lock, for an operator's request; Refused when the item is not protected any more."""
        if self._stopped:
            raise Refused(f"item {self.order.item} is no longer protected")
        return self._lock

    def _run(self) -> None:
        clock = self._world.clock
        while not self._stopped:
            left = min(max(0.0, self._schedule.due - clock.monotonic()), WAIT_SECONDS_MAX)
            if self._wake.wait(WAIT_SECONDS_MAX if self._source.journal.paused else left):
                self._wake.clear()
                continue
            with self._lock:
                is_due = self._schedule.due <= clock.monotonic() and not self._source.journal.paused
                if is_due and not self._stopped:
                    self._try()

    def _try(self) -> None:
        """One cycle; whatever it raises is said in the log and in the status."""
        try:
            self._cycle()
        except DrillError as error:
            log.warning("cycle failed: item=%s error=%s message=%s", self.order.item, error.id, error)
        except Exception:
            log.exception("cycle failed unexpectedly: item=%s", self.order.item)

    def _cycle(
        self, *, witness: bool = False, application_consistent: bool = False, deep: bool = False, resync: bool = False
    ) -> Point:
        """A cycle, and what follows from its end for the schedule; the lock is held."""
        self._running = True
        rounds = None if deep or resync else self._rounds
        try:
            if rounds is not None:
                rounds.call(self.order.item)
            point, record = self._source.cycle(
                witness=witness or self.order.witness,
                application_consistent=application_consistent,
                deep=deep,
                may_resync=resync or retries.in_window(self.order.resync_window, self._minute_of_day()),
                together=None if rounds is None else partial(self._with_group, rounds),
            )
        except Cancelled:
            raise
        except Exception as error:
            known = error if isinstance(error, DrillError) else Failed("the cycle", f"{type(error).__name__}: {error}")
            self._error = known
            self._schedule = self._schedule.failed(known, self._world.clock.monotonic())
            raise
        finally:
            self._running = False
            if rounds is not None:
                rounds.absent(self.order.item)
        self._note(point, record)
        return point

    def _with_group(self, rounds: Rounds, ready: Ready) -> Begun | None:
        """Begin together with the group, and keep why there is no shared instant where there is none."""
        begun, self._apart_reason = rounds.begin(self.order.item, ready)
        self._apart = self._apart + 1 if self._apart_reason else 0
        return begun

    def _joined(self) -> Rounds | None:
        """The rounds of the order's group, which has this item from here on."""
        group = self.order.group
        if group is None or self._world.rounds is None:
            return None
        rounds = self._world.rounds(group.name)
        rounds.join(self.order.item, self)
        return rounds

    def _note(self, point: Point, record: CycleRecord) -> None:
        now = self._world.clock.monotonic()
        if not self._shipped:
            self._counted_from = self._schedule.done(now).due - self._schedule.interval_seconds
        self._error = None
        self._schedule = self._schedule.done(now)
        self._shipped.append(now)
        self._cycles.append(record)
        checked = [disk.untracked_pages for disk in record.disks if disk.untracked_pages is not None]
        self._untracked = sum(checked) if checked else self._untracked
        log.info(
            "point sealed: item=%s epoch=%s sequence=%d sent_bytes=%d seconds=%.3f",
            point.item,
            point.epoch,
            point.sequence,
            point.sent_bytes,
            record.total_seconds,
        )
        for disk in record.disks:
            if disk.reason:
                log.info("disk %s: item=%s disk=%s reason=%s", disk.way.value, point.item, disk.target, disk.reason)
            if disk.untracked_pages:
                log.error("tracker lied: item=%s disk=%s pages=%d", point.item, disk.target, disk.untracked_pages)
        if alarm := self._source.interval.alarm:
            log.warning("no application-consistent point: item=%s reason=%s", point.item, alarm)

    def _minute_of_day(self) -> int:
        """By the host's local time."""
        local = time.localtime(self._world.clock.now_us() / 1e6)
        return local.tm_hour * 60 + local.tm_min


def nonce() -> str:
    """A fresh string of eight characters of [a-z0-9]."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
