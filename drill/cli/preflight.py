"""`drill preflight`: what stands in the way of replicating items, asked before anything begins."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate
from drill.cli._items import each
from drill.cli.output import Output, spoken
from drill.errors import Failed
from drill.wiring import preflight
from drill.wiring.controller import Protection, RemoteHosts


@click.command(short_help="See whether items can be replicated.")
@click.argument("items", metavar="[ITEM]...", nargs=-1)
@estate_option
@spoken
def command(out: Output, items: tuple[str, ...], estate: Path) -> None:
    """See whether items can be replicated, all of the estate's unless some are named; nothing is changed.

    The exit code is 0 only when nothing stands in the way of any of them.
    """
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    found = each(items or tuple(known.items), lambda name: preflight.look(protection, name))
    rows = [
        {"item": one.item, "ready": not one.problems, "problems": one.problems, "without_bitmap": one.without_bitmap}
        for one in found.values()
    ]
    out.result({"items": rows}, *(_line(one) for one in found.values()))
    if unready := [one.item for one in found.values() if one.problems]:
        raise Failed("drill preflight", f"{', '.join(unready)} cannot be replicated", "mend what is named above")


def _line(one: preflight.Readiness) -> str:
    verdict = f"NOT READY: {'; '.join(one.problems)}" if one.problems else "ready"
    return "; ".join([f"{one.item}: {verdict}", *one.notes])
