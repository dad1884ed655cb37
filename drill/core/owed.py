"""Which checks a drill owes, and what each expects: decided before anything is started, so that none can be forgotten.

The shapes of the expectations are those of docs/checks.md; `drill.core.verdicts` judges observations against them.
"""

from __future__ import annotations

from drill.model.command import SourceLedger
from drill.model.estate import Estate, Item, Plan
from drill.model.fact import Json, NicPredicted
from drill.model.point import Point

RUN_CHECKS = ("isolation", "leftovers", "rpo", "rto")
BEATS_MIN = 2


def checks(plan: Plan, estate: Estate) -> tuple[tuple[str, str], ...]:
    """(check, item name) in the order of the plan, then the run's own with "" for a name."""
    owed: list[tuple[str, str]] = []
    for item in (estate.items[name] for group in plan.groups for name in group):
        owed += [(check, item.name) for check in machine_checks(item)]
    return (*owed, *((check, "") for check in RUN_CHECKS))


def machine_checks(item: Item) -> tuple[str, ...]:
    """The checks that one machine owes; a guest without an agent owes what its console and its disks can show."""
    always = ("boot", "heartbeat", "disk_content", "primary")
    inside = ("agent", "nic_count", "subnet", "address", "prediction") if item.agent else ()
    ledger = ("ledger",) if item.ledgers and item.agent else ()
    instant = ("one_instant",) if len(item.ledgers) > 1 and item.agent else ()
    service = ("service",) if item.services and item.agent else ()
    return always + inside + ledger + instant + service


def expectations(
    item: Item, nics: tuple[NicPredicted, ...], point: Point | None, ledger: SourceLedger | None
) -> dict[str, Json]:
    """What each check that needs an observer of its own is judged against.

    `service` is observed while waiting, `prediction`, `leftovers`, `rpo` and `rto` follow from other facts.
    """
    built = [one for one in nics if not one.dropped]
    every: dict[str, Json] = {
        "boot": {"state": "running"},
        "heartbeat": {"beats_min": BEATS_MIN},
        "disk_content": {"disks": {disk.target: disk.witness for disk in point.disks} if point else {}},
        "primary": {"state": "running", "item_state": "replicating"},
        "agent": {"answers": True},
        "nic_count": {"count": len(built)},
        "subnet": {"nics": [{"mac": one.mac, "network": one.network, "subnet": one.subnet} for one in built]},
        "address": {"nics": [{"mac": one.mac, "address": one.address} for one in built]},
        "ledger": {
            "acknowledged_before": ledger.acknowledged_before if ledger and ledger.read else None,
            "sent_before": ledger.sent_before if ledger and ledger.read else None,
        },
        "one_instant": {"lag_max": 1},
    }
    return {name: every[name] for name in machine_checks(item) if name in every}
