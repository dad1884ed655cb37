"""`drill apply`: make an estate file what this controller works by."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli import _changes
from drill.cli._estate import estate_argument, sound_file
from drill.cli._vault import doors, vault_option
from drill.cli.output import Output, spoken
from drill.errors import Refused
from drill.estate.proposal import propose, write
from drill.wiring.desired import AppliedEstates


@click.command()
@estate_argument
@click.option("--check", is_flag=True, help="Check and show the differences; write nothing.")
@vault_option
@spoken
def command(out: Output, estate: Path, check: bool, place: str) -> None:
    """Check an estate file as a whole, show what it changes, and write that.

    Everything is validated before anything is written, and it is written at once or not at all.  The same file again
    changes nothing.

    Examples: drill apply --check estate.yaml; drill apply estate.yaml
    """
    loaded = sound_file(estate)
    with AppliedEstates(doors(place)).objects(loaded.estate.vault) as store:
        proposal = propose(loaded, estate.absolute().parent, store)
        lines, document = _changes.lines(proposal), _changes.document(proposal)
        generation = proposal.state.generation
        if proposal.refusals:
            for line in lines:
                out.progress(line)
            first = proposal.refusals[0]
            raise Refused(f"{first.kind} {first.name}: {first.problem}", first.rule, first.remedy)
        if not check:
            generation = write(proposal, store)
    state = "would be written" if check else f"generation {generation}"
    written = {"written": not check, "generation": generation}
    out.result({**document, **written}, *lines[:-1], f"{lines[-1]}; {state if proposal.differences else 'no change'}")
