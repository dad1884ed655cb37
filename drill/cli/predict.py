"""`drill predict`: where a plan's machines would land, before anything moves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.core.prediction import predict_nics
from drill.errors import Usage
from drill.model.command import SeePrimary
from drill.wiring.controller import actions, system_clock


@click.command()
@click.argument("plan")
@estate_option
@spoken
def command(out: Output, plan: str, estate: Path) -> None:
    """Show for every card of a plan's machines: built or not, network, subnet, address, and the rule that says so."""
    known = read_estate(estate)
    if plan not in known.plans:
        raise Usage(problem=f"there is no plan {plan!r}", cure=f"the estate has: {', '.join(sorted(known.plans))}")
    acting = actions(known, system_clock())
    machines: list[dict[str, object]] = []
    lines: list[str] = []
    for item in (known.items[name] for group in known.plans[plan].groups for name in group):
        look = SeePrimary(vm=item.name, host=item.source_host, domain=item.name, agent=item.agent)
        nics = predict_nics(item, acting.see_primary(look), known)
        machines.append({"vm": item.name, "host": item.target_host, "nics": [asdict(one) for one in nics]})
        lines.append(f"{item.name} on {item.target_host}")
        lines += [f"  card {one.index} {one.mac}: {one.address or '-'}  ({one.rule})" for one in nics]
    out.result({"plan": plan, "machines": machines}, *lines)
