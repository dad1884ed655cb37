"""The test failover of a recovery plan: the runbook of a drill (spec L1-L9).

The primaries keep running and replicating.  From one recovery point per machine the plan is brought up in an isolated
network at the other site, group by group, checked, and removed again; the facts noted on the way are the drill's
evidence.  Whatever fails, the cleanup runs, and it undoes everything that was *about* to be made, because a command
may have taken effect without its reply having been seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from drill.core import bubble, owed
from drill.core.judges import JUDGES
from drill.core.landing import global_addresses
from drill.core.prediction import Ground, PlanPredicted, predict_plan
from drill.core.procedure import Procedure, all_of, ask, note, together
from drill.errors import Cancelled, DrillError, Failed, Refused
from drill.model.command import (
    AwaitServices,
    Check,
    ChoosePoint,
    Command,
    DeclareIncident,
    DefineMachine,
    Evidence,
    GuardBridge,
    MakeBubble,
    MakeOverlays,
    Nothing,
    PrimarySeen,
    ProbeIsolation,
    ReadHistory,
    ReadSourceLedger,
    RemoveBubble,
    RemoveMachine,
    RemoveOverlays,
    SeeHost,
    SeePrimary,
    SeeScreen,
    SourceLedger,
    StartMachine,
    TakePicture,
    UnguardBridge,
)
from drill.model.estate import Estate, Item, Plan
from drill.model.fact import ChecksPlanned, NicPredicted, RunEnded, RunStarted, ServiceAnswered
from drill.model.machine import Disk, Machine, Nic
from drill.model.network import BubbleNetwork
from drill.model.point import Point
from drill.model.rows import RowBounds
from drill.model.verdict import Outcome

PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverTest:
    """The order: which plan of which estate, from which point; `started_us` and `drill_version` go into the record.

    `service_seconds` bounds the wait for the services of one group."""

    run: str
    estate: Estate
    plan: str
    point_choice: str
    network_choice: str
    started_us: int
    drill_version: str
    service_seconds: float = 120.0


@dataclass(slots=True)
class Candidate:
    """What is known of one machine of the plan as the procedure goes on."""

    item: Item
    group: int
    domain: str
    primary: PrimarySeen
    nics: tuple[NicPredicted, ...] = ()
    point: Point | None = None
    ledger: SourceLedger | None = None
    histories: dict[str, RowBounds] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The first predicted address, "" when none is promised."""
        return next((one.address for one in self.nics if one.address), "")


@dataclass(slots=True)
class Undo:
    """Commands that take away what was made, or was about to be; performed newest kind first."""

    machines: list[Command[Nothing]] = field(default_factory=list)
    networks: list[Command[Nothing]] = field(default_factory=list)
    guards: list[Command[Nothing]] = field(default_factory=list)
    disks: list[Command[Nothing]] = field(default_factory=list)

    def stages(self) -> tuple[list[Command[Nothing]], ...]:
        """Machines first, so that nothing is in use when networks and disks go; a guard outlives its bridge."""
        return self.machines, self.networks, self.guards, self.disks


def failover_test(order: FailoverTest) -> Procedure[str]:
    """Run the drill; returns the outcome (`done`, `failed`, `cancelled`) that also stands in the record."""
    plan = order.estate.plans[order.plan]
    items = [order.estate.items[name] for group in plan.groups for name in group]
    yield from note(_started(order, plan, items))
    undo = Undo()
    try:
        yield from _rehearse(order, plan, undo)
        outcome, detail = "done", ""
    except Cancelled as error:
        outcome, detail = "cancelled", str(error)
    except DrillError as error:
        outcome, detail = "failed", f"{error.id}: {error}"
    left = yield from _clean(undo)
    if left and outcome == "done":
        outcome = "failed"
    ended_us = yield from _picture_all(order, items, "after")
    yield from note(
        RunEnded(at_us=ended_us, outcome=outcome, detail="; ".join(part for part in (detail, left) if part))
    )
    return outcome


def _rehearse(order: FailoverTest, plan: Plan, undo: Undo) -> Procedure[None]:
    """Everything between the picture before and the cleanup."""
    yield from _see_hosts(order, plan)
    candidates = yield from _look_and_predict(order, plan)
    networks = bubble.networks(order.run, order.estate, candidates_nics(candidates))
    incident = yield from ask(DeclareIncident())
    yield from note(
        incident,
        ChecksPlanned(at_us=incident.at_us, checks=owed.checks(plan, order.estate)),
    )
    yield from _choose_points(order, candidates, incident.at_us)
    yield from _build(order, candidates, networks, undo)
    for number in range(1, len(plan.groups) + 1):
        yield from _start_group(order, [one for one in candidates if one.group == number])
    yield from _examine(order, candidates, networks)


def _started(order: FailoverTest, plan: Plan, items: list[Item]) -> RunStarted:
    hosts = order.estate.hosts
    return RunStarted(
        at_us=order.started_us,
        run=order.run,
        plan=plan.name,
        source_site=hosts[items[0].source_host].site,
        target_site=hosts[items[0].target_host].site,
        point_choice=order.point_choice,
        network_choice=order.network_choice,
        drill_version=order.drill_version,
        rpo_objective_seconds=plan.rpo_objective_seconds,
        rto_objective_seconds=plan.rto_objective_seconds,
    )


def _hosts(items: list[Item]) -> list[str]:
    return sorted({one.source_host for one in items} | {one.target_host for one in items})


def _see_hosts(order: FailoverTest, plan: Plan) -> Procedure[None]:
    items = [order.estate.items[name] for group in plan.groups for name in group]
    for seen in (yield from all_of([SeeHost(host=host) for host in _hosts(items)], PARALLEL)):
        yield from note(replace(seen, site=order.estate.hosts[seen.host].site))
    yield from _picture_all(order, items, "before")


def _picture_all(order: FailoverTest, items: list[Item], when: str) -> Procedure[int]:
    """Inventories of the target hosts; the time of the last one.  One that cannot be taken leaves no fact behind,
    and what is not known there makes the drill *unknown*."""
    hosts = sorted({one.target_host for one in items})
    pictures = yield from together([TakePicture(host=host, when=when) for host in hosts], PARALLEL)
    last_us = order.started_us
    for picture in pictures:
        if not isinstance(picture, DrillError):
            yield from note(picture)
            last_us = max(last_us, picture.at_us)
    return last_us


def _look_and_predict(order: FailoverTest, plan: Plan) -> Procedure[list[Candidate]]:
    """See every primary, and say where its replica will land before anything is made."""
    grouped = [(order.estate.items[name], number) for number, group in enumerate(plan.groups, 1) for name in group]
    seen = yield from all_of(
        [SeePrimary(vm=one.name, host=one.source_host, domain=one.name, agent=one.agent) for one, _ in grouped],
        PARALLEL,
    )
    primaries = {item.name: primary for (item, _), primary in zip(grouped, seen, strict=True)}
    foretold = predict_plan(plan, order.estate, primaries, Ground.of(order.estate))
    yield from note(*foretold.machines)
    _refuse_what_cannot_be(foretold)
    return [
        Candidate(
            item=item,
            group=group,
            domain=f"{item.name}-test-{order.run}",
            primary=primaries[item.name],
            nics=machine.nics,
        )
        for (item, group), machine in zip(grouped, foretold.machines, strict=True)
    ]


def _refuse_what_cannot_be(foretold: PlanPredicted) -> None:
    """Refused before anything is made: an address that is held, a pool with nothing left, a host that lacks something.

    The first finding is the reason; all of them are in the record.
    """
    amiss = [finding for finding in foretold.findings if finding.refuses]
    if amiss:
        first = amiss[0]
        more = f", and {len(amiss) - 1} more" if len(amiss) > 1 else ""
        raise Refused(f"{first.kind} {first.name}: {first.problem}{more}", first.rule, first.remedy)


def _choose_points(order: FailoverTest, candidates: list[Candidate], incident_us: int) -> Procedure[None]:
    chosen = yield from all_of(
        [
            ChoosePoint(
                vm=one.item.name,
                host=one.item.target_host,
                item=one.primary.machine.uuid,
                choice=order.point_choice,
            )
            for one in candidates
        ],
        PARALLEL,
    )
    for candidate, fact in zip(candidates, chosen, strict=True):
        candidate.point = fact.point
        yield from note(fact)
    with_ledger = [one for one in candidates if one.item.ledgers and one.point]
    ledgers = yield from all_of(
        [
            ReadSourceLedger(
                vm=one.item.name,
                host=one.item.source_host,
                domain=one.item.name,
                path=one.item.ledgers[0],
                incident_us=incident_us,
                point=one.point,
            )
            for one in with_ledger
            if one.point
        ],
        PARALLEL,
    )
    for candidate, ledger in zip(with_ledger, ledgers, strict=True):
        candidate.ledger = ledger
        if ledger.read is not None:
            yield from note(ledger.read)
    yield from _read_histories(candidates, incident_us)


def _read_histories(candidates: list[Candidate], incident_us: int) -> Procedure[None]:
    """The bounds of every point's rows; a history that cannot be read leaves its check without an expectation."""
    wanted = [
        (
            one,
            ReadHistory(
                vm=one.item.name, database=base.name, path=base.history, incident_us=incident_us, point=one.point
            ),
        )
        for one in candidates
        for base in one.item.databases
        if base.history and one.point
    ]
    replies = yield from together([command for _, command in wanted], PARALLEL)
    for (candidate, command), bounds in zip(wanted, replies, strict=True):
        if not isinstance(bounds, DrillError):
            candidate.histories[command.database] = bounds


def _build(
    order: FailoverTest, candidates: list[Candidate], networks: list[bubble.HostBubble], undo: Undo
) -> Procedure[None]:
    """Networks, their guards, disks, machines; what each step makes is noted in `undo` before it is asked for."""
    for one in networks:
        undo.guards.append(UnguardBridge(host=one.host, bridge=one.network.bridge))
        undo.networks.append(RemoveBubble(host=one.host, network=one.network.name, run=order.run))
    yield from all_of([MakeBubble(host=one.host, network=one.network, run=order.run) for one in networks], PARALLEL)
    yield from all_of([GuardBridge(host=one.host, bridge=one.network.bridge) for one in networks], PARALLEL)
    for host in sorted({one.item.target_host for one in candidates}):
        undo.disks.append(RemoveOverlays(host=host, run=order.run))
    overlays = yield from all_of(
        [
            MakeOverlays(
                vm=one.item.name,
                host=one.item.target_host,
                run=order.run,
                item=one.point.item,
                epoch=one.point.epoch,
                sequence=one.point.sequence,
            )
            for one in candidates
            if one.point
        ],
        PARALLEL,
    )
    for candidate in candidates:
        undo.machines.append(
            RemoveMachine(
                vm=candidate.item.name, host=candidate.item.target_host, domain=candidate.domain, run=order.run
            )
        )
    by_network = {(one.host, one.network.copies): one.network.name for one in networks}
    yield from all_of(
        [
            DefineMachine(
                vm=one.item.name,
                host=one.item.target_host,
                machine=rebuild(one, {disk.target: disk.path for disk in made.disks}, by_network, order.run),
                run=order.run,
            )
            for one, made in zip(candidates, overlays, strict=True)
        ],
        PARALLEL,
    )


def rebuild(candidate: Candidate, paths: dict[str, str], networks: dict[tuple[str, str], str], run: str) -> Machine:
    """The test machine: the primary's shape with a new name and UUID, its overlays, and the cards that were predicted.

    Cards keep their MAC, so that the guest finds its configuration; the size bounds processors and memory (J1).
    """
    source, size, host = candidate.primary.machine, candidate.item.size, candidate.item.target_host
    missing = sorted({disk.target for disk in source.disks} - paths.keys())
    if missing:
        raise Failed(action=f"rebuilding {candidate.item.name}", cause=f"the point lacks disks {', '.join(missing)}")
    return Machine(
        name=candidate.domain,
        uuid=derived_uuid(run, candidate.item.name),
        memory_mib=min(source.memory_mib, size.max_memory_mib) if size else source.memory_mib,
        vcpus=min(source.vcpus, size.max_vcpus) if size else source.vcpus,
        disks=tuple(
            Disk(target=disk.target, path=paths[disk.target], format="qcow2", size_bytes=disk.size_bytes)
            for disk in source.disks
        ),
        nics=tuple(
            Nic(mac=one.mac, network=networks[(host, one.network)] if one.network else None)
            for one in candidate.nics
            if not one.dropped
        ),
        boot=source.boot,
    )


def derived_uuid(run: str, name: str) -> str:
    """A UUID that is the same whenever the same run makes the same machine (RFC 9562 version 8)."""
    digest = bytearray(hashlib.sha256(f"{run}/{name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _start_group(order: FailoverTest, group: list[Candidate]) -> Procedure[None]:
    """Start the machines of a group together; before the next group their services answer, or, where there is none
    to ask, their heartbeat is heard, which then ends the machine's part of the RTO."""
    yield from all_of(
        [StartMachine(vm=one.item.name, host=one.item.target_host, domain=one.domain, run=order.run) for one in group],
        PARALLEL,
    )
    waits = [
        AwaitServices(
            vm=one.item.name,
            host=one.item.target_host,
            domain=one.domain,
            services=one.item.services,
            address=one.address,
            seconds=order.service_seconds,
        )
        for one in group
        if owed.has_service(one.item)
    ]
    for seen in (yield from all_of(waits, PARALLEL)):
        yield from note(*seen.answered, seen.observed)
    silent = [one for one in group if not owed.has_service(one.item)]
    beats = [_heartbeat(one, order.service_seconds) for one in silent]
    for one, evidence in zip(silent, (yield from all_of(beats, PARALLEL)), strict=True):
        yield from note(evidence.observed)
        if JUDGES["heartbeat"](evidence.observed)[0] is Outcome.PASS:
            at_us = evidence.observed.at_us
            yield from note(ServiceAnswered(at_us=at_us, vm=one.item.name, service=owed.HEARTBEAT_SERVICE))


def _examine(order: FailoverTest, candidates: list[Candidate], networks: list[bubble.HostBubble]) -> Procedure[None]:
    """Every owed check; one that fails to observe stays without observation and counts as unknown."""
    commands: list[Command[Evidence]] = []
    for one in candidates:
        commands += _machine_checks(one, tuple(bubbled.network for bubbled in networks))
    guests, hosts = bubble.probes(order.estate, [_in_bubble(one) for one in candidates])
    commands.append(
        ProbeIsolation(
            guest_probes=guests,
            host_probes=hosts,
            bridges=bubble.bridges(networks, [_in_bubble(one) for one in candidates]),
        )
    )
    for reply in (yield from together(commands, PARALLEL)):
        if not isinstance(reply, DrillError):
            yield from note(reply.observed)
            if reply.ledger is not None:
                yield from note(reply.ledger)
    screens = [SeeScreen(vm=one.item.name, host=one.item.target_host, domain=one.domain) for one in candidates]
    for screen in (yield from together(screens, PARALLEL)):
        if not isinstance(screen, DrillError):
            yield from note(screen)


def _machine_checks(one: Candidate, networks: tuple[BubbleNetwork, ...]) -> list[Command[Evidence]]:
    expected = owed.expectations(one.item, one.nics, one.point, one.ledger, one.histories)
    return [
        Check(
            vm=one.item.name,
            check=name,
            host=one.item.source_host if name == "primary" else one.item.target_host,
            domain=one.item.name if name == "primary" else one.domain,
            expected=value,
            item=one.primary.machine.uuid,
            point=one.point,
            paths=one.item.ledgers,
            networks=networks,
            databases=one.item.databases,
        )
        for name, value in expected.items()
        if name != "heartbeat" or owed.has_service(one.item)  # a machine without was waited for by its heartbeat
    ]


def _heartbeat(one: Candidate, seconds: float) -> Command[Evidence]:
    """The wait for a machine that has no service to ask: it is up when it counts on its console."""
    return Check(
        vm=one.item.name,
        check="heartbeat",
        host=one.item.target_host,
        domain=one.domain,
        expected={"beats_min": owed.BEATS_MIN},
        seconds=seconds,
    )


def _in_bubble(one: Candidate) -> bubble.Inmate:
    return bubble.Inmate(
        item=one.item,
        domain=one.domain,
        nics=one.nics,
        primary_addresses=tuple(global_addresses(nic.addresses) for nic in one.primary.nics),
    )


def candidates_nics(candidates: list[Candidate]) -> list[tuple[str, tuple[NicPredicted, ...]]]:
    """(target host, predicted cards) per machine."""
    return [(one.item.target_host, one.nics) for one in candidates]


def _clean(undo: Undo) -> Procedure[str]:
    """Take everything away, stage by stage; what could not be taken away is returned as one sentence."""
    problems: list[str] = []
    for stage in undo.stages():
        for command, reply in zip(stage, (yield from together(stage, PARALLEL)), strict=True):
            if isinstance(reply, DrillError):
                problems.append(f"{command.title} {command.vm}: {reply}".replace("  ", " "))
    return "; ".join(problems)
