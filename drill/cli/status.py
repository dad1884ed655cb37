"""`drill status`: what every protected item's agent observes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.model.point import ItemStatus
from drill.replication.quiesce import ALARM_FAILURES
from drill.wiring.controller import Protection, RemoteHosts, system_clock


@click.command()
@estate_option
@spoken
def command(out: Output, estate: Path) -> None:
    """Show state, last point and last error of every item that the estate's agents replicate."""
    known = read_estate(estate)
    protection, now_us = Protection(known, RemoteHosts(known)), system_clock().now_us()
    hosts = sorted({one.source_host for one in known.items.values()})
    found = [status for host in hosts for status in protection.hosts.source(host).items()]
    lines = [_line(one, now_us) for one in found] or ["no item is replicated"]
    out.result({"items": [asdict(one) for one in found]}, *lines)


def _line(status: ItemStatus, now_us: int) -> str:
    point = status.last_point
    age = f"last point {(now_us - point.begun_us) / 1e6:.0f} s ago" if point else "no point yet"
    trouble = f"; {status.last_error}" if status.last_error else ""
    if status.application_failures >= ALARM_FAILURES:
        trouble += f"; no application-consistent point: {status.application_reason}"
    return f"{status.domain}: {status.state.value}, {status.acknowledged_sequence} points, {age}{trouble}"
