"""What crosses a lab's networks, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill.lab import dhcp, site, topology
from drill.lab.place import Place
from drill.lab.standing import Lab

pytestmark = pytest.mark.lab
DAEMON = 16509
FULL_BYTES = 1472
"""What a datagram carries in a full frame of 1500 bytes."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two sites with two hosts each, for this file alone."""
    name = f"net-{os.getpid()}"
    try:
        yield site.up(topology.load("lab-two-site-two-hosts", name=name))
    finally:
        site.down(name)


ECHO = """
import socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind((sys.argv[1], 7777))
print("ready", flush=True)
data, peer = here.recvfrom(65536)
here.sendto(data, peer)
"""
ASK = """
import socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: never fragment
here.bind((sys.argv[1], 0))
here.settimeout(2)
here.sendto(bytes(int(sys.argv[3])), (sys.argv[2], 7777))
print(len(here.recv(65536)))
"""
SINK = """
import socket
here = socket.create_server(("0.0.0.0", 7778))
print("ready", flush=True)
peer, _ = here.accept()
while peer.recv(65536):
    pass
peer.sendall(b".")
"""
SEND = """
import socket, sys, time
there = socket.create_connection((sys.argv[1], 7778), 5)
began = time.monotonic()
there.sendall(bytes(1 << 20))
there.shutdown(socket.SHUT_WR)
there.recv(1)
print(time.monotonic() - began)
"""


def listening(place: Place, code: str, *arguments: str) -> subprocess.Popen[str]:
    """A program running inside a place that has said it is ready."""
    argv = place.argv_inside([sys.executable, "-c", code, *arguments])
    program = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def ended(program: subprocess.Popen[str]) -> None:
    program.kill()
    program.communicate(timeout=10)


def reaches(place: Place, address: str, port: int = DAEMON) -> bool:
    """Whether a TCP connection from that place is accepted within half a second."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 0.5).close()"
    argv = place.argv_inside([sys.executable, "-c", code])
    return subprocess.run(argv, timeout=10, check=False, capture_output=True).returncode == 0


def test_full_size_frames_cross_between_the_hosts_of_a_site(lab: Lab) -> None:
    bridge = lab.topology.sites[0].networks[0].bridge
    lab.host("ny2").run(["ip", "address", "replace", "10.61.1.22/24", "dev", bridge])
    echo = listening(lab.host("ny1").place, ECHO, "10.61.1.1")
    try:
        asked = lab.host("ny2").run([sys.executable, "-c", ASK, "10.61.1.22", "10.61.1.1", str(FULL_BYTES)])
    finally:
        ended(echo)
        lab.host("ny2").run(["ip", "address", "del", "10.61.1.22/24", "dev", bridge])
    assert asked.stdout.strip() == str(FULL_BYTES)


def test_the_same_network_of_the_other_site_is_another_network(lab: Lab) -> None:
    """Both sites use 10.61.1.0/24; a machine asking for the gateway at home never meets the one away."""
    home, away = lab.topology.sites
    addresses = lab.host("ny1").run(["ip", "-j", "link", "show", home.networks[0].bridge]).stdout
    strangers = lab.host("chi1").run(["ip", "-j", "link", "show", away.networks[0].bridge]).stdout
    assert json.loads(addresses)[0]["address"] != json.loads(strangers)[0]["address"]
    bridge = home.networks[0].bridge
    lab.host("ny2").run(["ip", "address", "replace", "10.61.1.22/24", "dev", bridge])
    try:
        assert reaches(lab.host("ny2").place, "10.61.1.1")
        neighbour = lab.host("ny2").run(["ip", "-j", "neighbour", "show", "10.61.1.1"]).stdout
    finally:
        lab.host("ny2").run(["ip", "address", "del", "10.61.1.22/24", "dev", bridge])
    assert json.loads(neighbour)[0]["lladdr"] == json.loads(addresses)[0]["address"]


def test_the_controller_reaches_every_daemon_and_sees_no_folder_of_a_host(lab: Lab) -> None:
    assert [host.name for host in lab.hosts if not reaches(lab.controller, host.address)] == []
    assert folders_of_hosts_seen_from(lab, lab.controller) == []


def test_a_host_sees_no_folder_of_another(lab: Lab) -> None:
    assert folders_of_hosts_seen_from(lab, lab.host("ny1").place) == []


def folders_of_hosts_seen_from(lab: Lab, place: Place) -> list[str]:
    """The folders of hosts that a place finds where they lie outside."""
    code = "import os, sys; print([path for path in sys.argv[1:] if os.path.exists(path)])"
    said = place.run([sys.executable, "-c", code, *(str(host.folder) for host in lab.hosts)]).stdout
    return list(json.loads(said.replace("'", '"')))


def test_hosts_of_the_two_sites_meet_only_on_the_link(lab: Lab) -> None:
    ny1, chi1 = lab.host("ny1"), lab.host("chi1")
    assert reaches(ny1.place, chi1.link_address)
    assert not reaches(ny1.place, chi1.address)


def test_a_cut_link_passes_nothing_and_a_healed_one_everything(lab: Lab) -> None:
    ny1, chi1 = lab.host("ny1"), lab.host("chi1")
    lab.cut_link()
    try:
        crossed = reaches(ny1.place, chi1.link_address)
        at_home = reaches(ny1.place, lab.host("ny2").address)
    finally:
        lab.heal_link()
    assert (crossed, at_home, reaches(ny1.place, chi1.link_address)) == (False, True, True)


def test_a_throttled_link_carries_what_it_was_given(lab: Lab) -> None:
    def seconds_per_mebibyte() -> float:
        sink = listening(lab.host("chi1").place, SINK)
        try:
            sent = lab.host("ny1").run([sys.executable, "-c", SEND, lab.host("chi1").link_address])
        finally:
            ended(sink)
        return float(sent.stdout)

    lab.throttle_link(bits_per_second=8_000_000)
    try:
        throttled = seconds_per_mebibyte()
    finally:
        lab.heal_link()
    assert throttled > 0.6
    assert seconds_per_mebibyte() < throttled / 2


def test_nothing_leads_out_of_the_lab(lab: Lab) -> None:
    routes = {host.name: host.run(["ip", "-j", "route", "show", "default"]).stdout.strip() for host in lab.hosts}
    routes["controller"] = lab.controller.run(["ip", "-j", "route", "show", "default"]).stdout.strip()
    assert all(json.loads(said) == [] for said in routes.values())
    forwarding = [host.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout.strip() for host in lab.hosts]
    assert set(forwarding) == {"0"}


def test_bridges_learn_at_once_and_speak_no_spanning_tree(lab: Lab) -> None:
    said = json.loads(lab.host("ny1").run(["ip", "-j", "-d", "link", "show", "type", "bridge"]).stdout)
    assert [(one["linkinfo"]["info_data"]["stp_state"], one["linkinfo"]["info_data"]["forward_delay"]) for one in said]
    for one in said:
        assert (one["linkinfo"]["info_data"]["stp_state"], one["linkinfo"]["info_data"]["forward_delay"]) == (0, 0)


DISCOVER = """
import random, socket, struct, sys
mac = bytes.fromhex(sys.argv[2].replace(":", ""))
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
ask.bind(("0.0.0.0", 68))
ask.settimeout(3)
number = random.randbytes(4)
head = struct.pack("!4B4sHH16s16s64s128s", 1, 1, 6, 0, number, 0, 0x8000, b"", mac, b"", b"")
ask.sendto(head + bytes([99, 130, 83, 99, 53, 1, 1, 255]), ("255.255.255.255", 67))
while True:
    answer = ask.recv(4096)
    if answer[4:8] == number:
        print(socket.inet_ntoa(answer[16:20]))
        break
"""


def test_dhcp_answers_across_the_hosts_of_a_site_from_the_pool_of_its_subnet(lab: Lab) -> None:
    offered = _offer(lab, "52:54:00:00:00:01")
    assert 100 <= int(offered.rpartition(".")[2]) <= 150
    assert offered.startswith("10.61.1.")


def test_a_reservation_made_while_it_runs_is_kept(lab: Lab) -> None:
    dhcp.reserve(lab.host("ny1").folder, "VMNetwork1", "52:54:00:00:00:02", "10.61.1.77")
    deadline = time.monotonic() + 5
    while (offered := _offer(lab, "52:54:00:00:00:02")) != "10.61.1.77" and time.monotonic() < deadline:
        pass
    assert offered == "10.61.1.77"


def _offer(lab: Lab, mac: str) -> str:
    """What DHCP offers to a machine on ny2: the server is on ny1."""
    bridge = lab.topology.sites[0].networks[0].bridge
    ny2 = lab.host("ny2")
    ny2.run(["ip", "address", "replace", "10.61.1.22/24", "dev", bridge])
    try:
        return ny2.run([sys.executable, "-c", DISCOVER, bridge, mac], timeout_seconds=10).stdout.strip()
    finally:
        ny2.run(["ip", "address", "del", "10.61.1.22/24", "dev", bridge])


def test_the_machine_itself_is_on_none_of_these_networks() -> None:
    assert "10.77." not in Path("/proc/net/fib_trie").read_text()
    assert "10.61." not in Path("/proc/net/fib_trie").read_text()
