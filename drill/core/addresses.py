"""Which address a card gets at the target (spec J4, J5, J6): kept, allocated, left alone, or refused with a reason.

Pure and stepwise: `Taken` says who holds what at the target, and every address given is held by its card from then on,
so that a plan of many machines is allocated without giving an address twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

from drill.model.finding import Finding
from drill.model.network import Address, Subnet

_RANGE_MAX = 1 << 16
"""Addresses looked at from the end of a subnet without a pool; an IPv6 subnet has more than anybody walks through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that needs an address: of which machine, at which index; `is_dhcp` as it is at the source."""

    machine: str
    index: int
    is_dhcp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What came of it: an address (None where none is promised), the rule's sentence, what stands in the way."""

    address: str | None
    rule: str
    finding: Finding | None = None


@dataclass(slots=True)
class Taken:
    """Who holds which address at the target: machines, gateways, reserved ones."""

    holders: dict[Address, str] = field(default_factory=dict)

    def hold(self, address: str, holder: str) -> None:
        """Somebody has an address, with or without prefix length; the first holder stays."""
        self.holders.setdefault(ip_interface(address).ip, holder)

    def holder(self, address: Address, subnet: Subnet, machine: str) -> str:
        """Who has it, "" for nobody; what the machine itself holds is free for it."""
        if subnet.gateway is not None and ip_address(subnet.gateway) == address:
            return f"the gateway of {subnet.name}"
        if any(ip_address(one) == address for one in subnet.reserved):
            return f"the reservation of {subnet.name}"
        found = self.holders.get(address, "")
        return "" if found == machine else found


def allocate(
    card: Card,
    address: str | None,
    *,
    source: Subnet | None,
    target: Subnet,
    taken: Taken,
    wanted: str = "",
    is_failover_network: bool = False,
) -> Given:
    """The address of a card in the target subnet, and it is held from then on.

    `address` is the source's without prefix length, None where it is not known; `wanted` what the operator set (J4).
    `is_failover_network`: machines come up in the network itself that a failover uses, not in one that is mapped (J6).
    """
    if wanted:
        given = _wanted(card, wanted, target, taken)
    elif card.is_dhcp:
        return _leased(address, target)
    elif is_failover_network:
        given = _free(card, _from_the_end(target), target, taken, "the last free of the failover network")
    else:
        given = _kept_or_next(card, address, source, target, taken)
    if given.address is not None:
        taken.hold(given.address, card.machine)
    return given


def _wanted(card: Card, wanted: str, target: Subnet, taken: Taken) -> Given:
    """What the operator set, or why it cannot be: the failover then fails before anything starts."""
    if not target.holds(wanted):
        problem = f"address {wanted} of card {card.index} does not lie in {target.name} {target.cidr}"
        return _refused(card, "J4", problem, f"set an address of {target.cidr}, or none")
    if holder := taken.holder(ip_address(wanted), target, card.machine):
        problem = f"address {wanted} of card {card.index} is used by {holder}"
        return _refused(card, "J4", problem, f"set another address, or take {wanted} from {holder}")
    return Given(address=wanted, rule="J4: set by the operator")


def _leased(address: str | None, target: Subnet) -> Given:
    """A DHCP card is left alone; where the subnet is the same one, its server is expected to lease the same."""
    if address is not None and target.holds(address):
        return Given(address=address, rule="J6: left to DHCP, where the address is reserved")
    return Given(address=None, rule="J6: DHCP cards are left alone")


def _kept_or_next(card: Card, address: str | None, source: Subnet | None, target: Subnet, taken: Taken) -> Given:
    if address is None:
        return Given(address=None, rule="J4: the source's address is not known, none is promised")
    mine = ip_address(address)
    if target.holds(address) and not taken.holder(mine, target, card.machine):
        same = source is not None and source.pool == target.pool and _inside(mine, target)
        return Given(address=address, rule="J6: the pools are equal, kept" if same else "J4: static address kept")
    if target.pool is None:
        holder = taken.holder(mine, target, card.machine)
        where = f"is used by {holder}" if target.holds(address) else f"does not lie in {target.cidr}"
        problem = f"address {address} of card {card.index} {where}, and {target.name} has no pool"
        return _refused(card, "J6", problem, f"give subnet {target.name} a pool, or the card an address")
    return _free(card, _after(mine, target), target, taken, "the next free of the pool")


def _free(card: Card, order: Iterator[Address], target: Subnet, taken: Taken, what: str) -> Given:
    for one in order:
        if not taken.holder(one, target, card.machine) and one not in taken.holders:
            return Given(address=str(one), rule=f"J6: {what}")
    problem = f"subnet {target.name} has no free address for card {card.index}"
    return _refused(card, "J6", problem, f"widen the pool of {target.name}, or free addresses of it")


def _refused(card: Card, rule: str, problem: str, remedy: str) -> Given:
    finding = Finding(rule=rule, kind="machine", name=card.machine, problem=problem, remedy=remedy)
    return Given(address=None, rule=f"{rule}: {problem}", finding=finding)


def _pool(subnet: Subnet) -> tuple[Address, int]:
    """First address and number of addresses to give out: of the pool, else of the subnet without its two ends."""
    if subnet.pool is not None:
        first, last = (ip_address(one) for one in subnet.pool)
        return first, int(last) - int(first) + 1
    network = ip_network(subnet.cidr)
    return network[min(1, network.num_addresses - 1)], max(network.num_addresses - 2, 1)


def _inside(address: Address, subnet: Subnet) -> bool:
    """Whether an address of the subnet is one of its pool."""
    first, size = _pool(subnet)
    return subnet.pool is not None and 0 <= int(address) - int(first) < size


def _after(address: Address, subnet: Subnet) -> Iterator[Address]:
    """The pool from the address on, then from its beginning; from its beginning if the address lies outside."""
    first, size = _pool(subnet)
    begin = int(address) - int(first) if subnet.holds(str(address)) and _inside(address, subnet) else 0
    return (first + (begin + step) % size for step in range(size))


def _from_the_end(subnet: Subnet) -> Iterator[Address]:
    first, size = _pool(subnet)
    return (first + step for step in range(size - 1, max(size - 1 - _RANGE_MAX, -1), -1))
