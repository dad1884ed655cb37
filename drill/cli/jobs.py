"""`drill jobs`: the controller's runs: what there is, going on with what was interrupted, stopping one."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._drills import deliver, follow
from drill.cli._estate import estate_option, open_controller, read_estate, state_folder
from drill.cli.output import Output, spoken
from drill.errors import Usage
from drill.orchestration.durable import ask_cancel, known
from drill.wiring.controller import controller_folder


@click.group()
def command() -> None:
    """Runs of this controller: list them, go on with an interrupted one, stop one."""


@command.command("list")
@estate_option
@spoken
def jobs_list(out: Output, estate: Path) -> None:
    """List all runs, oldest first; `pending` is one that goes on, or was interrupted."""
    runs = known(controller_folder(state_folder(), read_estate(estate).vault))
    lines = [f"{run}  {status}" for run, status in runs.items()] or ["no run was ever made"]
    out.result({"jobs": [{"run": run, "status": status} for run, status in runs.items()]}, *lines)


@command.command("resume")
@click.argument("run", required=False)
@estate_option
@spoken
def jobs_resume(out: Output, run: str | None, estate: Path) -> None:
    """Go on with the run that was interrupted (the oldest one, unless RUN is named) and deliver its evidence."""
    with open_controller(read_estate(estate).vault, out) as controller:
        unfinished = controller.runs.pending()
        chosen = run or next(iter(unfinished), None)
        if chosen is None:
            out.result({"resumed": None}, "no run was interrupted")
            return
        if chosen not in unfinished:
            raise Usage(problem=f"run {chosen!r} was not interrupted", cure="see: drill jobs list")
        out.progress(f"going on with {chosen}")
        follow(controller, chosen, out)
    deliver(chosen, out)


@command.command("cancel")
@click.argument("run")
@estate_option
@spoken
def jobs_cancel(out: Output, run: str, estate: Path) -> None:
    """Ask a run to stop at its next step and take back what it made."""
    ask_cancel(controller_folder(state_folder(), read_estate(estate).vault), run)
    out.result({"run": run, "cancel": "asked"}, f"{run}: asked to stop; it takes back what it made")
