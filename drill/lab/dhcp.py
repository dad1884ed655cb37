"""DHCP on the networks of virtual machines: one dnsmasq per network, on the first host that carries it.

It serves only the subnets declared with `dhcp`, gives no DNS, and never leaves its bridge.  A reservation added while
it runs is a file in its folder of reservations, which it watches; taking one away needs a restart.
"""

from __future__ import annotations

from pathlib import Path

from drill.lab.daemon import own_copy
from drill.lab.place import Place
from drill.lab.roots import STATE_INSIDE
from drill.lab.topology import Carried, Network, Topology

ROLE = "dnsmasq:"
"""What the role of a DHCP server begins with; the network's name follows."""


def served(topology: Topology, host: str) -> tuple[Carried, ...]:
    """The networks on which a host answers DHCP."""
    return tuple(
        carried
        for carried in topology.carried()
        if carried.seats[0].name == host and any(subnet.dhcp for subnet in carried.network.subnets)
    )


def start(place: Place, folder: Path, network: Network) -> None:
    """Start the server of one network in its host."""
    reservations = folder / "drill" / "dhcp" / network.name / "hosts"
    reservations.mkdir(parents=True, exist_ok=True)
    for subnet in network.subnets:
        for reservation in subnet.reservations:
            reserve(folder, network.name, reservation.mac, str(reservation.address))
    place.launch(argv(network, own_copy("dnsmasq")), role=ROLE + network.name, log=folder / "log" / "start.log")


def reserve(folder: Path, network: str, mac: str, address: str) -> None:
    """Always give `address` to `mac` on a network served by the host of this folder, from its next request on."""
    file = folder / "drill" / "dhcp" / network / "hosts" / mac.replace(":", "-")
    file.write_text(f"{mac},{address}\n")


def argv(network: Network, program: Path) -> list[str]:
    """The command line of one network's server.

    `--no-ping` because the probe of an address before it is offered takes 3 s, `--bind-dynamic` because bridges come
    and go, `user=root` because the account dnsmasq would change to need not exist.
    """
    state = STATE_INSIDE / "dhcp" / network.name
    lines = [str(program), "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--port=0"]
    lines += [f"--interface={network.bridge}", "--except-interface=lo", "--bind-dynamic", "--no-ping"]
    lines += ["--dhcp-authoritative", "--log-dhcp", "--log-facility=-", "--no-resolv", "--no-hosts"]
    lines += [f"--dhcp-leasefile={state}/leases", f"--dhcp-hostsdir={state}/hosts", f"--pid-file={state}/pid"]
    for subnet in network.subnets:
        if subnet.dhcp and subnet.pool:
            lines.append(
                f"--dhcp-range=set:{subnet.name},{subnet.pool.first},{subnet.pool.last},{subnet.cidr.netmask},1h"
            )
            lines.append(f"--dhcp-option=tag:{subnet.name},option:router,{subnet.gateway}")
    return lines
