"""The wires of a lab: one bridge per site and one for the link between sites, and what hangs on them.

    fabric    site1   site2  between      bridges, nothing else has an address here
                │       │      ││
    host      site0   site0  link0        veth pairs; VM networks cross between the hosts of a site by VXLAN on site0
    controller  site1   site2             joined to every site network, not to the link

All of it is written as batches for `ip` and `bridge`, computed from the topology and from which interfaces are
there, so that a batch mends as well as it builds.  The underlay's MTU leaves guests their 1500 bytes over VXLAN.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from drill.lab.place import Place
from drill.lab.topology import Carried, Seat, Topology, controller_address

MTU = 1600
VXLAN_PORT = 4789
LINK = "between"  # `ip` would take "link" for a keyword


@dataclass(frozen=True, slots=True)
class Wire:
    """One veth pair: `port` on `bridge` in the fabric, `far` in another place."""

    port: str
    bridge: str
    far: str
    place: str


def wires(topology: Topology) -> list[Wire]:
    """Every wire of a lab."""
    found = [Wire(f"c{number}", f"site{number}", f"site{number}", "controller") for number in _site_numbers(topology)]
    for seat in topology.seats():
        found.append(Wire(site_port(seat), f"site{seat.site_number}", "site0", seat.name))
        found.append(Wire(link_port(seat), LINK, "link0", seat.name))
    return found


def link_port(seat: Seat) -> str:
    """The fabric's end of a host's wire to the link between the sites."""
    return f"l{seat.site_number}h{seat.host_number}"


def site_port(seat: Seat) -> str:
    """The fabric's end of a host's wire to its site network."""
    return f"s{seat.site_number}h{seat.host_number}"


def fabric_batch(topology: Topology, present: Collection[str], pids: Mapping[str, int]) -> list[str]:
    """`ip` commands, for the fabric, that add what is not present; `pids` says where each far end goes."""
    lines: list[str] = []
    for bridge in (*(f"site{number}" for number in _site_numbers(topology)), LINK):
        if bridge not in present:
            lines.append(f"link add {bridge} mtu {MTU} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            lines.append(f"link set {bridge} up")
    for wire in wires(topology):
        if wire.port not in present:
            far = f"name {wire.far} mtu {MTU} netns {pids[wire.place]}"
            lines.append(f"link add {wire.port} mtu {MTU} type veth peer {far}")
            lines.append(f"link set {wire.port} master {wire.bridge} up")
    return lines


def whole_or_gone(topology: Topology, places: Mapping[str, Place]) -> Callable[[], bool]:
    """Whether every wire has both its ends or none: those of a place that ended go a moment after it."""

    def settled() -> bool:
        present = {name: place.interfaces() for name, place in places.items()}
        return all((w.port in present["fabric"]) == (w.far in present[w.place]) for w in wires(topology))

    return settled


def controller_batch(topology: Topology) -> list[str]:
    """`ip` commands, for the controller: its address on every site network."""
    return [
        line
        for number in _site_numbers(topology)
        for line in (
            f"address replace {controller_address(number)}/24 dev site{number}",
            f"link set site{number} up",
        )
    ]


def host_batch(topology: Topology, seat: Seat, present: Collection[str]) -> list[str]:
    """`ip` commands, for one host: its addresses, and a bridge per VM network that it carries."""
    lines = [
        f"address replace {seat.address}/24 dev site0",
        "link set site0 up",
        f"address replace {seat.link_address}/24 dev link0",
        "link set link0 up",
    ]
    for carried in topology.carried():
        if seat in carried.seats:
            lines += _network_batch(carried, seat, present)
    return lines


def vxlan_peers_batch(topology: Topology, seat: Seat, fresh: Collection[str]) -> list[str]:
    """`bridge` commands, for one host: where each of the `fresh` VXLAN ports floods to."""
    return [
        f"fdb append 00:00:00:00:00:00 dev {carried.vxlan} dst {other.address}"
        for carried in topology.carried()
        if carried.vxlan in fresh
        for other in carried.seats
        if other != seat
    ]


def vxlan_ports(topology: Topology, seat: Seat) -> frozenset[str]:
    """The VXLAN ports a host has: one per network that it shares with another host."""
    return frozenset(c.vxlan for c in topology.carried() if seat in c.seats and len(c.seats) > 1)


def _site_numbers(topology: Topology) -> range:
    return range(1, len(topology.sites) + 1)


def _network_batch(carried: Carried, seat: Seat, present: Collection[str]) -> list[str]:
    bridge, lines = carried.network.bridge, []
    if bridge not in present:
        lines.append(
            f"link add {bridge} address {_bridge_mac(carried, seat)} mtu 1500 "
            "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        )
    if seat == carried.seats[0]:
        for subnet in carried.network.subnets:
            if subnet.gateway is not None:
                owned = IPv4Interface((subnet.gateway, subnet.cidr.prefixlen))
                lines.append(f"address replace {owned} dev {bridge}")
    if len(carried.seats) > 1 and carried.vxlan not in present:
        lines.append(
            f"link add {carried.vxlan} mtu 1500 type vxlan id {carried.number} local {seat.address} "
            f"dstport {VXLAN_PORT} dev site0"
        )
        lines.append(f"link set {carried.vxlan} master {bridge} up")
    lines.append(f"link set {bridge} up")
    return lines


def _bridge_mac(carried: Carried, seat: Seat) -> str:
    """An address that stays: a bridge without one takes a guest's, and the gateway's would change under the guests."""
    number = f"{carried.number:04x}"
    return f"02:d1:{number[:2]}:{number[2:]}:{seat.site_number:02x}:{seat.host_number:02x}"


def apply(place: Place, tool: str, lines: list[str]) -> None:
    """Run one batch of `ip` or `bridge` inside a place; raises Failed with the line that the kernel refused."""
    if lines:
        place.run([tool, "-batch", "-"], stdin="\n".join(lines) + "\n")
