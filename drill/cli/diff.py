"""`drill diff`: what applying an estate file would change."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli import _changes
from drill.cli._estate import estate_argument, sound_file
from drill.cli._vault import doors, vault_option
from drill.cli.output import Output, spoken
from drill.estate.proposal import propose
from drill.wiring.desired import AppliedEstates


@click.command()
@estate_argument
@vault_option
@spoken
def command(out: Output, estate: Path, place: str) -> None:
    """Show, object by object and field by field, how an estate file differs from what was applied.

    Example: drill diff estate.yaml
    """
    loaded = sound_file(estate)
    with AppliedEstates(doors(place)).objects(loaded.estate.vault) as store:
        proposal = propose(loaded, estate.absolute().parent, store)
    out.result(_changes.document(proposal), *_changes.lines(proposal))
