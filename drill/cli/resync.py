"""`drill resync`: read items whole and send what the receiver has otherwise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import chosen, each, items_argument
from drill.cli.output import Output, spoken
from drill.model.point import Point
from drill.wiring.controller import Protection, RemoteHosts


@click.command()
@items_argument
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], every: bool, estate: Path) -> None:
    """Read every disk of items whole now, whatever their window says, and send what the receiver has otherwise.

    `drill status` shows how far it is, `drill pause` cancels it; points that are there stay usable.
    """
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))

    def resync(name: str) -> Point:
        out.progress(f"{name}: comparing")
        return protection.source(name).resync(protection.identity(name))

    points = each(chosen(known, items, every=every), resync)
    lines = [f"{name}: point {one.epoch}/{one.sequence}, {one.sent_bytes} bytes" for name, one in points.items()]
    out.result({"points": {name: asdict(point) for name, point in points.items()}}, *lines)
