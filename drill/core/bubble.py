"""The bubble of a test failover: its isolated networks, and the probes that prove that they are isolated.

Every probe that must fail has a control that must succeed at that moment: the same target, asked from the production
side (guarantees: a negative result without a positive control proves nothing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from drill.model.command import BubbleSeenFrom, GuestProbe, HostProbe
from drill.model.estate import Estate, Item
from drill.model.fact import NicPredicted
from drill.model.network import BubbleNetwork, DhcpReservation, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBubble:
    """An isolated network on one host."""

    host: str
    network: BubbleNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Inmate:
    """A machine inside the bubble, its predicted cards, and the addresses of its primary's cards, card by card."""

    item: Item
    domain: str
    nics: tuple[NicPredicted, ...]
    primary_addresses: tuple[tuple[str, ...], ...]


def networks(run: str, estate: Estate, machines: Sequence[tuple[str, tuple[NicPredicted, ...]]]) -> list[HostBubble]:
    """One isolated network per host and target VM network: same subnets and pools (spec L3, automatic)."""
    wanted: dict[tuple[str, str], list[NicPredicted]] = {}
    for host, nics in machines:
        for nic in nics:
            if nic.network is not None:
                wanted.setdefault((host, nic.network), []).append(nic)
    found = []
    for (host, name), cards in sorted(wanted.items()):
        target = estate.network(estate.hosts[host].site, name)
        mark = hashlib.sha256(f"{run}/{host}/{name}".encode()).hexdigest()[:9]
        found.append(
            HostBubble(
                host=host,
                network=BubbleNetwork(
                    name=f"drill-{mark}",
                    bridge=f"drill-{mark}",
                    copies=name,
                    subnets=target.subnets if target else (),
                    reservations=tuple(
                        DhcpReservation(mac=nic.mac, address=nic.address)
                        for nic in cards
                        if nic.mode == "dhcp" and nic.address
                    ),
                ),
            )
        )
    return found


def bridges(bubbles: Sequence[HostBubble], inmates: Sequence[Inmate]) -> tuple[BubbleSeenFrom, ...]:
    """Each bridge with the machines that may be plugged into it."""
    return tuple(
        BubbleSeenFrom(
            host=one.host,
            bridge=one.network.bridge,
            domains=tuple(
                inmate.domain
                for inmate in inmates
                if inmate.item.target_host == one.host and any(nic.network == one.network.copies for nic in inmate.nics)
            ),
        )
        for one in bubbles
    )


def probes(estate: Estate, inmates: Sequence[Inmate]) -> tuple[tuple[GuestProbe, ...], tuple[HostProbe, ...]]:
    """Ways out and ways in: production gateways and machines from inside, test machines from the host."""
    out: list[GuestProbe] = []
    into: list[HostProbe] = []
    for inmate in inmates:
        if not inmate.item.agent:
            continue
        out += _gateway_probes(estate, inmate)
        into += _host_probes(inmate)
    return tuple(out + _absent_probes(estate, inmates)), tuple(into)


def _gateway_probes(estate: Estate, inmate: Inmate) -> list[GuestProbe]:
    """The production gateway of each subnet a card landed in: answers the primary, must not answer the test machine."""
    found = []
    for nic in inmate.nics:
        subnet = _landed(estate, inmate.item, nic)
        if subnet and subnet.gateway:
            found.append(_probe(inmate, f"gateway of {subnet.name}", subnet.gateway))
    return found


def _absent_probes(estate: Estate, inmates: Sequence[Inmate]) -> list[GuestProbe]:
    """Production machines' addresses that no test machine has: the primary's neighbours reach them, no inmate may."""
    inside = {nic.address for one in inmates for nic in one.nics if nic.address}
    found = []
    for owner in inmates:
        for address in (text for card in owner.primary_addresses for text in card if text not in inside):
            prober = next(
                (
                    one
                    for one in inmates
                    if one is not owner and one.item.agent and _shares_subnet(estate, one, address)
                ),
                None,
            )
            if prober is not None:
                found.append(_probe(prober, f"production address {address} of {owner.item.name}", address))
    return found


def _shares_subnet(estate: Estate, inmate: Inmate, address: str) -> bool:
    subnets = (_landed(estate, inmate.item, nic) for nic in inmate.nics)
    return any(subnet is not None and subnet.holds(address) for subnet in subnets)


def _landed(estate: Estate, item: Item, nic: NicPredicted) -> Subnet | None:
    target = estate.network(estate.hosts[item.target_host].site, nic.network) if nic.network else None
    return next((one for one in target.subnets if one.name == nic.subnet), None) if target else None


def _probe(inmate: Inmate, what: str, target: str) -> GuestProbe:
    return GuestProbe(
        name=f"{inmate.item.name} → {what}",
        host=inmate.item.target_host,
        domain=inmate.domain,
        control_host=inmate.item.source_host,
        control_domain=inmate.item.name,
        target=target,
    )


def _host_probes(inmate: Inmate) -> list[HostProbe]:
    """The test machine's first service from the host's own network; the primary's answers its own host."""
    address = next((nic.address for nic in inmate.nics if nic.address), None)
    if address is None or not inmate.item.services:
        return []
    return [
        HostProbe(
            name=f"host {inmate.item.target_host} → {inmate.item.name} {address}:{inmate.item.services[0].port}",
            host=inmate.item.target_host,
            control_host=inmate.item.source_host,
            target=address,
            port=inmate.item.services[0].port,
        )
    ]
