"""`drill cycle`: replicate now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.errors import Usage
from drill.model.point import Point
from drill.wiring.controller import Protection, RemoteHosts


@click.command()
@click.argument("items", metavar="[ITEM]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All protected items of the estate.")
@click.option("--witness", is_flag=True, help="Also read every disk whole with a foreign tool and seal its SHA-256.")
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], every: bool, witness: bool, estate: Path) -> None:
    """Replicate items now and show the recovery points that were sealed."""
    known = read_estate(estate)
    names = tuple(known.items) if every else items
    if not names:
        raise Usage(problem="nothing to replicate", cure="name items, or give --all")
    protection = Protection(known, RemoteHosts(known))

    def replicate(name: str) -> Point:
        source = protection.hosts.source(known.items[protection.item_named(name)].source_host)
        return source.cycle(protection.identity(name), witness=witness)

    with ThreadPoolExecutor(max_workers=4) as pool:
        points = dict(zip(names, pool.map(replicate, names), strict=True))
    lines = [
        f"{name}: point {point.epoch}/{point.sequence}, {point.sent_bytes} bytes" for name, point in points.items()
    ]
    out.result({"points": {name: asdict(point) for name, point in points.items()}}, *lines)
