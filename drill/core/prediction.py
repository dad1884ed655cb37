"""Where a machine's cards will land: the NIC rule, the network mapping, the subnet choice, the address.

Pure: a primary as it was seen and the estate go in, `NicPredicted` values come out, each with the sentence of the
rule that placed it.  A drill asserts afterwards that what it observed equals this.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from drill.model.command import NicSeen, PrimarySeen
from drill.model.estate import Estate, Item
from drill.model.fact import NicPredicted
from drill.model.network import Subnet, VmNetwork


def predict_nics(item: Item, seen: PrimarySeen, estate: Estate) -> tuple[NicPredicted, ...]:
    """One prediction per card of the source, in its order; cards beyond the target size are marked dropped (J1)."""
    most = len(seen.nics) if item.size is None else item.size.max_nics
    return tuple(_predict(index, nic, most, item, estate) for index, nic in enumerate(seen.nics))


def _predict(index: int, nic: NicSeen, most: int, item: Item, estate: Estate) -> NicPredicted:
    source_site = estate.hosts[item.source_host].site
    target_site = estate.hosts[item.target_host].site
    source = estate.network(source_site, nic.network) if nic.network else None
    address = next((text.split("/")[0] for text in nic.addresses), None)
    subnet = source_subnet(source, address)
    mapped = estate.mapped_network(source_site, nic.network, target_site) if nic.network else None
    target = estate.network(target_site, mapped) if mapped else None
    dropped = index >= most
    landed, rule = choose_subnet(target, subnet.name if subnet else None)
    mode = "dhcp" if subnet and address and _leased(subnet, address) else "static"
    kept, address_rule = choose_address(landed, address, mode)
    if dropped and item.size is not None:
        why = f"J1: size {item.size.name} has {most} of the source's cards; this one is not built"
    elif target is None:
        why = f"F2: {nic.network or 'no network'} is not mapped; connected to nothing"
    else:
        why = f"F1: {nic.network} → {target.name}; {rule}; {address_rule}"
    placed = target is not None and not dropped
    return NicPredicted(
        index=index,
        mac=nic.mac,
        source_network=nic.network or "",
        source_subnet=subnet.name if subnet else "",
        network=target.name if target is not None and placed else None,
        subnet=landed.name if landed is not None and placed else None,
        address=kept if placed else None,
        mode=mode,
        dropped=dropped,
        rule=why,
    )


def source_subnet(network: VmNetwork | None, address: str | None) -> Subnet | None:
    """The subnet of `network` that holds the address."""
    if network is None or address is None:
        return None
    return next((one for one in network.subnets if one.holds(address)), None)


def choose_subnet(target: VmNetwork | None, source_name: str | None) -> tuple[Subnet | None, str]:
    """The target's subnet of the same name, else its first in definition order (F5), with the rule's sentence."""
    if target is None:
        return None, "F2: not mapped"
    for subnet in target.subnets:
        if subnet.name == source_name:
            return subnet, f"F5: subnet {subnet.name} has the source's name"
    return target.subnets[
        0
    ], f"F5: no subnet named {source_name or '(unknown)'}, so the first, {target.subnets[0].name}"


def choose_address(subnet: Subnet | None, address: str | None, mode: str) -> tuple[str | None, str]:
    """The address a card keeps or gets (J4, J6), with the rule's sentence; None where nothing is promised."""
    if subnet is None or address is None:
        return None, "J4: the source's address is not known, none is promised"
    if subnet.holds(address):
        kept = "reserved by DHCP" if mode == "dhcp" else "kept"
        return address, f"J4: {mode} address {kept}"
    if mode == "dhcp":
        return None, "J6: DHCP cards are left alone"
    return None, f"J6: {address} does not lie in {subnet.cidr}; none is promised"


def _leased(subnet: Subnet, address: str) -> bool:
    """Whether an address comes from the subnet's DHCP server: it has one, and the address lies in its pool."""
    if not subnet.dhcp or subnet.pool is None:
        return False
    first, last = (int(ip_address(one)) for one in subnet.pool)
    return first <= int(ip_address(address)) <= last


def global_addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses without prefix length that are neither link-local nor loopback."""
    found = (ip_interface(text).ip for text in addresses)
    return tuple(str(one) for one in found if not one.is_link_local and not one.is_loopback)
