"""The definition of an isolated network for a test failover.

A libvirt network without `<forward>`: libvirt itself rejects what would be routed to or from its bridge, and the
agent's guard (drill/host/bridges.py) drops all frames between bridge and host.  `forward mode='open'` was tried and
rejected: it writes no rules, but switches the host's IP forwarding on and leaves it on.

The host gets no address of the copied subnets, which would put production's addresses into its routing table.
Where DHCP is wanted the bridge carries one link-local /30, and dnsmasq answers for the copied subnets through its
`shared-network` option.  Answers are for reserved cards only, so what was predicted is what a guest gets.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network
from xml.etree import ElementTree as ET

from drill.errors import Unsupported, Usage
from drill.hypervisor.owner_xml import append_owner
from drill.model.machine import OwnerTag
from drill.model.network import BubbleNetwork, Subnet

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"


def render(network: BubbleNetwork, owner: OwnerTag) -> str:
    """The network's XML.  Usage for a bridge name the kernel cannot take or a reservation outside all DHCP subnets."""
    if not 0 < len(network.bridge.encode()) <= 15:
        raise Usage(problem=f"bridge name {network.bridge!r} is not 1 to 15 bytes long")
    options = _dhcp_options(network)
    root = ET.Element("network", {"xmlns:dnsmasq": DNSMASQ})
    ET.SubElement(root, "name").text = network.name
    append_owner(root, owner)
    ET.SubElement(root, "bridge", {"name": network.bridge, "stp": "off", "delay": "0"})
    ET.SubElement(root, "dns", {"enable": "no"})
    if options:
        server = server_address(network.bridge)
        ip = ET.SubElement(root, "ip", {"address": server, "prefix": "30"})
        # libvirt starts no DHCP server without an entry of its own; this one is for a card that does not exist.
        ET.SubElement(
            ET.SubElement(ip, "dhcp"), "host", {"mac": "52:54:00:00:00:00", "ip": str(ip_address(server) + 1)}
        )
        block = ET.SubElement(root, "dnsmasq:options")
        for option in options:
            ET.SubElement(block, "dnsmasq:option", {"value": option})
    return ET.tostring(root, encoding="unicode")


def server_address(bridge: str) -> str:
    """The link-local address of a bubble's DHCP server, chosen by the bridge's name: 169.254.1.1 to 169.254.168.253."""
    number = int.from_bytes(hashlib.sha256(bridge.encode()).digest()[:4], "big") % (168 * 64)
    return str(ip_address("169.254.1.1") + number * 4)


def _dhcp_options(network: BubbleNetwork) -> list[str]:
    """Options of dnsmasq for the subnets with DHCP; empty when there are none."""
    served = [subnet for subnet in network.subnets if subnet.dhcp]
    options = ["no-ping"] if served else []  # every answer is a reservation; a probe would only wait 3 s for nothing
    for number, subnet in enumerate(served):
        options += _subnet_options(network.bridge, f"s{number}", subnet)
    for reservation in network.reservations:
        if not any(subnet.holds(reservation.address) for subnet in served):
            raise Usage(problem=f"{reservation.address} for {reservation.mac} is in no DHCP subnet of {network.copies}")
        options.append(f"dhcp-host={reservation.mac},{reservation.address}")
    return options


def _subnet_options(bridge: str, tag: str, subnet: Subnet) -> list[str]:
    cidr = ip_network(subnet.cidr)
    if cidr.version != 4:
        raise Unsupported(lacking="DHCP for IPv6 subnets", detail=f"{subnet.name} is {subnet.cidr}")
    options = [
        f"shared-network={bridge},{cidr.network_address}",
        f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.netmask}",
    ]
    if subnet.gateway is not None:
        options.append(f"dhcp-option=tag:{tag},option:router,{subnet.gateway}")
    return options
