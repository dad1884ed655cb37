"""Bounds of a replication policy (spec E); retention's stand in drill/core/retention.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

from drill.core import retention
from drill.errors import Refused
from drill.model.estate import InitialReplication, Policy
from drill.model.finding import Finding
from drill.model.retention import RetentionPolicy

FREQUENCIES_SECONDS = (30, 300, 900)
FREQUENCY_WITHOUT_CHOICE_SECONDS = 300
PORTS = {"certificate": 8084, "pair-key": 8083}
START_AHEAD_MAX = timedelta(days=7)
_KINDS = ("site", "region")


def policy(one: Policy) -> tuple[Finding, ...]:
    """Everything amiss with a policy by itself (E1, E2, E4, E5, E6)."""
    return (*_identity(one), *_frequency(one), *_retention(one))


def _identity(one: Policy) -> Iterator[Finding]:
    if not one.name:
        yield Finding(rule="E1", kind="policy", name="(unnamed)", problem="it has no name", remedy="give it one")
    if one.target_type not in _KINDS:
        problem = f"its target is a {one.target_type}"
        yield Finding(rule="E1", kind="policy", name=one.name, problem=problem, remedy="choose site or region")
    if one.authentication not in PORTS:
        problem = f"it authenticates by {one.authentication}"
        cure = f"choose {' or '.join(PORTS)}"
        yield Finding(rule="E2", kind="policy", name=one.name, problem=problem, remedy=cure)


def _frequency(one: Policy) -> Iterator[Finding]:
    if one.copy_frequency_seconds not in FREQUENCIES_SECONDS:
        problem = f"its copy frequency is {one.copy_frequency_seconds} s"
        cure = "choose 30 s, 5 min (300) or 15 min (900)"
        yield Finding(rule="E4", kind="policy", name=one.name, problem=problem, remedy=cure)


def _retention(one: Policy) -> Iterator[Finding]:
    kept = RetentionPolicy(window_seconds=one.window_seconds, additional=one.additional_points)
    try:
        retention.check(kept, one.application_consistent_hours)
    except Refused as refused:
        yield Finding(rule=refused.rule, kind="policy", name=one.name, problem=refused.reason, remedy=refused.cure)


def copy_frequency_seconds(one: Policy, *, has_choice: bool) -> int:
    """How often a host copies: as the policy says, 5 minutes where its version has no choice (E4)."""
    return one.copy_frequency_seconds if has_choice else FREQUENCY_WITHOUT_CHOICE_SECONDS


def port(one: Policy) -> int:
    """Where receivers listen: the policy's port, else that of its authentication (E2, E3)."""
    return one.port or PORTS[one.authentication]


def own_retention(item: str, additional: int | None, cloud: Policy) -> tuple[Finding, ...]:
    """A machine's own number of additional points, None for the cloud's: at least the cloud's (E5)."""
    if additional is None or additional >= cloud.additional_points:
        return ()
    problem = f"it would keep {additional} additional points, fewer than the {cloud.additional_points} of {cloud.name}"
    cure = f"keep at least {cloud.additional_points}, or give it another policy"
    return (Finding(rule="E5", kind="machine", name=item, problem=problem, remedy=cure),)


def first_copy(one: InitialReplication, *, now: datetime, zone: tzinfo) -> datetime | Finding:
    """When the first copy begins, in the source host's time `zone`; at most 7 days ahead (E9).

    A time that has passed means now.
    """
    if one.start == "now":
        return now
    try:
        begins = datetime.fromisoformat(one.start).replace(tzinfo=zone)
    except ValueError:
        cure = "write it as 2026-11-23T22:00, or now"
        return Finding(rule="E9", kind="start", name=one.start, problem="it is not a local time", remedy=cure)
    if begins - now > START_AHEAD_MAX:
        problem = "it is more than 7 days ahead"
        return Finding(rule="E9", kind="start", name=one.start, problem=problem, remedy="choose an earlier time")
    return max(begins, now)
