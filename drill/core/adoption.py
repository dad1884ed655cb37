"""Whether a replica that exists can be adopted instead of copied again (spec I3)."""

from __future__ import annotations

from collections.abc import Mapping

from drill.model.estate import Estate, Pair
from drill.model.finding import Finding


def adopt(estate: Estate, pair: Pair, *, machine: str, primary_host: str, replica_host: str) -> tuple[Finding, ...]:
    """What keeps a replica from being adopted: a host outside the pair's clouds, a pair without a policy there."""
    found = []
    for host, cloud, whose in ((primary_host, pair.source, "its"), (replica_host, pair.target, "its replica's")):
        known = estate.hosts.get(host)
        if known is None or known.cloud != cloud:
            problem = f"{whose} host {host} is not in cloud {cloud}"
            cure = f"put {host} into cloud {cloud}, or choose the pair of its cloud"
            found.append(Finding(rule="I3", kind="machine", name=machine, problem=problem, remedy=cure))
    if pair.policy not in (pair.policies or (pair.policy,)):
        problem = f"its policy {pair.policy.name} is not associated with it"
        cure = f"associate policy {pair.policy.name} with the pair"
        found.append(Finding(rule="I3", kind="pair", name=pair.name, problem=problem, remedy=cure))
    return tuple(found)


def disagreeing(machine: str, primary: Mapping[str, object], replica: Mapping[str, object]) -> tuple[Finding, ...]:
    """Settings by name in which the two sides disagree; a side that does not have one says nothing of it."""
    return tuple(
        Finding(
            rule="I3", kind="machine", name=machine, refuses=False,
            problem=f"{name} is {primary[name]} at the source and {replica[name]} at the replica",
            remedy=f"the policy's {name} is used from now on",
        )
        for name in primary
        if name in replica and primary[name] != replica[name]
    )  # fmt: skip
