"""The controller, assembled: an estate's hosts over libvirt and their agents, and procedures run durably on them.

The controller sees no host's files and no host's network; it knows a libvirt URI and two agent addresses per host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from pydantic import TypeAdapter

from drill.core import groups
from drill.core.failover_test import FailoverTest, failover_test
from drill.core.groups import GroupPoint
from drill.errors import DrillError, Failed, Refused, Usage
from drill.host.clock import HostClock
from drill.host.histories import LocalHistories
from drill.hypervisor.host import LibvirtHypervisor
from drill.identity.bundle import Bundle
from drill.model.estate import ConsistencyGroup, Estate, Policy
from drill.model.fact import Fact
from drill.model.identity import Authentication, Identity, Role
from drill.model.point import GroupOrder, ItemStatus, Point, ProtectionOrder
from drill.model.retention import RetentionPolicy
from drill.model.seed import Seed
from drill.orchestration.actions import Actions
from drill.orchestration.durable import DurableRuns
from drill.orchestration.perform import Performer
from drill.ports import Clock, Recorder, SourceAgent, StepJournal
from drill.transport.client import ReceiverClient, SourceClient, receiver_at, source_at
from drill.transport.paired import PAIR_KEY_PORT
from drill.transport.secure import Security

FAILOVER_TEST = "failover_test"
_ORDER: TypeAdapter[FailoverTest] = TypeAdapter(FailoverTest)


class RemoteHosts:
    """The port `Hosts` for an estate; connections are made when first needed and kept.

    The controller's certificate is read when an agent is first asked.
    """

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._security: Security | None = None
        self._hypervisors: dict[str, LibvirtHypervisor] = {}
        self._lock = threading.Lock()

    def hypervisor(self, host: str) -> LibvirtHypervisor:
        """The host's libvirt; nothing is asked of it yet."""
        with self._lock:
            if host not in self._hypervisors:
                self._hypervisors[host] = LibvirtHypervisor(self._estate.hosts[host].libvirt)
            return self._hypervisors[host]

    def source(self, host: str) -> SourceClient:
        """A client of the agent's source role; it connects per request."""
        return source_at(self._estate.hosts[host].source_agent, self._secured(), host)

    def receiver(self, host: str) -> ReceiverClient:
        """A client of the agent's receiver role; it connects per request."""
        return receiver_at(self._estate.hosts[host].receiver_agent, self._secured(), host)

    def _secured(self) -> Security:
        with self._lock:
            if self._security is None:
                self._security = Security(identity_folder())
            return self._security


def actions(estate: Estate, clock: Clock) -> Actions:
    """What performs commands against an estate's real hosts."""
    return Actions(hosts=RemoteHosts(estate), clock=clock, vault=estate.vault, histories=LocalHistories())


def check_identity() -> None:
    """Usage where this controller has no certificate: before a run begins that every agent would refuse."""
    Bundle(identity_folder()).passport()


def identity_folder() -> Path:
    """Where this controller's certificate lies: `DRILL_IDENTITY`, else `identity` in its state folder."""
    state = Path(os.environ.get("DRILL_STATE_DIR") or "/var/lib/drill")
    return Path(os.environ.get("DRILL_IDENTITY") or state / "identity")


class ClosingRecorder(Recorder, Protocol):
    """A recorder that is let go of when its run has ended or was interrupted."""

    def close(self) -> None:
        """Let go."""
        ...


Records = Callable[[str], ClosingRecorder]
Progress = Callable[[str, Fact], None]


@dataclass(slots=True)
class Controller:
    """Runs procedures durably; `state` is the controller's own folder, `records` gives the run record of a run id.

    Entering takes up what an earlier controller left unfinished.
    """

    state: Path
    records: Records
    progress: Progress
    clock: Clock
    _runs: DurableRuns | None = None

    def __enter__(self) -> Self:
        self._runs = DurableRuns(self.state, self._perform)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.runs.__exit__(kind, error, trace)

    @property
    def runs(self) -> DurableRuns:
        """The durable runs, while the controller is open."""
        if self._runs is None:
            raise RuntimeError("the controller is not open")
        return self._runs

    def start(self, order: FailoverTest) -> None:
        """Begin a test failover."""
        self.runs.start(order.run, FAILOVER_TEST, _ORDER.dump_json(order).decode())

    def _perform(self, run: str, kind: str, order: str, journal: StepJournal) -> str:
        """The body of a run, from its recorded order alone, so that any controller can go on with it."""
        if kind != FAILOVER_TEST:
            raise Usage(problem=f"run {run} is a {kind}, which this version does not know")
        asked = _ORDER.validate_json(order)
        recorder = self.records(run)
        try:
            return Performer(
                act=actions(asked.estate, self.clock),
                journal=journal,
                recorder=recorder,
                clock=self.clock,
                cancel_asked=lambda: self.runs.cancel_asked(run),
                progress=lambda fact: self.progress(run, fact),
            ).perform(failover_test(asked))
        finally:
            recorder.close()


Tell = Callable[[int, int], None]
"""Told of bytes done and of all there are, 0 while nobody knows."""
TELL_SECONDS = 1.0
T = TypeVar("T")


def _told(work: Callable[[], T], progress: Callable[[], tuple[int, int]], tell: Tell) -> T:
    """Do something that takes its time, and tell every second how far it is."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        answer = pool.submit(work)
        while not wait([answer], timeout=TELL_SECONDS).done:
            with suppress(DrillError):  # the answer is what counts
                tell(*progress())
        return answer.result()


@dataclass(frozen=True, slots=True)
class Protection:
    """Replication of an estate's items, asked of their hosts' agents."""

    estate: Estate
    hosts: RemoteHosts

    def identity(self, name: str) -> str:
        """The item's id: the UUID of its virtual machine.  Usage for an item that the estate does not have."""
        item = self.item_named(name)
        return self.hosts.hypervisor(self.estate.items[item].source_host).machine(item).uuid

    def item_named(self, name: str) -> str:
        """The name, when the estate has it."""
        if name not in self.estate.items:
            known = ", ".join(sorted(self.estate.items)) or "none"
            raise Usage(problem=f"there is no protected item {name!r}", cure=f"the estate has: {known}")
        return name

    def protect(self, name: str) -> str:
        """Order the replication of one item; its id.  The same again is harmless."""
        order, item = self.order(name), self.estate.items[name]
        policy = RetentionPolicy(
            window_seconds=item.pair.policy.window_seconds, additional=item.pair.policy.additional_points
        )
        self.hosts.receiver(item.target_host).retain(order.item, policy)
        self.hosts.source(item.source_host).protect(order)
        return order.item

    def order(self, name: str) -> ProtectionOrder:
        """What an item's source agent is told, by its pair's policy."""
        identity, item = self.identity(name), self.estate.items[name]
        policy = item.pair.policy
        return ProtectionOrder(
            item=identity,
            domain=name,
            receiver=_receiver(self.estate.hosts[item.target_host].replication_address, policy),
            interval_seconds=policy.copy_frequency_seconds,
            witness=policy.witness,
            application_consistent_every_seconds=policy.application_consistent_hours * 3600,
            resync_window=policy.resync_window,
            receiver_name=item.target_host,
            term=self._granted(identity, item.source_host, item.target_host),
            compress=policy.compress,
            bandwidth=policy.bandwidth,
            group=self._group_order(name),
            authentication=Authentication(policy.authentication),
        )

    def group_points(self, name: str) -> tuple[GroupPoint, ...]:
        """Instants that every item of a group has a sound point of, oldest first."""
        kept: dict[str, tuple[Point, ...]] = {}
        for item in self.group_named(name).items:
            report = self.hosts.receiver(self.estate.items[item].target_host).kept(self.identity(item))
            kept[report.item] = tuple(one.point for one in report.points if not one.damaged)
        return groups.complete(name, kept)

    def cycle_group(self, name: str, application_consistent: bool, seconds: float, clock: Clock) -> GroupPoint:
        """Replicate a group now, at one instant; Failed, with each item's reason, where there is none."""
        names = self.group_named(name).items
        source, deadline = self.source(names[0]), clock.monotonic() + seconds
        sealed = source.cycle(self.identity(names[0]), witness=False, application_consistent=application_consistent)
        while sealed.group is not None:
            status = {item: source.status(self.identity(item)) for item in names}
            found = [one for one in self.group_points(name) if one.instant == sealed.group.instant]
            if found:
                return found[0]
            failed = {item: one.last_error for item, one in status.items() if one.last_error and not one.progress}
            if failed or clock.monotonic() > deadline:
                why = "; ".join(f"{item}: {error}" for item, error in failed.items())
                raise Failed(f"an instant of group {name}", why or f"not sealed by all after {seconds:.0f} s")
            clock.sleep(0.1)
        reason = source.status(sealed.item).group_reason
        raise Failed(f"an instant of group {name}", reason or "protect its items again", "see: drill status")

    def paused_seconds(self, found: GroupPoint) -> float:
        """How long the guests stood still for an instant that was just taken."""
        source = self.source(self.group_named(found.group).items[0])
        status = [source.status(point.item) for point in found.points]
        return max(record.paused_seconds for one in status for record in one.cycles[-1:])

    def group_named(self, name: str) -> ConsistencyGroup:
        """The group, when the estate has it."""
        if name not in self.estate.groups:
            known = ", ".join(sorted(self.estate.groups)) or "none"
            raise Usage(problem=f"there is no group {name!r}", cure=f"the estate has: {known}")
        return self.estate.groups[name]

    def _group_order(self, name: str) -> GroupOrder | None:
        """The consistency group of an item as its agent knows it: by ids."""
        group = self.estate.group_of(name)
        if group is None:
            return None
        host = self.estate.items[name].source_host
        known = {one.name: one.uuid for one in self.hosts.hypervisor(host).domains()}
        lacking = [item for item in group.items if item not in known]
        if lacking:
            raise Usage(f"{host} has no domain {lacking[0]}", f"group {group.name} names it")
        return GroupOrder(name=group.name, members=tuple(sorted(known[item] for item in group.items)))

    def export_seed(self, name: str, folder: str, tell: Tell) -> Seed:
        """Write an item's first copy to a medium at its source host (spec H2); Refused within one site (H6)."""
        item, hosts = self.estate.items[self.item_named(name)], self.estate.hosts
        if hosts[item.source_host].site == hosts[item.target_host].site:
            raise Refused(f"{name} is replicated within one site: its first copy goes over the network", "H6")
        order, agent = self.order(name), self.hosts.source(item.source_host)
        return _told(lambda: agent.export_seed(order, folder), lambda: agent.seed_progress(order.item), tell)

    def import_seed(self, name: str, folder: str, tell: Tell) -> Point:
        """The point that an item's first copy on a medium at its target host becomes."""
        identity = self.identity(name)
        agent = self.hosts.receiver(self.estate.items[name].target_host)
        return _told(lambda: agent.import_seed(identity, folder), lambda: agent.seed_progress(identity), tell)

    def cancel_seed(self, name: str) -> None:
        """Let an item's first copy go over the network after all."""
        identity = self.identity(name)
        self.hosts.source(self.estate.items[name].source_host).cancel_seed(identity)

    def source(self, name: str) -> SourceAgent:
        """The source agent of an item's host."""
        return self.hosts.source(self.estate.items[self.item_named(name)].source_host)

    def _granted(self, item: str, source: str, target: str) -> int:
        """Let the item's source, and nobody else, send to its target; the term in which it may."""
        receiver, sender = self.hosts.receiver(target), Identity(role=Role.SOURCE, name=source)
        known = receiver.granted(item)
        if known is not None and known.sender == sender:
            return known.term
        term = known.term + 1 if known is not None else 1
        receiver.allow(item, sender, term)
        return term

    def status(self, name: str, identity: str) -> ItemStatus:
        """What the source agent observes of an item."""
        return self.hosts.source(self.estate.items[name].source_host).status(identity)

    def await_point(self, name: str, identity: str, seconds: float, clock: Clock) -> ItemStatus:
        """Wait for the first recovery point; raises what the agent could not mend within the time."""
        deadline = clock.monotonic() + seconds
        while (status := self.status(name, identity)).last_point is None:
            if clock.monotonic() >= deadline:
                raise NoPointYet(name, seconds, status.last_error)
            clock.sleep(0.1)
        return status


def _receiver(address: str, policy: Policy) -> str:
    """Where a source sends: a receiver's address, at the policy's port or that of its authentication (spec E2, E3)."""
    by_pair_key = Authentication(policy.authentication) is Authentication.PAIR_KEY
    port = policy.port or (PAIR_KEY_PORT if by_pair_key else 0)
    return f"{address.rpartition(':')[0]}:{port}" if port else address


class NoPointYet(DrillError):
    """The initial replication did not end in time; it goes on."""

    exit_code = 12
    template = "{item} has no recovery point after {seconds:.0f} s: {last_error}"
    remedy_template = "look at: drill status; the agent goes on by itself"

    def __init__(self, item: str, seconds: float, last_error: str) -> None:
        self.item, self.seconds, self.last_error = item, seconds, last_error or "still copying"


def controller_folder(state: Path, vault: str) -> Path:
    """Where the controller of a vault keeps its runs."""
    return state / "controller" / vault


def system_clock() -> Clock:
    """The real clock."""
    return HostClock()
