"""`drill resume`: go on replicating items that were paused."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import chosen, each, items_argument
from drill.cli.output import Output, spoken
from drill.wiring.controller import Protection, RemoteHosts


@click.command()
@items_argument
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], every: bool, estate: Path) -> None:
    """Go on replicating items, with what changed since they were paused."""
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    names = chosen(known, items, every=every)
    each(names, lambda name: protection.source(name).unpause(protection.identity(name)))
    out.result({"items": list(names)}, *(f"{name}: resumed" for name in names))
