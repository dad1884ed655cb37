"""What a failover of a plan would come to, before anything moves: hosts, storage, networks, addresses, times.

Pure: primaries as they were seen (or as the estate declares them) and the estate go in, `MachinePredicted` values come
out, each with the sentences of the rules that decided and the findings that stand in the way.  `drill predict` prints
them, the validator keeps them, and a drill asserts afterwards that what it observed equals them.

Machines are looked at in the order of the plan, over one `Ground`: what one takes of a host's memory, of a location's
space or of a pool is gone for those after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface

from drill.core import capacity, cards, landing, placement, plans, storing
from drill.core.addresses import Taken
from drill.core.capacity import Observed
from drill.core.placement import Needs, Room
from drill.core.storing import Free
from drill.model.command import NicSeen, PrimarySeen, StartMachine
from drill.model.estate import Estate, Item, Plan
from drill.model.fact import (
    DiskPredicted,
    Fact,
    MachinePredicted,
    NicPredicted,
    ServiceAnswered,
    StepEnded,
)
from drill.model.finding import Finding
from drill.model.machine import Disk, Machine, Nic
from drill.model.point import ItemStatus
from drill.model.target import ItemDisk

START_SECONDS = 30.0
"""How long a machine is taken to need from its start to its last service while no drill has measured it."""


@dataclass(slots=True)
class Ground:
    """What is left at the target while a plan is looked through: room, space, and addresses by (site, network)."""

    room: Room
    free: Free
    taken: dict[tuple[str, str], Taken]

    @classmethod
    def of(cls, estate: Estate, held: Mapping[tuple[str, str], Mapping[str, str]] | None = None) -> Ground:
        """What the estate declares; `held` adds addresses that were seen at the target, with their holders.

        Addresses that operators set for any item are that item's, whichever plan it is in.
        """
        taken = {
            place: Taken({ip_interface(one).ip: holder for one, holder in some.items()})
            for place, some in (held or {}).items()
        }
        for item in estate.items.values():
            for nic in (one for one in item.target.nics if one.addresses):
                source = item.nics[nic.source].network if nic.source < len(item.nics) else None
                network = landing.target_network(item, nic.source, source, estate)
                if network is not None:
                    for address in nic.addresses:
                        taken.setdefault((network.site, network.name), Taken()).hold(address, item.name)
        return cls(room=Room.of(estate), free=Free.of(estate), taken=taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What earlier cycles and drills have shown: replication per item, seconds from start to service per item."""

    replication: Mapping[str, Observed] = field(default_factory=dict)
    starting_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPredicted:
    """A plan's machines in its order; the estimates are the worst machine's and the whole plan's."""

    machines: tuple[MachinePredicted, ...]
    rpo_seconds: float
    rto_seconds: float
    findings: tuple[Finding, ...]


def predict_plan(
    plan: Plan, estate: Estate, seen: Mapping[str, PrimarySeen], ground: Ground, measured: Measured | None = None
) -> PlanPredicted:
    """What a failover of the plan would come to; `seen` has every machine of it."""
    known = measured or Measured()
    machines = tuple(
        _machine(estate.items[name], number, estate, seen[name], ground, plan, known)
        for number, group in enumerate(plan.groups, 1)
        for name in group
    )
    return PlanPredicted(
        machines=machines,
        rpo_seconds=max((one.rpo_seconds or 0.0 for one in machines), default=0.0),
        rto_seconds=plans.seconds(plan, known.starting_seconds, START_SECONDS),
        findings=(*plans.check(estate, plan), *(finding for one in machines for finding in one.findings)),
    )


def _machine(
    item: Item, group: int, estate: Estate, seen: PrimarySeen, ground: Ground, plan: Plan, known: Measured
) -> MachinePredicted:
    nics, found = _cards(item, seen, estate, ground)
    disks = _disks(item, seen.machine, estate, ground)
    needs = Needs(
        item=item,
        networks=tuple(nic.network for nic in nics if nic.network is not None),
        classes=tuple(disk.classification for disk in disks if disk.classification),
        memory_mib=_at_most(seen.machine.memory_mib, item.size.max_memory_mib if item.size else None),
        vcpus=_at_most(seen.machine.vcpus, item.size.max_vcpus if item.size else None),
    )
    if item.target_host:
        found += placement.lacks(estate, estate.hosts[item.target_host], needs, ground.room)
        ground.room.take(item.target_host, needs)
    return MachinePredicted(
        at_us=seen.at_us,
        vm=item.name,
        host=item.target_host,
        group=group,
        size=item.size.name if item.size else "",
        nics=nics,
        disks=disks,
        memory_mib=needs.memory_mib,
        vcpus=needs.vcpus,
        rpo_seconds=_rpo(item, known),
        rto_seconds=_rto(item, group, plan, known),
        findings=tuple(found),
    )


def _at_most(much: int, limit: int | None) -> int:
    return much if limit is None else min(much, limit)


def _rpo(item: Item, known: Measured) -> float:
    """The interval, and how long its busiest cycle travels where both that and the link's limit are known."""
    policy = item.pair.policy
    observed = known.replication.get(item.name)
    if observed is None:
        return float(policy.copy_frequency_seconds)
    limit = policy.bandwidth.bytes_per_second if policy.bandwidth else 0
    return capacity.rpo_seconds(observed, limit)


def _rto(item: Item, group: int, plan: Plan, known: Measured) -> float:
    """All groups before the machine's, and the machine's own start."""
    before = Plan(
        name=plan.name, groups=plan.groups[: group - 1], needs=plan.needs, starts_max=plan.starts_max,
        rpo_objective_seconds=0.0, rto_objective_seconds=0.0,
    )  # fmt: skip
    own = known.starting_seconds.get(item.name, START_SECONDS)
    return plans.seconds(before, known.starting_seconds, START_SECONDS) + own


def _disks(item: Item, machine: Machine, estate: Estate, ground: Ground) -> tuple[DiskPredicted, ...]:
    """Each disk in its order; in a region all lie in the pair's store."""
    declared = {one.target: one for one in item.disks}
    placed = []
    for disk in machine.disks:
        if not item.target_host:
            rule = f"D1: the store of pair {item.pair.name}"
            placed.append(DiskPredicted(disk=disk.target, location=item.pair.store, classification="", rule=rule))
            continue
        own = declared.get(disk.target)
        asked = ItemDisk(target=disk.target, size_bytes=disk.size_bytes, location=own.location if own else "")
        host = estate.hosts[item.target_host]
        placed.append(storing.place(estate, item, host, asked, free=ground.free, path=disk.path))
    return tuple(placed)


def predict_nics(
    item: Item, seen: PrimarySeen, estate: Estate, ground: Ground | None = None
) -> tuple[NicPredicted, ...]:
    """One prediction per card of the source, in its order; cards beyond the target size are marked dropped (J1)."""
    return _cards(item, seen, estate, ground or Ground.of(estate))[0]


def _cards(
    item: Item, seen: PrimarySeen, estate: Estate, ground: Ground
) -> tuple[tuple[NicPredicted, ...], list[Finding]]:
    built = cards.built(len(seen.nics), item.size, item.target)
    found: list[Finding] = []
    made = []
    for index, nic in enumerate(seen.nics):
        landed, amiss = landing.land(item, index, nic, estate, ground.taken, dropped=index not in built)
        made.append(landed)
        found += amiss
    return tuple(made), found


def observed(item: Item, status: ItemStatus) -> Observed:
    """What an item's newest cycles took; a full copy tells nothing of the cycles to come."""
    cycles = [one for one in status.cycles if not one.full]
    size = sum(disk.size_bytes for disk in status.last_point.disks) if status.last_point else 0
    return Observed(
        machine=item.name,
        size_bytes=size,
        held_bytes=size,
        interval_seconds=item.pair.policy.copy_frequency_seconds,
        sent_bytes=tuple(one.sent_bytes for one in cycles),
        took_seconds=tuple(one.total_seconds for one in cycles),
    )


def starting_seconds(facts: Iterable[Fact]) -> dict[str, float]:
    """How long each machine of an earlier drill took from its start to its last service."""
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for fact in facts:
        if isinstance(fact, StepEnded) and fact.step.startswith(StartMachine.title):
            begun.setdefault(fact.vm, fact.started_us)
        elif isinstance(fact, ServiceAnswered):
            ended[fact.vm] = max(fact.at_us, ended.get(fact.vm, 0))
    return {vm: max(at_us - begun[vm], 0) / 1e6 for vm, at_us in ended.items() if vm in begun}


def undeclared(item: Item) -> tuple[Finding, ...]:
    """What the estate does not say of a machine and a prediction needs, as advice; nothing where it says all."""
    wanted = (("nics", item.nics), ("disks", item.disks), ("memory_mib", item.memory_mib), ("vcpus", item.vcpus))
    missing = ", ".join(key for key, known in wanted if not known)
    if not missing:
        return ()
    problem = f"the estate does not declare its {missing}"
    cure = "declare them, or have the machine looked at"
    return (Finding(rule="S6", kind="machine", name=item.name, problem=problem, remedy=cure, refuses=False),)


def as_declared(item: Item, at_us: int) -> PrimarySeen:
    """A machine as its estate declares it, in place of a look at it."""
    nics = tuple((one.mac or f"card {index}", one) for index, one in enumerate(item.nics))
    return PrimarySeen(
        at_us=at_us,
        machine=Machine(
            name=item.name,
            uuid="",
            memory_mib=item.memory_mib,
            vcpus=item.vcpus,
            disks=tuple(
                Disk(target=one.target, path="", format="qcow2", size_bytes=one.size_bytes) for one in item.disks
            ),
            nics=tuple(Nic(mac=mac, network=one.network) for mac, one in nics),
        ),
        nics=tuple(NicSeen(mac=mac, network=one.network, addresses=one.addresses) for mac, one in nics),
    )
