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
@click.option("--app-consistent", is_flag=True, help="Freeze the guests' file systems for the instant.")
@estate_option
@spoken
def command(
    out: Output, items: tuple[str, ...], every: bool, witness: bool, app_consistent: bool, estate: Path
) -> None:
    """Replicate items now and show the recovery points that were sealed."""
    known = read_estate(estate)
    names = tuple(known.items) if every else items
    if not names:
        raise Usage(problem="nothing to replicate", cure="name items, or give --all")
    protection = Protection(known, RemoteHosts(known))

    def replicate(name: str) -> Point:
        source = protection.hosts.source(known.items[protection.item_named(name)].source_host)
        point = source.cycle(protection.identity(name), witness=witness, application_consistent=app_consistent)
        if app_consistent and not point.application_consistent:
            reasons[name] = source.status(protection.identity(name)).application_reason
        return point

    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        points = dict(zip(names, pool.map(replicate, names), strict=True))
    document = {"points": {name: asdict(point) for name, point in points.items()}, "crash_consistent_because": reasons}
    out.result(document, *(_line(name, point, reasons.get(name)) for name, point in points.items()))


def _line(name: str, point: Point, reason: str | None) -> str:
    kind = ", application-consistent" if point.application_consistent else ""
    if reason is not None:
        kind = f", crash-consistent only: {reason}"
    return f"{name}: point {point.epoch}/{point.sequence}, {point.sent_bytes} bytes{kind}"
