"""Whether an estate is ready: every rule that can be asked without moving anything, in one list (spec A, S6).

The validator asks every 12 hours, `drill apply` before it touches anything, preflight when somebody wants to know.
What hosts must be asked for (machines, versions, who answers) is added by whoever can ask.
"""

from __future__ import annotations

from drill.core import mapping, pairing, plans, policies, prerequisites, regions, storing
from drill.model.estate import Estate
from drill.model.finding import Finding

VALIDATED_EVERY_SECONDS = 12 * 3600


def is_due(last_us: int | None, now_us: int) -> bool:
    """Whether an item is to be validated: never yet, 12 hours ago, or in a future that a clock jump has left (S6)."""
    return last_us is None or not 0 <= now_us - last_us < VALIDATED_EVERY_SECONDS * 1_000_000


def declared(estate: Estate) -> tuple[Finding, ...]:
    """What is amiss with an estate by itself, chapter by chapter; what refuses and what is advice."""
    return (
        *prerequisites.topology(estate),
        *prerequisites.one_version(estate),
        *regions.stores_and_networks(estate),
        *regions.encryption(estate),
        *pairing.pairs(estate),
        *(finding for one in estate.policies.values() for finding in policies.policy(one)),
        *mapping.mappings(estate),
        *storing.mappings(estate),
        *(finding for name in estate.items for finding in _item(estate, name)),
        *(finding for one in estate.plans.values() for finding in plans.check(estate, one)),
    )


def _item(estate: Estate, name: str) -> tuple[Finding, ...]:
    """Host, networks, operating system, retention and, in a region, limits of one machine."""
    item = estate.items[name]
    outside = prerequisites.in_a_cloud(estate, name, item.source_host)
    if outside or item.pair.source not in estate.clouds:
        return outside
    attached = [one.network for one in item.nics]
    sizes = {one.target: one.size_bytes for one in item.disks}
    limits = (
        regions.limits(
            item.target.name or name,
            data_disks=max(len(sizes) - 1, 0),
            system_disk_bytes=sizes.get(item.os_disk, 0),
        )
        if item.pair.region
        else ()
    )
    return (
        *(prerequisites.networks(estate, item, attached) if attached else ()),
        *prerequisites.operating_system(item),
        *policies.own_retention(name, item.additional_points, item.pair.policy),
        *limits,
    )
