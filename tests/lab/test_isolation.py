"""A test failover's network is cut off from production and from its host, shown with a twin of a running machine.

On one host run two production machines and two of a bubble, under the guard:

    production   first  10.61.1.21  52:54:00:99:03:21  ── its VM network ── second 10.61.1.22, serves port 5432
    bubble       twin   10.61.1.21  52:54:00:99:03:21  ── the bubble ────── leased, by DHCP 10.61.1.23

The twin has the first machine's name, address and MAC.  Every negative probe has its positive control: at that moment
the first machine, or the unguarded bridge, is reached by the same probe.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from drill.errors import Failed
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import site, topology
from drill.lab.standing import Lab, LabHost
from drill.model.network import BubbleNetwork, DhcpReservation, Subnet
from tests.lab.micro_machines import OWNER, await_agent, await_done, hypervisor_of, inside, prepared

pytestmark = pytest.mark.lab
PRODUCTION, PRODUCTION_BRIDGE = "VMNetwork1", "vm-vmnetwork1"
GATEWAY, SECOND, LEASED = "10.61.1.1", "10.61.1.22", "10.61.1.23"
BUBBLE = BubbleNetwork(
    name="iso-bubble",
    bridge="iso-bubble",
    copies=PRODUCTION,
    subnets=(Subnet(name="web", cidr="10.61.1.0/24", gateway=GATEWAY, dhcp=True),),
    reservations=(DhcpReservation(mac="52:54:00:99:03:23", address=LEASED),),
)


@dataclass(frozen=True, slots=True)
class Twins:
    """The host with its four guests, and the port on which it listens at all of its addresses."""

    lab: Lab
    host: LabHost
    hypervisor: LibvirtHypervisor

    def successful(self, guest: str, probes: list[str]) -> list[str]:
        """Which of some shell commands, run at once in a guest, end with 0."""
        script = "".join(f"({probe}) > /dev/null 2>&1 && echo {number} &\n" for number, probe in enumerate(probes))
        said = self.hypervisor.guest(guest).run(["/bin/sh", "-c", f"{script}wait"], 20)
        return [probes[int(number)] for number in sorted(said.output.split(), key=int)]

    def succeeds(self, guest: str, probe: str) -> bool:
        """Whether one does."""
        return self.successful(guest, [probe]) == [probe]

    def host_addresses(self) -> list[str]:
        """Every IPv4 address of the host but the loopback's and the DHCP server's own."""
        found = json.loads(self.host.run(["ip", "-4", "-j", "address", "show"]).stdout)
        links = [link for link in found if link["ifname"] not in {"lo", BUBBLE.bridge}]
        return [entry["local"] for link in links for entry in link["addr_info"]]


GUARD = """
import sys
from drill.host import bridges
getattr(bridges, sys.argv[1])(sys.argv[2])
print("null")
"""
LOOK = """
import json, sys
from drill.host import bridges
bridge = sys.argv[1]
print(json.dumps([bridges.is_guarded(bridge), bridges.bridge_members(bridge), bridges.foreign_members(bridge)]))
"""


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    name = f"iso-{os.getpid()}"
    try:
        lab = site.up(topology.load("lab-two-site", name=name))
        host, hypervisor = lab.host("ny1"), hypervisor_of(lab, "ny1")
        hypervisor.make_bubble(BUBBLE, OWNER)
        inside(host, GUARD, "guard", BUBBLE.bridge)
        first = {"mac": "52:54:00:99:03:21", "addresses": ["10.61.1.21/24"], "gateway": GATEWAY}
        second = {"mac": "52:54:00:99:03:22", "addresses": [f"{SECOND}/24"], "gateway": GATEWAY}
        third = {"mac": "52:54:00:99:03:23", "dhcp": True}
        for machine in (
            prepared(host, name="first", nics=[{**first, "network": PRODUCTION}]),
            prepared(host, name="second", role="db", nics=[{**second, "network": PRODUCTION}]),
            prepared(host, name="twin", nics=[{**first, "network": BUBBLE.name}]),
            prepared(host, name="leased", role="db", nics=[{**third, "network": BUBBLE.name}]),
        ):
            hypervisor.define(machine, OWNER)
            hypervisor.start(machine.name, OWNER)
        for guest in ("first", "second", "twin", "leased"):
            await_agent(hypervisor, guest)
        yield Twins(lab, host, hypervisor)
    finally:
        site.down(name)


def test_dhcp_answers_inside_the_bubble_through_the_guard(twins: Twins) -> None:
    def leased() -> None:
        assert f"{LEASED}/24" in twins.hypervisor.guest("leased").nics()[0].addresses

    await_done(leased, "the leased address", 20)


def test_guests_of_one_bubble_reach_each_other(twins: Twins) -> None:
    def served() -> None:
        assert twins.succeeds("twin", f"nc -w 2 {LEASED} 5432 < /dev/null | grep -q '^db leased'")

    await_done(served, "the service of the other guest", 30)


def answered(twins: Twins, probes: list[str], what: str) -> None:
    """A positive control: each probe succeeds from production; on a busy machine not at the first try."""

    def all_succeed() -> None:
        assert twins.successful("first", probes) == probes

    await_done(all_succeed, what, 60)


def test_production_is_out_of_reach_and_answers_its_own(twins: Twins) -> None:
    probes = [
        f"nc -w 2 {SECOND} 5432 < /dev/null | grep -q '^db second'",
        f"ping -c 1 -W 2 {SECOND}",
        f"arping -c 1 -w 2 -I eth0 {SECOND}",
    ]
    answered(twins, probes, "control: production answers its own")
    assert twins.successful("twin", probes) == []
    answered(twins, probes, "control: after it, too")


def test_the_host_is_out_of_reach_at_every_address_and_answers_production(twins: Twins) -> None:
    addresses = twins.host_addresses()
    assert {GATEWAY, twins.host.address, twins.host.link_address} <= set(addresses)
    probes = [f"nc -w 2 {address} 16509 < /dev/null" for address in addresses]
    probes += [f"arping -c 1 -w 2 -I eth0 {address}" for address in addresses]
    answered(twins, probes, "control: the host answers production")
    assert twins.successful("twin", probes) == []


def test_the_dhcp_servers_own_address_answers_nothing_but_dhcp(twins: Twins) -> None:
    server = server_of(twins)
    assert twins.succeeds("twin", f"ip route replace {server}/32 dev eth0")
    ask = f"arping -c 1 -w 2 -I eth0 {server}"
    assert twins.successful("twin", [ask, f"ping -c 1 -W 2 {server}", f"nc -w 2 {server} 16509 < /dev/null"]) == []
    with unguarded(twins):
        assert twins.succeeds("twin", ask), "control: without the guard"


def test_the_host_cannot_send_to_a_guest_even_by_a_route_of_its_own(twins: Twins) -> None:
    assert reached(twins, SECOND), "control: the host reaches production"
    twins.host.run(["ip", "route", "add", f"{LEASED}/32", "dev", BUBBLE.bridge])
    try:
        assert not reached(twins, LEASED)
        with unguarded(twins):
            assert twins.succeeds("leased", f"ip route replace {server_of(twins)}/32 dev eth0")
            await_done(lambda: is_reached(twins, LEASED), "control: without the guard", 10)
    finally:
        twins.host.run(["ip", "route", "del", f"{LEASED}/32", "dev", BUBBLE.bridge])
        twins.host.run(["ip", "neigh", "flush", "dev", BUBBLE.bridge])


def test_ipv6_is_off_on_the_bridge_and_the_guard_holds_even_when_it_is_on(twins: Twins) -> None:
    switch = f"net.ipv6.conf.{BUBBLE.bridge}.disable_ipv6"
    assert twins.host.run(["sysctl", "-n", switch]).stdout.strip() == "1"
    twins.host.run(["sysctl", "-q", "-w", f"{switch}=0"])
    try:
        await_done(lambda: link_local(twins), "the bridge's link-local address", 10)
        probe = f"ping -6 -c 2 -W 1 {link_local(twins)}%eth0"
        assert not twins.succeeds("twin", probe)
        with unguarded(twins, keeping=f"{switch}=0"):
            assert twins.succeeds("twin", probe), "control: without the guard"
    finally:
        inside(twins.host, GUARD, "guard", BUBBLE.bridge)
    assert twins.host.run(["sysctl", "-n", switch]).stdout.strip() == "1"


def test_what_a_test_guest_sends_is_on_no_interface_but_its_bubbles(twins: Twins) -> None:
    taps = set(inside(twins.host, LOOK, BUBBLE.bridge)[1])
    seen = sniffed(twins, {"twin": "of-the-twin", "first": "of-the-first"})
    assert PRODUCTION_BRIDGE in seen["of-the-first"], "control: the sniffer hears production"
    assert seen["of-the-twin"] >= taps, "control: it hears the bubble"
    assert seen["of-the-twin"] <= taps | {BUBBLE.bridge}
    assert not seen["of-the-first"] & (taps | {BUBBLE.bridge})


def test_nothing_is_routed_out_of_the_bubble_even_by_a_host_that_forwards(twins: Twins) -> None:
    mac = twins.host.run(["cat", f"/sys/class/net/{BUBBLE.bridge}/address"]).stdout.strip()
    before = inside(twins.host, DROPPED, BUBBLE.bridge)[0]
    twins.host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    try:
        twins.succeeds("twin", f"ip neigh replace {GATEWAY} lladdr {mac} dev eth0 nud permanent")
        seen = sniffed(twins, {"twin": "of-the-twin"})
    finally:
        twins.host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"])
        twins.succeeds("twin", f"ip neigh del {GATEWAY} dev eth0")
    taps = set(inside(twins.host, LOOK, BUBBLE.bridge)[1])
    assert BUBBLE.bridge in seen["of-the-twin"], "control: the host's bridge was sent to"
    assert seen["of-the-twin"] <= taps | {BUBBLE.bridge}
    assert inside(twins.host, DROPPED, BUBBLE.bridge)[0] > before


def test_the_bubble_has_its_guests_taps_as_members_and_nothing_else(twins: Twins) -> None:
    guarded, members, foreign = inside(twins.host, LOOK, BUBBLE.bridge)
    assert (guarded, len(members), foreign) == (True, 2, [])


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        pytest.param("veth", "peer name iso-out", id="veth"),
        pytest.param("vxlan", "id 9 dstport 4790 local 10.77.1.11 remote 10.77.2.11", id="vxlan"),
    ],
)
def test_an_uplink_is_seen_and_a_guard_over_it_refused(twins: Twins, kind: str, rest: str) -> None:
    twins.host.run(["ip", "link", "add", "iso-up", "type", kind, *rest.split()])
    try:
        twins.host.run(["ip", "link", "set", "iso-up", "master", BUBBLE.bridge])
        _, members, foreign = inside(twins.host, LOOK, BUBBLE.bridge)
        assert ("iso-up" in members, foreign) == (True, [f"iso-up ({kind})"])
        with pytest.raises(Failed, match="leads out through iso-up"):
            inside(twins.host, GUARD, "guard", BUBBLE.bridge)
    finally:
        twins.host.run(["ip", "link", "delete", "iso-up"])


def test_a_guard_for_no_bridge_is_refused_and_taking_none_away_is_fine(twins: Twins) -> None:
    with pytest.raises(Failed, match="there is no bridge iso-none"):
        inside(twins.host, GUARD, "guard", "iso-none")
    inside(twins.host, GUARD, "unguard", "iso-none")
    assert inside(twins.host, LOOK, "iso-none") == [False, [], []]


REACH = """
import json, sys
from drill.host import bridges
print(json.dumps(bridges.reach(sys.argv[1], 5432, 2)))
"""
DROPPED = """
import json, sys
from drill.host import bridges
print(json.dumps(bridges.dropped_frames(sys.argv[1])))
"""
SNIFF = """
import json, select, socket, sys
markers = [marker.encode() for marker in sys.argv[1:]]
here = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("ready", flush=True)
seen = {marker.decode(): [] for marker in markers}
here.settimeout(0.2)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        frame, source = here.recvfrom(65536)
    except TimeoutError:
        continue
    for marker in markers:
        if marker in frame and source[0] not in seen[marker.decode()]:
            seen[marker.decode()].append(source[0])
print(json.dumps(seen))
"""
PROCLAIM = r"""
my @anybody = ([255, 255, 255, 255], [10, 61, 1, 255], [224, 0, 0, 1]);
my @known = ([10, 61, 1, 1], [10, 61, 1, 22], [10, 61, 1, 23], [10, 77, 1, 11], [10, 77, 2, 11]);
for my $to (@anybody, @known) {
    socket my $here, 2, 2, 17 or die;
    setsockopt $here, 1, 6, pack "i", 1;
    send $here, $ARGV[0], 0, pack "S n C4 x8", 2, 9999, @$to for 1..3;
}
"""


def server_of(twins: Twins) -> str:
    """The address of the bubble's DHCP server, which is the bridge's own."""
    found = json.loads(twins.host.run(["ip", "-4", "-j", "address", "show", "dev", BUBBLE.bridge]).stdout)
    return str(found[0]["addr_info"][0]["local"])


def link_local(twins: Twins) -> str:
    """The bridge's link-local IPv6 address, once it may be used."""
    found = json.loads(twins.host.run(["ip", "-6", "-j", "address", "show", "dev", BUBBLE.bridge]).stdout)
    usable = [entry["local"] for link in found for entry in link["addr_info"] if not entry.get("tentative")]
    assert usable, "no address yet"
    return str(usable[0])


def reached(twins: Twins, address: str) -> bool:
    """Whether the host itself reaches the database's port there."""
    return bool(inside(twins.host, REACH, address))


def sniffed(twins: Twins, markers: dict[str, str]) -> dict[str, set[str]]:
    """Marker -> the host's interfaces on which it was seen while each guest sent its own everywhere it can think of."""
    argv = twins.host.argv_inside([sys.executable, "-c", SNIFF, *markers.values()])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout is not None
        assert sniffer.stdout.readline() == "ready\n"
        for guest, marker in markers.items():
            sent = twins.hypervisor.guest(guest).run(["/usr/bin/perl", "-e", PROCLAIM, marker], 20)
            assert sent.exit_code == 0, sent.errors
        heard, _ = sniffer.communicate("end\n", timeout=20)
    return {marker: set(names) for marker, names in json.loads(heard).items()}


def is_reached(twins: Twins, address: str) -> None:
    assert reached(twins, address)


@contextlib.contextmanager
def unguarded(twins: Twins, keeping: str = "") -> Iterator[None]:
    """The bubble without its guard, to show that it is the guard that holds."""
    inside(twins.host, GUARD, "unguard", BUBBLE.bridge)
    try:
        if keeping:
            twins.host.run(["sysctl", "-q", "-w", keeping])
        yield
    finally:
        inside(twins.host, GUARD, "guard", BUBBLE.bridge)
