"""Recovery plans: what may be in one, and in which order its machines start (spec K1-K6).

Groups start one after another.  Within a group a machine starts when those it needs are up; of several that could, the
first as listed goes first, and no more than the plan allows start at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from drill.model.estate import Estate, Plan
from drill.model.finding import Finding

GROUPS_MAX = 7
TESTED_MACHINES = 100
"""So many machines in one plan are tested (K2); more are allowed, with advice."""


def check(estate: Estate, plan: Plan) -> tuple[Finding, ...]:
    """Everything amiss with a plan: names, groups, machines, dependencies, ends (K1, K2, K6)."""
    return (*_groups(plan), *_machines(estate, plan), *_needs(plan), *_ends(estate, plan))


def _groups(plan: Plan) -> Iterable[Finding]:
    names = [name for group in plan.groups for name in group]
    wrong = (
        (not plan.name, "it has no name", "give it one", True),
        (
            len(plan.groups) > GROUPS_MAX,
            f"it has {len(plan.groups)} groups",
            f"join groups: {GROUPS_MAX} at most",
            True,
        ),
        (not names, "it has no machine", "add one to its first group", True),
        (
            len(names) > TESTED_MACHINES,
            f"it has {len(names)} machines, tested are {TESTED_MACHINES}",
            "split it into several plans",
            False,
        ),
        (plan.starts_max < 1, f"it starts {plan.starts_max} machines at a time", "allow at least one", True),
    )
    for is_wrong, problem, cure, refuses in wrong:
        if is_wrong:
            yield _finding(plan, "K2" if not refuses else "K1", problem, cure, refuses=refuses)


def _machines(estate: Estate, plan: Plan) -> Iterable[Finding]:
    seen: dict[str, int] = {}
    for number, group in enumerate(plan.groups, 1):
        for name in group:
            if name not in estate.items:
                yield _finding(plan, "K1", f"there is no protected item {name}", "protect it, or take it out")
            if name in seen:
                problem = f"{name} is in group {seen[name]} and in group {number}"
                yield _finding(plan, "K1", problem, "leave it in one of them")
            seen[name] = number


def _needs(plan: Plan) -> Iterable[Finding]:
    for group in plan.groups:
        for name in group:
            for other in plan.needs.get(name, ()):
                if other not in group:
                    problem = f"{name} needs {other}, which is not in its group"
                    yield _finding(plan, "K1", problem, "order groups instead, or put both into one")
        if circle := _circle(group, plan.needs):
            problem = f"{' needs '.join(circle)}: none of them could start first"
            yield _finding(plan, "K1", problem, "take one of these needs away")


def _circle(group: tuple[str, ...], needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A circle of needs within a group, its first name again at the end; empty where there is none."""
    waiting = _never_first(group, needs)
    if not waiting:
        return ()
    way = [waiting[0]]
    while (following := next(one for one in needs[way[-1]] if one in waiting)) not in way:
        way.append(following)
    return (*way[way.index(following) :], following)


def _never_first(group: tuple[str, ...], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    waiting = list(group)
    while free := [name for name in waiting if not set(needs.get(name, ())) & set(waiting)]:
        waiting = [name for name in waiting if name not in free]
    return waiting


def _ends(estate: Estate, plan: Plan) -> Iterable[Finding]:
    """Source and target are servers of the estate, one of them may be both; every machine replicates between them."""
    for server in dict.fromkeys(filter(None, (plan.source, plan.target))):
        if server not in estate.servers and server not in estate.regions:
            yield _finding(plan, "K6", f"there is no server {server}", "name a server of the estate")
    if not plan.source:
        return
    for name in (one for group in plan.groups for one in group if one in estate.items):
        pair = estate.items[name].pair
        ends = estate.clouds[pair.source].server, pair.region or estate.clouds[pair.target].server
        if ends != (plan.source, plan.target):
            problem = f"{name} replicates from {ends[0]} to {ends[1]}"
            yield _finding(plan, "K1", problem, f"put it into a plan from {ends[0]} to {ends[1]}")


def _finding(plan: Plan, rule: str, problem: str, remedy: str, *, refuses: bool = True) -> Finding:
    name = plan.name or "(unnamed)"
    return Finding(rule=rule, kind="plan", name=name, problem=problem, remedy=remedy, refuses=refuses)


def add(plan: Plan, names: Iterable[str], group: int = 1) -> Plan:
    """The plan with machines added to a group, the first unless another is named (K1); one it has stays where it is.

    A replication group is added by the names of all its machines.  A group after the last one is made.
    """
    known = {name for one in plan.groups for name in one}
    groups = [*plan.groups, *[()] * (group - len(plan.groups))]
    fresh = tuple(dict.fromkeys(name for name in names if name not in known))
    groups[group - 1] = (*groups[group - 1], *fresh)
    return replace(plan, groups=tuple(groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A machine of a plan; `ready` says that its first copy is done (K3)."""

    machine: str
    group: int
    ready: bool


def listed(plan: Plan, copied: Collection[str]) -> tuple[Listed, ...]:
    """All machines of the plan; only those whose first copy is done, `copied`, fail over (K3)."""
    return tuple(
        Listed(machine=name, group=number, ready=name in copied)
        for number, group in enumerate(plan.groups, 1)
        for name in group
    )


def planned(plan: Plan, copied: Collection[str]) -> tuple[Finding, ...]:
    """What keeps a planned failover from beginning: machines whose first copy is not done (M7)."""
    pending = ", ".join(one.machine for one in listed(plan, copied) if not one.ready)
    if not pending:
        return ()
    problem = f"the first copy of {pending} is not done"
    return (_finding(plan, "M7", problem, "wait for it, or take them out of the plan"),)


def sources(estate: Estate, ready: Collection[str]) -> tuple[str, ...]:
    """Servers that a plan can have for its source: those with a machine that is ready to fail over (K5)."""
    has = {estate.clouds[item.pair.source].server for name, item in estate.items.items() if name in ready}
    return tuple(name for name in estate.servers if name in has)


def waves(
    group: tuple[str, ...], needs: Mapping[str, tuple[str, ...]], running: Collection[str] = ()
) -> list[list[str]]:
    """The machines of a group in waves: each needs only what earlier waves have; what runs already is passed over (K1).

    Empty of those that need one another in a circle, which `check` refuses.
    """
    waiting = [name for name in group if name not in running]
    order = []
    while wave := [name for name in waiting if not set(needs.get(name, ())) & set(waiting)]:
        order.append(wave)
        waiting = [name for name in waiting if name not in wave]
    return order


def seconds(plan: Plan, lasting: Mapping[str, float], default: float) -> float:
    """How long starting the plan takes, if each machine takes `lasting` seconds: by group, needs and limit."""
    return sum(_group_seconds(group, plan, lasting, default) for group in plan.groups)


def _group_seconds(group: tuple[str, ...], plan: Plan, lasting: Mapping[str, float], default: float) -> float:
    """The end of the last machine, if each starts as soon as its needs are up and a place is free."""
    ends: dict[str, float] = {}
    places = [0.0] * max(plan.starts_max, 1)
    for wave in waves(group, plan.needs):
        for name in wave:
            place = min(range(len(places)), key=lambda one: places[one])
            begins = max([places[place], *(ends.get(one, 0.0) for one in plan.needs.get(name, ()))])
            places[place] = ends[name] = begins + lasting.get(name, default)
    return max(ends.values(), default=0.0)
