"""`drill seed`: carry an item's first copy on a medium instead of sending it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.wiring.controller import Protection, RemoteHosts

MIB = 1 << 20


@click.group("seed", short_help="Carry an item's first copy on a medium.")
def command() -> None:
    """Carry an item's first copy on a medium."""


@command.command("export", short_help="Write the first copy to a medium at the source host.")
@click.argument("item")
@click.argument("folder")
@estate_option
@spoken
def export_seed(out: Output, item: str, folder: str, estate: Path) -> None:
    """Write ITEM's first copy to FOLDER, where a medium is mounted on the item's source host.

    Nothing is sent until the target host has been given it; what the guest writes meanwhile follows then.
    """
    protection = _protection(estate)
    seed = protection.export_seed(item, folder, _telling(out, item))
    lines = [
        f"{item}: {seed.size_bytes / MIB:.1f} MiB in {len(seed.parts)} parts, epoch {seed.epoch}",
        f"carry it to the target host, then: drill seed import {item} FOLDER",
    ]
    out.result({"seed": asdict(seed), "size_bytes": seed.size_bytes}, *lines)


@command.command("import", short_help="Make a recovery point of a first copy at the target host.")
@click.argument("item")
@click.argument("folder")
@estate_option
@spoken
def import_seed(out: Output, item: str, folder: str, estate: Path) -> None:
    """Make a recovery point of ITEM's first copy in FOLDER, where the medium is mounted on the item's target host.

    All of it is read and compared before anything is written.  The same again is harmless.
    """
    point = _protection(estate).import_seed(item, folder, _telling(out, item))
    out.result({"point": asdict(point)}, f"{item}: point {point.epoch}/{point.sequence}, {point.sent_bytes} bytes")


@command.command("cancel", short_help="Send the first copy over the network after all.")
@click.argument("item")
@estate_option
@spoken
def cancel_seed(out: Output, item: str, estate: Path) -> None:
    """Wait for no medium any longer: ITEM's first copy goes over the network."""
    _protection(estate).cancel_seed(item)
    out.result({"item": item}, f"{item}: its first copy goes over the network")


def _protection(estate: Path) -> Protection:
    known = read_estate(estate)
    return Protection(known, RemoteHosts(known))


def _telling(out: Output, item: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        out.progress(f"{item}: {done / MIB:.0f}" + (f" of {total / MIB:.0f} MiB" if total else " MiB"))

    return tell
