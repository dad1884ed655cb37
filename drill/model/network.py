"""VM networks, their named subnets and address pools, and the isolated copy a test failover gets."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A named subnet of a VM network.  The pool is inclusive at both ends; None means that there is no pool.

    `reserved` are addresses of the pool that are never given out.
    """

    name: str
    cidr: str
    gateway: str | None = None
    pool: tuple[str, str] | None = None
    dhcp: bool = False
    reserved: tuple[str, ...] = ()

    def holds(self, address: str) -> bool:
        """Whether an address (no prefix length) lies in this subnet."""
        network, candidate = ip_network(self.cidr), ip_address(address)
        return candidate.version == network.version and candidate in network


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalNetwork:
    """A logical network of a server, at one site; clouds are associated with it, VM networks stand on it."""

    name: str
    server: str
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VmNetwork:
    """A VM network of a site: one libvirt network of that name on every host that carries it.

    Subnets stand in definition order, which counts (spec F5).  `server` has its logical network; "" in a region."""

    site: str
    name: str
    logical_network: str
    subnets: tuple[Subnet, ...]
    server: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkMapping:
    """Source VM network → target VM network, each at its site (spec F1); a region's name stands for its site.

    `first_subnet` says what *first* means where no subnet has the source's name: `definition` or `alphabetical` (F5).
    """

    source_site: str
    source: str
    target_site: str
    target: str
    first_subnet: str = "definition"


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpReservation:
    """A fixed DHCP answer for one card."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BubbleNetwork:
    """An isolated network made for one test failover: a bridge whose only members are the test machines' taps.

    `name` is the libvirt network, `bridge` the interface (at most 15 bytes); subnets and pools are those of `copies`,
    the VM network that it stands for.
    """

    name: str
    bridge: str
    copies: str
    subnets: tuple[Subnet, ...]
    reservations: tuple[DhcpReservation, ...]
