"""`drill test-failover`: rehearse a recovery plan in an isolated network, and leave evidence."""

from __future__ import annotations

from pathlib import Path

import click

from drill import __version__
from drill.cli._drills import deliver, follow
from drill.cli._estate import estate_option, new_run_id, open_controller, read_estate
from drill.cli.output import Output, spoken
from drill.core.failover_test import FailoverTest
from drill.errors import Refused, Usage
from drill.wiring.controller import check_identity, system_clock


@click.command()
@click.argument("plan")
@click.option(
    "--point", "choice", default="latest", show_default=True, help="latest, or EPOCH/SEQUENCE of one machine."
)
@click.option("--network", type=click.Choice(["isolated"]), default="isolated", show_default=True)
@click.option("--run", "run_id", help="Call the run this; one is made up otherwise.")
@estate_option
@spoken
def command(out: Output, plan: str, choice: str, network: str, run_id: str | None, estate: Path) -> None:
    """Bring a recovery plan up at the other site in an isolated network, check it, and remove it again.

    The primaries keep running and replicating.  The exit code is 0 only when the verdict is *pass*.
    """
    known = read_estate(estate)
    if plan not in known.plans:
        raise Usage(problem=f"there is no plan {plan!r}", cure=f"the estate has: {', '.join(sorted(known.plans))}")
    check_identity()
    order = FailoverTest(
        run=run_id or new_run_id(plan),
        estate=known,
        plan=plan,
        point_choice=choice,
        network_choice=network,
        started_us=system_clock().now_us(),
        drill_version=__version__,
    )
    with open_controller(known.vault, out) as controller:
        unfinished = [one for one in controller.runs.pending() if one != order.run]
        if unfinished:
            raise Refused(
                reason=f"run {', '.join(unfinished)} was interrupted and is not finished",
                cure="finish it first with: drill jobs resume",
            )
        controller.start(order)
        follow(controller, order.run, out)
    deliver(order.run, out)
