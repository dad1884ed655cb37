"""`drill protect`: begin to replicate items."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import chosen, items_argument
from drill.cli.output import Output, spoken
from drill.wiring.controller import Protection, RemoteHosts, system_clock

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
    lines = [f"{one.domain}: {one.state.value}, {one.acknowledged_sequence} points" for one in found]
    out.result({"items": [asdict(one) for one in found]}, *lines)
