"""`drill protect`: begin to replicate items."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import chosen, items_argument
from drill.cli.output import Output, spoken
from drill.model.point import ItemStatus
from drill.wiring.controller import Protection, RemoteHosts, system_clock
from drill.wiring.preflight import full_read

WAIT_SECONDS = 600.0


@click.command()
@items_argument
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the first recovery point.")
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], every: bool, wait: bool, estate: Path) -> None:
    """Begin to replicate items: a full copy first, then a cycle every interval of their policy."""
    known = read_estate(estate)
    names = chosen(known, items, every=every)
    protection, clock = Protection(known, RemoteHosts(known)), system_clock()
    identities = {}
    for name in names:
        identities[name] = protection.protect(name)
        out.progress(f"{name}: replication ordered")
    found = []
    for name, identity in identities.items():
        if wait:
            found.append(protection.await_point(name, identity, WAIT_SECONDS, clock))
            out.progress(f"{name}: first recovery point sealed")
        else:
            found.append(protection.status(name, identity))
    found = [replace(one, without_bitmap=protection.source(one.domain).without_bitmap(one.domain)) for one in found]
    out.result({"items": [asdict(one) for one in found]}, *map(_line, found))


def _line(status: ItemStatus) -> str:
    known = f"{status.domain}: {status.state.value}, {status.acknowledged_sequence} points"
    return f"{known}; {full_read(status.without_bitmap)}" if status.without_bitmap else known
