"""Which checks a drill owes, and what each expects: decided before anything is started, so that none can be forgotten.

The shapes of the expectations are those of docs/checks.md; `drill.core.verdicts` judges observations against them.
"""

from __future__ import annotations

from collections.abc import Mapping

from drill.model.command import SourceLedger
from drill.model.estate import Estate, Item, Plan
from drill.model.fact import Json, NicPredicted
from drill.model.point import Point
from drill.model.rows import Ranges, RowBounds

RUN_CHECKS = ("isolation", "leftovers", "rpo", "rto")
BEATS_MIN = 2
HEARTBEAT_SERVICE = "console heartbeat"
"""What ends the RTO of a machine that has no service to ask."""


def checks(plan: Plan, estate: Estate) -> tuple[tuple[str, str], ...]:
    """(check, item name) in the order of the plan, then the run's own with "" for a name."""
    owed: list[tuple[str, str]] = []
    for item in (estate.items[name] for group in plan.groups for name in group):
        owed += [(check, item.name) for check in machine_checks(item)]
    return (*owed, *((check, "") for check in RUN_CHECKS))


def machine_checks(item: Item) -> tuple[str, ...]:
    """The checks that one machine owes; a guest without an agent owes what its console and its disks can show, and a
    pair whose cycles take no witness of the source's export what the digests of its logs prove."""
    witnessed = ("disk_content",) if item.pair.policy.witness else ()
    always = ("boot", "heartbeat", *witnessed, "point_digest", "primary")
    inside = ("agent", "nic_count", "subnet", "address", "prediction") if item.agent else ()
    ledger = ("ledger",) if item.ledgers and item.agent else ()
    instant = ("one_instant",) if len(item.ledgers) > 1 and item.agent else ()
    service = ("service",) if has_service(item) else ()
    database = ("database",) if item.databases else ()
    kept = ("database_rows",) if any(one.history for one in item.databases) else ()
    return always + inside + ledger + instant + service + database + kept


def has_service(item: Item) -> bool:
    """Whether a service of the machine can be asked, which takes its agent."""
    return bool(item.services) and item.agent


def expectations(
    item: Item,
    nics: tuple[NicPredicted, ...],
    point: Point | None,
    ledger: SourceLedger | None,
    histories: Mapping[str, RowBounds],
) -> dict[str, Json]:
    """What each check that needs an observer of its own is judged against.

    `service` is observed while waiting, `prediction`, `leftovers`, `rpo` and `rto` follow from other facts.
    `histories` has the bounds by database; one that could not be read is missing, and its rows are then *unknown*.
    """
    built = [one for one in nics if not one.dropped]
    every: dict[str, Json] = {
        "boot": {"state": "running"},
        "heartbeat": {"beats_min": BEATS_MIN},
        "disk_content": {"disks": {disk.target: disk.witness for disk in point.disks} if point else {}},
        "point_digest": {"disks": {disk.target: disk.digest for disk in point.disks} if point else {}},
        "primary": {"state": "running", "item_state": "replicating"},
        "agent": {"answers": True},
        "nic_count": {"count": len(built)},
        "subnet": {"nics": [{"mac": one.mac, "network": one.network, "subnet": one.subnet} for one in built]},
        "address": {"nics": [_promised(one) for one in built]},
        "ledger": {
            "acknowledged_before": ledger.acknowledged_before if ledger and ledger.read else None,
            "sent_before": ledger.sent_before if ledger and ledger.read else None,
        },
        "one_instant": {"lag_max": 1},
        "database": {"databases": [one.name for one in item.databases]},
        "database_rows": {
            "tables": [_table(one.name, histories.get(one.name)) for one in item.databases if one.history]
        },
    }
    return {name: every[name] for name in machine_checks(item) if name in every}


def _promised(nic: NicPredicted) -> Json:
    """A card's address, null for none, and the others it has beside the first."""
    others: dict[str, Json] = {"others": list(nic.others)} if nic.others else {}
    return {"mac": nic.mac, "address": nic.address, **others}


def _table(database: str, bounds: RowBounds | None) -> Json:
    return {
        "name": database,
        "acknowledged_before": _ranges(bounds.acknowledged_before) if bounds else None,
        "sent_before": _ranges(bounds.sent_before) if bounds else None,
        "acknowledged_at_incident": _ranges(bounds.acknowledged_at_incident) if bounds else None,
    }


def _ranges(some: Ranges) -> Json:
    return [[first, last] for first, last in some]
