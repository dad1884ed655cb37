"""`drill predict`: what a failover of a plan would come to, before anything moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import each
from drill.cli.output import Output, spoken
from drill.core.capacity import Observed
from drill.core.prediction import (
    Ground,
    Measured,
    PlanPredicted,
    as_declared,
    observed,
    predict_plan,
    starting_seconds,
    undeclared,
)
from drill.errors import DrillError, Refused, Usage
from drill.model.command import PrimarySeen, SeePrimary
from drill.model.estate import Estate, Plan
from drill.model.fact import MachinePredicted
from drill.reporting.record import FILE, read, runs_folder
from drill.wiring.controller import Protection, RemoteHosts, actions, system_clock


@click.command()
@click.argument("plan")
@click.option("--declared", is_flag=True, help="Ask no host: predict from what the estate declares alone.")
@estate_option
@spoken
def command(out: Output, plan: str, declared: bool, estate: Path) -> None:
    """Show host, storage, networks, addresses, estimated RPO and RTO of a plan's machines, and what stands in the way.

    Machines that the estate declares whole (cards, disks, memory, processors) are not looked at.  Ends with an error
    when something stands in the way of a failover.
    """
    known = read_estate(estate)
    if plan not in known.plans:
        raise Usage(problem=f"there is no plan {plan!r}", cure=f"the estate has: {', '.join(sorted(known.plans))}")
    chosen = known.plans[plan]
    seen = _seen(known, chosen, declared=declared)
    measured = Measured(
        replication={} if declared else _replication(out, known, chosen), starting_seconds=_starts(plan)
    )
    found = predict_plan(chosen, known, seen, Ground.of(known), measured)
    if declared:
        silent = (one for name in seen for one in undeclared(known.items[name]))
        found = replace(found, findings=(*found.findings, *silent))
    out.result(_document(plan, found), *_lines(plan, found))
    if wrong := [one for one in found.findings if one.refuses]:
        raise Refused(f"{len(wrong)} things stand in the way of plan {plan}", wrong[0].rule, wrong[0].remedy)


def _seen(known: Estate, plan: Plan, *, declared: bool) -> dict[str, PrimarySeen]:
    """Every machine of the plan, looked at where the estate does not declare it whole, unless only that is wanted."""
    clock = system_clock()
    names = tuple(name for group in plan.groups for name in group)
    unknown = () if declared else tuple(name for name in names if undeclared(known.items[name]))
    acting = actions(known, clock)

    def look(name: str) -> PrimarySeen:
        item = known.items[name]
        return acting.see_primary(SeePrimary(vm=name, host=item.source_host, domain=name, agent=item.agent))

    found = dict(each(unknown, look)) if unknown else {}
    return {name: found.get(name) or as_declared(known.items[name], clock.now_us()) for name in names}


def _replication(out: Output, known: Estate, plan: Plan) -> dict[str, Observed]:
    """What the sources' agents tell of the plan's items; one that does not answer is said and left out."""
    items = {name: known.items[name] for group in plan.groups for name in group}
    protection = Protection(known, RemoteHosts(known))
    found: dict[str, Observed] = {}
    for host in sorted({one.source_host for one in items.values()}):
        try:
            statuses = protection.hosts.source(host).items()
        except DrillError as error:
            out.progress(f"nothing is known of cycles on {host}: {error}")
            continue
        found |= {one.domain: observed(items[one.domain], one) for one in statuses if one.domain in items}
    return found


def _starts(plan: str) -> dict[str, float]:
    """How long machines took in the plan's newest drill that can be read; nothing where there was none."""
    for record in sorted(runs_folder().glob(f"*-{plan}-*/{FILE}"), reverse=True):
        try:
            if found := starting_seconds(read(record)):
                return found
        except DrillError:
            continue
    return {}


def _document(plan: str, found: PlanPredicted) -> dict[str, object]:
    return {
        "plan": plan,
        "rpo_seconds": found.rpo_seconds,
        "rto_seconds": found.rto_seconds,
        "machines": [asdict(one) for one in found.machines],
        "findings": [asdict(one) for one in found.findings],
    }


def _lines(plan: str, found: PlanPredicted) -> Iterator[str]:
    for one in found.machines:
        yield from _machine_lines(one)
    yield f"{plan}: estimated RPO {found.rpo_seconds:.0f} s, RTO {found.rto_seconds:.0f} s"
    for finding in found.findings:
        yield f"{'stands in the way' if finding.refuses else 'advice'}: {finding}"


def _machine_lines(one: MachinePredicted) -> Iterator[str]:
    shape = f"{one.memory_mib} MiB, {one.vcpus} processors, group {one.group}"
    times = f"RPO {one.rpo_seconds:.0f} s, up after {one.rto_seconds:.0f} s"
    yield f"{one.vm} on {one.host or 'the region'}: {shape}, {times}"
    for disk in one.disks:
        yield f"  disk {disk.disk}: {disk.location}  ({disk.rule})"
    for card in one.nics:
        held = ", ".join(filter(None, (card.address, *card.others))) or "-"
        yield f"  card {card.index} {card.mac}: {held}  ({card.rule})"
