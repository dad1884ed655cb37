"""`drill pause`: begin no cycle of items until they are resumed."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._estate import estate_option
from drill.cli._items import items_argument, tell_sources
from drill.cli.output import Output, spoken


@click.command()
@items_argument
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], every: bool, estate: Path) -> None:
    """Begin no cycle of items until they are resumed; a cycle that is running is ended, the checkpoint is kept."""
    tell_sources(out, estate, items, lambda source, item: source.pause(item), every=every, done="paused")
