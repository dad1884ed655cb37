"""What a lab is made of: sites, their hosts, and the networks of virtual machines that the hosts carry.

A topology is a YAML file in `hosts/`.  Addresses of hosts are not written there; they follow from the order:
site *s* (from 1) has the network 10.77.s.0/24, its host *n* is 10.77.s.(10+n), the controller 10.77.s.2; on the link
between the sites the same host is 10.77.0.(10*s+n).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from drill import data
from drill.errors import BadInput, Usage
from drill.estate import yaml

UNDERLAY = IPv4Network("10.77.0.0/16")
SITES_MAX = 24
HOSTS_PER_SITE_MAX = 9
RESERVED_NAMES = ("controller", "fabric")
DEFAULT = "lab-two-site"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
NetworkName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$", to_lower=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pool(_Part):
    """The addresses a subnet may give away, both ends included."""

    first: IPv4Address
    last: IPv4Address


class Reservation(_Part):
    """The address that the DHCP server always gives to one MAC address."""

    mac: Mac
    address: IPv4Address


class Subnet(_Part):
    """A named address range of a network; with `dhcp` its first carrying host answers DHCP from the pool."""

    name: Name
    cidr: IPv4Network
    gateway: IPv4Address | None = None
    pool: Pool | None = None
    dhcp: bool = False
    reservations: tuple[Reservation, ...] = ()

    @model_validator(mode="after")
    def _addresses_lie_inside(self) -> Subnet:
        if self.cidr.overlaps(UNDERLAY):
            raise ValueError(f"{self.cidr} overlaps {UNDERLAY}, which the lab uses between its hosts")
        pool = (self.pool.first, self.pool.last) if self.pool else ()
        for address in (*pool, *(r.address for r in self.reservations), *((self.gateway,) if self.gateway else ())):
            if address not in self.cidr:
                raise ValueError(f"{address} is not in {self.cidr}")
        if self.pool and self.pool.first > self.pool.last:
            raise ValueError(f"the pool ends ({self.pool.last}) before it begins ({self.pool.first})")
        if self.dhcp and not (self.pool and self.gateway):
            raise ValueError("dhcp needs a pool and a gateway")
        return self


class Network(_Part):
    """A network of virtual machines: one libvirt network of this name on every host that carries it."""

    name: NetworkName
    hosts: tuple[Name, ...] = ()
    subnets: tuple[Subnet, ...] = Field(min_length=1)

    @property
    def bridge(self) -> str:
        """The interface name of its bridge, at most 15 characters, the same on every host."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        if len(slug) > 12:
            slug = f"{slug[:7]}-{hashlib.sha256(self.name.encode()).hexdigest()[:4]}"
        return f"vm-{slug}"

    @model_validator(mode="after")
    def _subnets_are_apart(self) -> Network:
        _unique("subnet", [subnet.name for subnet in self.subnets])
        for at, subnet in enumerate(self.subnets):
            for other in self.subnets[:at]:
                if subnet.cidr.overlaps(other.cidr):
                    raise ValueError(f"subnets {other.name} and {subnet.name} overlap")
        return self


class Host(_Part):
    """One hypervisor of the lab."""

    name: Name


class Site(_Part):
    """A place with hosts and the networks they carry."""

    name: Name
    hosts: tuple[Host, ...] = Field(min_length=1, max_length=HOSTS_PER_SITE_MAX)
    networks: tuple[Network, ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> Site:
        names = [host.name for host in self.hosts]
        _unique("network", [network.name for network in self.networks])
        _unique("bridge of a network", [network.bridge for network in self.networks])
        for network in self.networks:
            for name in network.hosts:
                if name not in names:
                    raise ValueError(f"network {network.name} names host {name}, which site {self.name} does not have")
        return self


class Topology(_Part):
    """A whole lab.  `name` is that of the lab and of its folder below the state root."""

    name: Name
    sites: tuple[Site, ...] = Field(min_length=1, max_length=SITES_MAX)

    @model_validator(mode="after")
    def _names_differ(self) -> Topology:
        _unique("site", [site.name for site in self.sites])
        hosts = [host.name for site in self.sites for host in site.hosts]
        _unique("host", hosts)
        for name in hosts:
            if name in RESERVED_NAMES:
                raise ValueError(f"a host cannot be called {name}")
        return self

    def seats(self) -> tuple[Seat, ...]:
        """Every host with its addresses, in the file's order."""
        return tuple(
            Seat(site=site, name=host.name, site_number=s, host_number=n)
            for s, site in enumerate(self.sites, 1)
            for n, host in enumerate(site.hosts, 1)
        )

    def carried(self) -> Iterator[Carried]:
        """Every network with the hosts that carry it and the VXLAN number it has in this lab."""
        seats = self.seats()
        number = 100
        for site in self.sites:
            for network in site.networks:
                number += 1
                here = [seat for seat in seats if seat.site is site]
                chosen = tuple(seat for seat in here if not network.hosts or seat.name in network.hosts)
                yield Carried(network=network, number=number, seats=chosen)


class Seat(_Part):
    """Where a host sits: its site, and the addresses that follow from the order in the file."""

    site: Site
    name: str
    site_number: int
    host_number: int

    @property
    def address(self) -> str:
        """On the site network."""
        return f"10.77.{self.site_number}.{10 + self.host_number}"

    @property
    def link_address(self) -> str:
        """On the link between the sites."""
        return f"10.77.0.{10 * self.site_number + self.host_number}"


class Carried(_Part):
    """A network and the seats that carry it; the first of them owns the gateway addresses and answers DHCP."""

    network: Network
    number: int
    seats: tuple[Seat, ...]

    @property
    def vxlan(self) -> str:
        """The interface name of its VXLAN port."""
        return f"vx-{self.number}"


def controller_address(site_number: int) -> str:
    """The controller's address on the network of site `site_number` (from 1)."""
    return f"10.77.{site_number}.2"


def load(path_or_name: str | Path = DEFAULT, *, name: str | None = None) -> Topology:
    """The topology in a file, or the shipped one of that name; `name` gives the lab another name.

    Raises Usage when there is no such file and BadInput, naming file, line and path, when it is wrong.
    """
    document = yaml.read(_find(path_or_name))
    raw = document.value
    if name is not None and isinstance(raw, dict):
        raw = {**raw, "name": name}
    try:
        return Topology.model_validate(raw)
    except ValidationError as error:
        where = document.where(error.errors()[0]["loc"])
        raise BadInput(where=where, problem="; ".join(_sentences(error))) from error


def shipped() -> tuple[str, ...]:
    """The names of the topologies that come with drill."""
    return tuple(sorted(path.stem for path in data.path("hosts").glob("lab-*.yaml")))


def _find(path_or_name: str | Path) -> Path:
    text = str(path_or_name)
    for candidate in (Path(text), data.path("hosts", f"{text}.yaml"), data.path("hosts", f"lab-{text}.yaml")):
        if candidate.is_file():
            return candidate
    raise Usage(problem=f"there is no topology {text}", cure=f"give a file, or one of: {', '.join(shipped())}")


def _sentences(error: ValidationError) -> Iterator[str]:
    """Every mistake once: what a list is said to lack because of a mistake inside it is left out."""
    places = [problem["loc"] for problem in error.errors()]
    for problem in error.errors():
        if any(place != problem["loc"] and place[: len(problem["loc"])] == problem["loc"] for place in places):
            continue
        path = ".".join(str(part) for part in problem["loc"]) or "topology"
        yield f"{path}: {problem['msg'].removeprefix('Value error, ')}"


def _unique(what: str, names: list[str]) -> None:
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ValueError(f"{what} {name} is there twice")
