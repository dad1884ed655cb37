"""Where one card of a machine lands at the target: network, subnet, addresses (spec F2, F5, J3-J6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from drill.core import addresses, mapping
from drill.core.addresses import Given, Taken
from drill.model.command import NicSeen
from drill.model.estate import Estate, Item
from drill.model.fact import NicPredicted
from drill.model.finding import Finding
from drill.model.network import NetworkMapping, Subnet, VmNetwork
from drill.model.target import TargetNic


def land(
    item: Item, index: int, nic: NicSeen, estate: Estate, taken: dict[tuple[str, str], Taken], *, dropped: bool
) -> tuple[NicPredicted, list[Finding]]:
    """Where the source's card of that index lands, and what stands in its way.

    `taken` says who holds what, by site and network of the target; what the card gets is held from then on.
    """
    found: list[Finding] = []
    card = _Card(item=item, index=index, nic=nic, estate=estate, taken=taken, dropped=dropped)
    return card.predicted(found), found


def target_network(item: Item, index: int, network: str | None, estate: Estate) -> VmNetwork | None:
    """Where a card on that source network is connected at the target: by the operator (J3), else by the mapping."""
    chosen = item.target.nic(index)
    if chosen is not None and chosen.network is not None:
        return estate.network(_target_site(item, estate), chosen.network)
    followed = _mapping(item, network, estate)
    return None if followed is None else estate.network(followed.target_site, followed.target)


def _mapping(item: Item, network: str | None, estate: Estate) -> NetworkMapping | None:
    wanted = (estate.hosts[item.source_host].site, network, _target_site(item, estate))
    found = (one for one in estate.network_mappings if (one.source_site, one.source, one.target_site) == wanted)
    return next(found, None)


def _target_site(item: Item, estate: Estate) -> str:
    return estate.hosts[item.target_host].site if item.target_host else item.pair.region


def source_subnet(network: VmNetwork | None, address: str | None) -> Subnet | None:
    """The subnet of `network` that holds the address."""
    if network is None or address is None:
        return None
    return next((one for one in network.subnets if one.holds(address)), None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One card of the source, and all that decides where it lands."""

    item: Item
    index: int
    nic: NicSeen
    estate: Estate
    taken: dict[tuple[str, str], Taken]
    dropped: bool

    def predicted(self, found: list[Finding]) -> NicPredicted:
        """Where it lands; what stands in its way is appended to `found`."""
        source = self._source()
        target = None if self.dropped else target_network(self.item, self.index, self.nic.network, self.estate)
        held = self._held()
        leading = source_subnet(source, held[0]) if held else None
        mode = self._mode(leading, held)
        landings = list(self._landings(source, target, held, mode)) if target is not None else []
        found += [given.finding for _, _, given in landings if given.finding is not None]
        if target is not None:
            found += self._unknown_subnet(target)
        subnet, rule, first = landings[0] if landings else (None, "", Given(address=None, rule=""))
        return NicPredicted(
            index=self.index,
            mac=self.nic.mac,
            source_network=self.nic.network or "",
            source_subnet=leading.name if leading else "",
            network=target.name if target is not None else None,
            subnet=subnet.name if subnet is not None else None,
            address=first.address,
            mode=mode,
            dropped=self.dropped,
            rule=self._why(target, f"{rule}; {first.rule}"),
            others=tuple(given.address for _, _, given in landings[1:] if given.address),
        )

    def _source(self) -> VmNetwork | None:
        site = self.estate.hosts[self.item.source_host].site
        return self.estate.network(site, self.nic.network) if self.nic.network else None

    def _held(self) -> list[str]:
        """The card's addresses at the source without prefix length, as seen, else as declared; the first one leads."""
        declared = self.item.nics[self.index].addresses if self.index < len(self.item.nics) else ()
        return list(global_addresses(self.nic.addresses) or global_addresses(declared))

    def _mode(self, subnet: Subnet | None, held: list[str]) -> str:
        if self.index < len(self.item.nics):
            return self.item.nics[self.index].mode
        return "dhcp" if subnet is not None and _leased(subnet, held[0]) else "static"

    def _landings(
        self, source: VmNetwork | None, target: VmNetwork, held: list[str], mode: str
    ) -> Iterator[tuple[Subnet | None, str, Given]]:
        """For each address, the leading one first: its subnet at the target, the rule of that, the address given.

        A card without a known address still lands in a subnet.
        """
        chosen = self._chosen()
        taken = self.taken.setdefault((target.site, target.name), Taken())
        card = addresses.Card(machine=self.item.name, index=self.index, is_dhcp=mode == "dhcp")
        for number in range(max(len(held), len(chosen.addresses), 1)):
            address = held[number] if number < len(held) else None
            wanted = chosen.addresses[number] if number < len(chosen.addresses) else ""
            own = source_subnet(source, address)
            subnet, rule = self._subnet(target, own, wanted or address)
            if subnet is None:
                yield None, rule, Given(address=None, rule="J4: no subnet of its family, none is promised")
            else:
                given = addresses.allocate(card, address, source=own, target=subnet, taken=taken, wanted=wanted)
                yield subnet, rule, given

    def _subnet(self, target: VmNetwork, own: Subnet | None, address: str | None) -> tuple[Subnet | None, str]:
        """The operator's subnet, else by F5 among those of the address's family."""
        chosen = self._chosen().subnet
        for subnet in target.subnets:
            if chosen and subnet.name == chosen:
                return subnet, f"J3: subnet {chosen} was set by the operator"
        version = ip_address(address).version if address else None
        fitting = [one for one in target.subnets if version in {None, ip_network(one.cidr).version}]
        followed = _mapping(self.item, self.nic.network, self.estate)
        first = followed.first_subnet if followed else mapping.DEFINITION
        return mapping.choose_subnet(fitting, own.name if own else None, first)

    def _unknown_subnet(self, target: VmNetwork) -> list[Finding]:
        chosen = self._chosen().subnet
        if not chosen or any(one.name == chosen for one in target.subnets):
            return []
        problem = f"card {self.index} is set to subnet {chosen}, which {target.name} does not have"
        cure = f"choose one of {', '.join(one.name for one in target.subnets)}"
        return [Finding(rule="J3", kind="machine", name=self.item.name, problem=problem, remedy=cure)]

    def _chosen(self) -> TargetNic:
        return self.item.target.nic(self.index) or TargetNic(source=self.index)

    def _why(self, target: VmNetwork | None, landed: str) -> str:
        if self.dropped and self.item.size is not None:
            size = self.item.size
            return f"J1: size {size.name} has {size.max_nics} of the source's cards; this one is not built"
        if self._chosen().network is not None:
            where = target.name if target else "nothing"
            return f"J3: connected to {where} by the operator" + (f"; {landed}" if target else "")
        if target is None:
            return f"F2: {self.nic.network or 'no network'} is not mapped; connected to nothing"
        return f"F1: {self.nic.network} → {target.name}; {landed}"
