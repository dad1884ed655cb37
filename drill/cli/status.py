"""`drill status`: what every protected item's agent observes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli import _damage
from drill.cli._estate import estate_option, read_estate
from drill.cli._items import each
from drill.cli.output import Output, spoken
from drill.errors import DrillError
from drill.model.point import ItemStatus
from drill.model.retention import StoreReport
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
    replicated = {one.domain: one.item for one in found if one.domain in known.items}
    stores = each(tuple(replicated), lambda name: _store(protection, known.items[name].target_host, replicated[name]))
    lines, items = [], []
    for one in found:
        store = stores.get(one.domain)
        lines.append(_line(one, now_us))
        lines += [f"  {line}" for line in _damage_of(store, one.domain)]
        items.append(asdict(one) | {"store": asdict(store) if isinstance(store, StoreReport) else None})
    out.result({"items": items}, *(lines or ["no item is replicated"]))


def _store(protection: Protection, host: str, item: str) -> StoreReport | DrillError:
    """What the item's receiver says; an agent that does not answer is no reason to keep quiet about the others."""
    try:
        return protection.hosts.receiver(host).kept(item)
    except DrillError as error:
        return error


def _damage_of(store: StoreReport | DrillError | None, name: str) -> list[str]:
    if isinstance(store, StoreReport):
        return _damage.lines(store, name)
    return [f"its replica cannot be looked at: {store}", f"what to do: {store.remedy}"] if store else []


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
