"""Which ways out and in are tried, and which bridges are looked at."""

from __future__ import annotations

from dataclasses import replace

from drill.core.bubble import Inmate, probes
from drill.core.landing import source_subnet
from drill.model.estate import Item
from drill.model.fact import NicPredicted
from tests.paper import MACS, estate


def inmate(name: str, *, item: Item | None = None, address: str | None = "10.61.1.11") -> Inmate:
    nic = NicPredicted(
        index=0,
        source_network="Net1",
        source_subnet="web",
        mac=MACS[name],
        network="Net1-Chicago",
        subnet="web",
        address=address,
        mode="static",
        dropped=False,
        rule="",
    )
    return Inmate(
        item=item or estate().items[name], domain=f"test-{name}", nics=(nic,), primary_addresses=(("10.61.1.11",),)
    )


def test_a_machine_without_an_agent_is_no_place_to_probe_from() -> None:
    with_agent, without = inmate("db"), inmate("db", item=replace(estate().items["db"], agent=False))
    assert probes(estate(), [with_agent])[0]
    assert not [one for one in probes(estate(), [without])[0] if one.domain == without.domain]
    assert probes(estate(), [without])[1] == ()


def test_a_machine_without_an_address_or_a_service_is_not_probed_from_its_host() -> None:
    assert probes(estate(), [inmate("db")])[1]
    assert probes(estate(), [inmate("db", address=None)])[1] == ()
    assert probes(estate(), [inmate("db", item=replace(estate().items["db"], services=()))])[1] == ()


def test_a_card_without_an_address_or_a_network_has_no_source_subnet() -> None:
    network = estate().networks[0]
    assert source_subnet(network, "10.61.1.11") == network.subnets[0]
    assert source_subnet(network, None) is None
    assert source_subnet(None, "10.61.1.11") is None
    assert source_subnet(network, "192.0.2.1") is None
