"""What state a protected item is in, and how well it is: from what was observed, nothing remembered (spec S3, S4).

Pure: facts in, a state and a health out.
"""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.point import Health, ItemHealth, ItemState

MISSED_PERCENT = 20
NOTHING_SHIPPED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFacts:
    """What the source observes of an item.

    `has_point`: the receiver acknowledged one; `is_seeding`: its first one is carried on a medium.  `resync` says why a
    disk must be resynchronised, empty when none must.  `error` is what the last cycle ended in, empty when it went
    well; `is_final`: trying again cannot help.
    `seconds_since_shipped` counts from the newest acknowledged cycle, or from the order while there is none.
    `untracked_pages`: pages that the last deep check found changed behind the tracker's back.
    """

    has_point: bool
    is_paused: bool = False
    is_running: bool = False
    is_seeding: bool = False
    resync: str = ""
    error: str = ""
    is_final: bool = False
    missed_cycles: int = 0
    due_cycles: int = 0
    seconds_since_shipped: float = 0.0
    untracked_pages: int = 0
    warnings: tuple[str, ...] = ()


def state(facts: ItemFacts) -> ItemState:
    """The item's state.  What a failover brings about is not known to the source and not said here."""
    if facts.is_paused:
        return ItemState.RESYNC_SUSPENDED if facts.resync and facts.has_point else ItemState.SUSPENDED
    if facts.is_final:
        return ItemState.ERROR
    if not facts.has_point:
        return _before_the_first_point(facts)
    if facts.resync:
        return ItemState.RESYNCHRONIZING if facts.is_running else ItemState.WAITING_FOR_RESYNC
    return ItemState.REPLICATING


def _before_the_first_point(facts: ItemFacts) -> ItemState:
    if facts.is_seeding:
        return ItemState.WAITING_FOR_INITIAL_REPLICATION
    if facts.is_running or facts.error:
        return ItemState.INITIAL_REPLICATION
    return ItemState.READY_FOR_INITIAL_REPLICATION


def health(facts: ItemFacts) -> ItemHealth:
    """How well it is, and every reason why it is not better; the worst first."""
    critical = (
        (facts.is_final, f"trying again cannot help: {facts.error}"),
        (
            facts.untracked_pages > 0,
            f"the deep check found {facts.untracked_pages} pages changed behind the change tracker's back",
        ),
    )
    missed = 100 * facts.missed_cycles > MISSED_PERCENT * facts.due_cycles
    shipped_long_ago = facts.seconds_since_shipped > NOTHING_SHIPPED_SECONDS
    warning = (
        (facts.is_paused, "replication is paused"),
        (not facts.has_point, "the initial replication is not done"),
        (bool(facts.error) and not facts.is_final, f"the last cycle failed: {facts.error}"),
        (bool(facts.resync) and facts.has_point, f"a resync is needed: {facts.resync}"),
        (missed, f"{facts.missed_cycles} of {facts.due_cycles} cycles were missed"),
        (shipped_long_ago, f"nothing was shipped for {facts.seconds_since_shipped / 3600:.1f} h"),
    )
    reasons = [reason for holds, reason in critical if holds]
    worse = [reason for holds, reason in warning if holds] + list(facts.warnings)
    level = Health.CRITICAL if reasons else Health.WARNING if worse else Health.NORMAL
    return ItemHealth(level=level, reasons=(*reasons, *worse))
