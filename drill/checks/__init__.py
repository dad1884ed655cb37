"""What a drill verifies: observers that look and write down what they saw, and never judge it.

The registry leads from a check's name (docs/checks.md) to its observer; an observer that cannot see raises, and the
observation then carries the sentence in `error` and counts as *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drill.checks import data, database, machine, network
from drill.errors import DrillError
from drill.model.command import Check, Evidence, ProbeIsolation
from drill.model.fact import Json, LedgerRead, Observed
from drill.ports import Clock, Hosts

Observer = Callable[[Check, Hosts, Clock], tuple[Json, Json]]
OBSERVERS: Final[Mapping[str, Observer]] = {
    one.__name__: one
    for one in (
        machine.boot,
        machine.agent,
        machine.heartbeat,
        machine.primary,
        network.nic_count,
        network.subnet,
        network.address,
        data.disk_content,
        data.point_digest,
        data.one_instant,
        database.database,
        database.database_rows,
    )
}


def observe(check: Check, hosts: Hosts, clock: Clock) -> Evidence:
    """Perform one check; what keeps it from observing is written down, not raised."""
    seen: LedgerRead | None = None
    observed: Json = None
    evidence: Json = None
    error = ""
    try:
        if check.check == "ledger":
            observed, evidence, seen = data.replica_ledger(check, hosts, clock)
        else:
            observed, evidence = OBSERVERS[check.check](check, hosts, clock)
    except DrillError as problem:
        error = f"{problem.id}: {problem}"
    return Evidence(
        observed=Observed(
            at_us=clock.now_us(),
            check=check.check,
            vm=check.vm,
            expected=check.expected,
            observed=observed,
            evidence=evidence,
            error=error,
        ),
        ledger=seen,
    )


def observe_isolation(command: ProbeIsolation, hosts: Hosts, clock: Clock) -> Evidence:
    """Perform the probes of the bubble."""
    expected: Json = {"probes": []}
    observed: Json = None
    evidence: Json = None
    error = ""
    try:
        expected, observed, evidence = network.isolation(command, hosts)
    except DrillError as problem:
        error = f"{problem.id}: {problem}"
    return Evidence(
        observed=Observed(
            at_us=clock.now_us(),
            check="isolation",
            vm="",
            expected=expected,
            observed=observed,
            evidence=evidence,
            error=error,
        )
    )
