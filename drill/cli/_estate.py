"""What the verbs that work on an estate share: its option, its files, its progress lines."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from drill.cli.output import Output, Verb
from drill.errors import Usage
from drill.estate import proposal
from drill.estate.load import Loaded, load
from drill.model.estate import Estate
from drill.model.fact import Fact, Observed, RunEnded, ServiceAnswered, StepEnded
from drill.reporting.record import RunWriter, runs_folder
from drill.wiring.controller import Controller, controller_folder, system_clock

STATE_FOLDER = "/var/lib/drill"
DEFAULT_FILE = Path("estate.yaml")


def estate_option(verb: Verb) -> Verb:
    """Decorate a verb that needs an estate."""
    option = click.option(
        "--estate",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="DRILL_ESTATE",
        default=DEFAULT_FILE,
        show_default=True,
        help="The estate's YAML file (also DRILL_ESTATE); without one, what was applied.",
    )
    return option(verb)


def estate_argument(verb: Verb) -> Verb:
    """Decorate a verb that takes an estate's file."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.argument("estate", metavar="ESTATE.yaml", type=kind)(verb)


def sound_file(path: Path) -> Loaded:
    """A file that was checked as a whole; Usage when there is none, BadInput with its mistakes."""
    if not path.is_file():
        raise Usage(problem=f"there is no estate file {path}")
    return proposal.read_estate(path)


def read_estate(path: Path) -> Estate:
    """The estate in a file; without a file of the default name the one that was applied.  Usage when there is none."""
    if path.is_file():
        return load(path)
    applied = None
    if path == DEFAULT_FILE:
        from drill.wiring.desired import AppliedEstates
        from drill.wiring.vaults import Doors

        applied = AppliedEstates(Doors(state_folder(), os.environ.get("DRILL_VAULT", ""))).estate()
    if applied is None:
        cure = "name one with --estate FILE or DRILL_ESTATE, or apply one: drill apply FILE"
        raise Usage(problem=f"there is no estate file {path}", cure=cure)
    return applied


def state_folder() -> Path:
    """Where this controller keeps what must not be lost."""
    return Path(os.environ.get("DRILL_STATE_DIR") or STATE_FOLDER)


def new_run_id(name: str) -> str:
    """An id that sorts by time, says what it is, and is never used twice."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"


class _Record:
    """A run record as the port `Recorder` wants it."""

    def __init__(self, run: str) -> None:
        self._writer = RunWriter(runs_folder() / run)
        self._count = len(self._writer.record.facts)

    def written(self) -> int:
        return self._count

    def append(self, fact: Fact) -> None:
        self._writer.append(fact)
        self._count += 1

    def close(self) -> None:
        self._writer.close()


def open_controller(estate_vault: str, out: Output) -> Controller:
    """The controller of a vault on this machine; its progress goes to the operator."""
    return Controller(
        state=controller_folder(state_folder(), estate_vault),
        records=_Record,
        progress=lambda run, fact: _show(out, run, fact),
        clock=system_clock(),
    )


def _show(out: Output, run: str, fact: Fact) -> None:
    if isinstance(fact, StepEnded):
        trouble = "" if fact.outcome == "done" else f": {fact.outcome}, {fact.detail}"
        seconds = (fact.ended_us - fact.started_us) / 1e6
        out.progress(f"{fact.vm or 'plan'}: {fact.step} ({seconds:.2f} s){trouble}")
    elif isinstance(fact, ServiceAnswered):
        out.progress(f"{fact.vm}: service {fact.service} answers")
    elif isinstance(fact, Observed) and fact.error:
        out.progress(f"{fact.vm or 'plan'}: {fact.check} saw nothing: {fact.error}")
    elif isinstance(fact, RunEnded):
        out.progress(f"run {run}: {fact.outcome} {fact.detail}".rstrip())
