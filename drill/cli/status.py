"""`drill status`: what every protected item's agent observes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.model.point import ItemStatus
from drill.wiring.controller import Protection, RemoteHosts, system_clock


@click.command()
@estate_option
@spoken
def command(out: Output, estate: Path) -> None:
    """Show state, health, progress and last point of every item that the estate's agents replicate."""
    known = read_estate(estate)
    protection, now_us = Protection(known, RemoteHosts(known)), system_clock().now_us()
    hosts = sorted({one.source_host for one in known.items.values()})
    found = [status for host in hosts for status in protection.hosts.source(host).items()]
    lines = [_line(one, now_us) for one in found] or ["no item is replicated"]
    out.result({"items": [asdict(one) for one in found]}, *lines)


def _line(status: ItemStatus, now_us: int) -> str:
    point = status.last_point
    age = f"last point {(now_us - point.begun_us) / 1e6:.0f} s ago" if point else "no point yet"
    done = status.progress
    share = f", {100 * done.bytes_done // max(1, done.bytes_total)} % of {done.bytes_total} bytes read" if done else ""
    trouble = "".join(f"; {reason}" for reason in status.health.reasons)
    if status.without_bitmap:
        trouble = f"; full read each cycle: {', '.join(status.without_bitmap)}{trouble}"
    if status.group:
        paused = max((record.paused_seconds for record in status.cycles[-1:]), default=0.0)
        trouble = f"; group {status.group}, paused for {paused:.3f} s{trouble}"
    known = f"{status.state.value}{share}, {status.health.level.value}"
    return f"{status.domain}: {known}, {status.acknowledged_sequence} points, {age}{trouble}"
