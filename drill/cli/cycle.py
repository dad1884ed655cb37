"""`drill cycle`: replicate now."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import chosen, each, items_argument
from drill.cli.output import Output, spoken
from drill.errors import Usage
from drill.model.point import ItemStatus, Point
from drill.wiring.controller import Protection, RemoteHosts, system_clock

GROUP_SECONDS = 600.0


@click.command()
@items_argument
@click.option("--group", metavar="GROUP", help="All items of a consistency group, at one instant.")
@click.option("--witness", is_flag=True, help="Also read every disk whole with a foreign tool and seal its SHA-256.")
@click.option("--app-consistent", is_flag=True, help="Freeze the guests' file systems for the instant.")
@click.option("--deep", is_flag=True, help="Read every disk whole: find, and send, what a change tracker missed.")
@estate_option
@spoken
def command(
    out: Output,
    items: tuple[str, ...],
    every: bool,
    group: str | None,
    witness: bool,
    app_consistent: bool,
    deep: bool,
    estate: Path,
) -> None:
    """Replicate items now and show the recovery points that were sealed."""
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    if group is not None:
        if items or every or witness or deep:
            raise Usage("a group is cycled by itself", "leave out items, --all, --witness and --deep")
        _cycle_group(out, protection, group, app_consistent=app_consistent)
        return

    def replicate(name: str) -> Point:
        source, identity = protection.source(name), protection.identity(name)
        point = source.cycle(identity, witness=witness, application_consistent=app_consistent, deep=deep)
        if app_consistent and not point.application_consistent:
            reasons[name] = source.status(identity).application_reason
        if deep:
            checked[name] = _checked(source.status(identity), point)
        return point

    reasons: dict[str, str] = {}
    checked: dict[str, dict[str, int]] = {}
    points = each(chosen(known, items, every=every), replicate)
    document = {
        "points": {name: asdict(point) for name, point in points.items()},
        "crash_consistent_because": reasons,
        "untracked_pages": checked,
    }
    lines = [_line(name, point, reasons.get(name)) for name, point in points.items()]
    out.result(document, *lines, *(line for name, disks in checked.items() for line in _found(name, disks)))


def _cycle_group(out: Output, protection: Protection, group: str, *, app_consistent: bool) -> None:
    """The cycle of one item wakes the others; the instant is there when the last of them has its point."""
    found = protection.cycle_group(group, app_consistent, GROUP_SECONDS, system_clock())
    kind = "application-consistent" if found.application_consistent else "crash-consistent"
    paused = protection.paused_seconds(found)
    line = f"{group}: instant {found.instant} of {len(found.points)} items, {kind}, guests paused for {paused:.3f} s"
    out.result({"group": group, "point": asdict(found), "paused_seconds": paused}, line)


def _checked(status: ItemStatus, point: Point) -> dict[str, int]:
    """What the deep check that sealed `point` found, by disk; a disk that had no tracker to check is left out."""
    records = [record for record in status.cycles if record.sequence == point.sequence]
    disks = records[-1].disks if records else ()
    return {disk.target: disk.untracked_pages for disk in disks if disk.untracked_pages is not None}


def _found(name: str, disks: dict[str, int]) -> list[str]:
    if not any(disks.values()):
        return [f"{name}: nothing had changed behind the change tracker's back"]
    said = "pages had changed untracked, and were sent"
    return [f"{name} {disk}: {pages} {said}" for disk, pages in disks.items() if pages]


def _line(name: str, point: Point, reason: str | None) -> str:
    kind = ", application-consistent" if point.application_consistent else ""
    if reason is not None:
        kind = f", crash-consistent only: {reason}"
    return f"{name}: point {point.epoch}/{point.sequence}, {point.sent_bytes} bytes{kind}"
