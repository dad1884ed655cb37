"""`drill resume`: go on replicating items that were paused."""

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
    """Go on replicating items, with what changed since they were paused."""
    tell_sources(out, estate, items, lambda source, item: source.unpause(item), every=every, done="resumed")
