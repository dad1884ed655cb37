"""Scripts and manual steps of a plan: which run when, and when a script has failed (spec K4, K8, K9)."""

from __future__ import annotations

from drill.model.action import SCRIPT_SECONDS_MAX, Action, FailoverKind, When
from drill.model.estate import Plan


def due(plan: Plan, kind: FailoverKind, when: When, group: int = 0) -> tuple[Action, ...]:
    """The actions that run there in a failover of that kind, in the plan's order; no group stands for after cleanup."""
    return tuple(one for one in plan.actions if (one.when, one.group) == (when, group) and kind in one.kinds)


def script_failure(*, seconds: float, exit_code: int | None, said: str, raised: str = "") -> str:
    """Why a script has failed, "" where it has not (K8): its time, an exception, its exit code, or its standard error.

    `exit_code` is None for one that had to be ended.
    """
    if exit_code is None or seconds > SCRIPT_SECONDS_MAX:
        return f"it had not ended after {SCRIPT_SECONDS_MAX} s"
    if raised:
        return f"it raised {raised}"
    if exit_code:
        return f"it ended with exit code {exit_code}"
    return "it wrote to standard error" if said.strip() else ""


def goes_on(kind: FailoverKind) -> bool:
    """Whether a plan goes on after a failed script: an unplanned failover to its end, any other stops (K8)."""
    return kind is FailoverKind.UNPLANNED
