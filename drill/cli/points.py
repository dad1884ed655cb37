"""`drill points`: the recovery points of an item, as the receiving side keeps them; locks on them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from drill.cli import _damage
from drill.cli._estate import estate_option, read_estate
from drill.cli.output import Output, spoken
from drill.core.groups import GroupPoint
from drill.core.points import choose
from drill.errors import Usage
from drill.model.retention import KeptPoint, StoreReport
from drill.ports import ReceiverAgent
from drill.wiring.controller import Protection, RemoteHosts


@click.command()
@click.argument("item", required=False)
@click.option("--group", metavar="GROUP", help="List the instants that all items of a consistency group share.")
@click.option("--lock", "locked", metavar="POINT", help="Keep this point until it is unlocked.")
@click.option("--reason", default="", help="Why it is locked.")
@click.option("--unlock", "unlocked", metavar="POINT", help="Leave this point to retention again.")
@estate_option
@spoken
def command(
    out: Output,
    item: str | None,
    group: str | None,
    locked: str | None,
    reason: str,
    unlocked: str | None,
    estate: Path,
) -> None:
    """List the recovery points of an item, or of a consistency group, oldest first.

    A POINT is `latest` or EPOCH/SEQUENCE, as they are listed.  One of a group is there when every item has it.
    """
    if locked and unlocked:
        raise Usage("a point is locked or unlocked, not both")
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    if group is not None and item is None and not (locked or unlocked):
        found = protection.group_points(group)
        lines = [_group_line(one) for one in found] or [f"no instant is one of all items of {group}"]
        out.result({"group": group, "points": [asdict(one) for one in found]}, *lines)
        return
    if group is not None or item is None:
        raise Usage("an item is named, or a group, and only an item's points are locked", "see: drill points --help")
    receiver = protection.hosts.receiver(known.items[protection.item_named(item)].target_host)
    identity = protection.identity(item)
    for choice in (locked, unlocked):
        if choice is not None:
            _change(receiver, identity, item, choice, reason if choice is locked else None)
    report = receiver.kept(identity)
    points = [asdict(one.point) for one in report.points]
    out.result({"item": item, "points": points, "store": asdict(report)}, *_lines(report, item))


def _change(receiver: ReceiverAgent, identity: str, item: str, choice: str, reason: str | None) -> None:
    """Lock a point for a reason, or unlock it where there is none."""
    point = choose(receiver.points(identity), choice, item)
    if reason is None:
        receiver.unlock(identity, point.epoch, point.sequence)
    else:
        receiver.lock(identity, point.epoch, point.sequence, reason or "locked by the operator")


def _lines(report: StoreReport, item: str) -> list[str]:
    kept = f"every cycle of {report.policy.window_seconds} s, {report.policy.additional} hourly points before"
    proven = [f"{target} proven {_time(at)}" for target, at in report.proven]
    return [
        *(_line(one) for one in report.points),
        *_damage.lines(report, item),
        f"kept: {kept}; longest chain {report.chain} files",
        *proven,
    ]


def _line(kept: KeptPoint) -> str:
    point = kept.point
    kind = "full" if point.full else "incremental"
    words = [kind, f"{point.sent_bytes} bytes sent"]
    words += ["application-consistent"] if point.application_consistent else []
    words += [f"group {point.group.name} instant {point.group.instant}"] if point.group else []
    words += [f"locked: {kept.lock.reason}"] if kept.lock else []
    words += [f"DAMAGED: {', '.join(kept.damaged)}"] if kept.damaged else []
    return "  ".join([f"{point.epoch}/{point.sequence}", _time(point.begun_us), *words])


def _group_line(found: GroupPoint) -> str:
    names = " ".join(f"{point.item}={point.epoch}/{point.sequence}" for point in found.points)
    kind = ["application-consistent"] if found.application_consistent else []
    return "  ".join([found.instant, _time(found.begun_us), *kind, names])


def _time(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
