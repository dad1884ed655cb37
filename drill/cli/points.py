"""`drill points`: the recovery points of an item, as the receiving side has them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.model.point import Point
from drill.wiring.controller import Protection, RemoteHosts


@click.command()
@click.argument("item")
@estate_option
@spoken
def command(out: Output, item: str, estate: Path) -> None:
    """List the recovery points of an item, oldest first."""
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    target = known.items[protection.item_named(item)].target_host
    points = protection.hosts.receiver(target).points(protection.identity(item))
    out.result({"item": item, "points": [asdict(one) for one in points]}, *(_line(one) for one in points))


def _line(point: Point) -> str:
    instant = datetime.fromtimestamp(point.begun_us / 1e6, UTC)
    kind = "full" if point.full else "incremental"
    return f"{point.epoch}/{point.sequence}  {instant:%Y-%m-%d %H:%M:%S.%f} UTC  {kind}  {point.sent_bytes} bytes sent"
