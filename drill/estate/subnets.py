"""Subnets of a VM network: gateway, pool and reserved addresses lie inside, and no two overlap."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from drill.estate.findings import Findings
from drill.estate.site_schema import SubnetSection
from drill.estate.yaml import Path_
from drill.model.network import Subnet


def subnets(sections: Sequence[SubnetSection], path: Path_, found: Findings) -> tuple[Subnet, ...]:
    """The subnets in definition order; what does not fit is told to `found`."""
    found.unique(path, (one.name for one in sections), "subnet")
    for index, one in enumerate(sections):
        _check(one, (*path, index), found)
        for other in sections[:index]:
            if ip_network(one.cidr).overlaps(ip_network(other.cidr)):
                found.wrong((*path, index, "cidr"), f"{one.cidr} overlaps subnet {other.name!r} ({other.cidr})")
    return tuple(
        Subnet(
            name=one.name,
            cidr=one.cidr,
            gateway=one.gateway,
            pool=(one.pool[0], one.pool[1]) if one.pool else None,
            dhcp=one.dhcp,
            reserved=tuple(one.reserved),
        )
        for one in sections
    )


def _check(one: SubnetSection, path: Path_, found: Findings) -> None:
    gateway = [] if one.gateway is None else [(("gateway",), one.gateway)]
    pool = [(("pool", number), text) for number, text in enumerate(one.pool or ())]
    reserved = [(("reserved", number), text) for number, text in enumerate(one.reserved)]
    within = True
    for keys, text in (*gateway, *pool, *reserved):
        if ip_address(text) not in ip_network(one.cidr):
            found.wrong((*path, *keys), f"{text} is not in {one.cidr}")
            within = False
    if one.pool and within and int(ip_address(one.pool[0])) > int(ip_address(one.pool[1])):
        found.wrong((*path, "pool"), f"the pool ends ({one.pool[1]}) before it begins ({one.pool[0]})")
    if one.dhcp and not one.pool:
        found.wrong((*path, "dhcp"), "DHCP needs a pool to give addresses from")
