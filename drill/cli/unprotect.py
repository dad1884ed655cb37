"""`drill unprotect`: stop replicating items."""

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
    """Stop replicating items and drop our checkpoints; their replicas stay."""
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    names = chosen(known, items, every=every)
    each(names, lambda name: protection.source(name).unprotect(protection.identity(name)))
    out.result({"items": list(names)}, *(f"{name}: no longer replicated" for name in names))
