"""The picture of a host shows what a drill might leave behind, each kind planted here, and is still on a quiet host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from drill.lab import site, topology
from drill.lab.standing import Lab, LabHost
from drill.model.network import BubbleNetwork, Subnet
from tests.lab.micro_machines import OWNER, hypervisor_of, inside, prepared

pytestmark = pytest.mark.lab
Entries = set[tuple[str, str]]
LEASED = Subnet(name="web", cidr="10.61.1.0/24", gateway="10.61.1.1", dhcp=True)
BUBBLE = BubbleNetwork(name="pic-bubble", bridge="pic-bubble", copies="VM", subnets=(LEASED,), reservations=())
GUARD = """
import sys
from drill.host import bridges
bridges.{act}(sys.argv[1])
print("null")
"""
RUNS = "/var/lib/drill/runs/r1"
TAKE = """
import json
from drill.host import bridges
from drill.hypervisor import picture
from drill.hypervisor.connection import connect
found = picture.take(connect("qemu:///system"), host="ny1", taken_us=1, interfaces=bridges.interfaces(),
                     firewall=bridges.guards())
assert list(found.entries) == sorted(set(found.entries))
print(json.dumps(found.entries))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    name = f"pic-{os.getpid()}"
    try:
        yield site.up(topology.load("lab-two-site", name=name))
    finally:
        site.down(name)


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    return lab.host("ny1")


def taken(host: LabHost) -> Entries:
    return {(kind, name) for kind, name in inside(host, TAKE)}


def listener(path: str) -> list[str]:
    return ["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({path!r})"]


PLANTS: list[tuple[list[str], list[str], Entries]] = [
    (
        ["sh", "-c", f"mkdir -p {RUNS} && : > {RUNS}/db.vda.qcow2"],
        ["rm", "-r", RUNS],
        {("disks", RUNS), ("disks", f"{RUNS}/db.vda.qcow2")},
    ),
    (
        ["sh", "-c", ": > /var/lib/libvirt/images/left.qcow2"],
        ["rm", "/var/lib/libvirt/images/left.qcow2"],
        {("disks", "/var/lib/libvirt/images/left.qcow2")},
    ),
    (
        ["sh", "-c", "mkdir -p /var/lib/libvirt/qemu/save && : > /var/lib/libvirt/qemu/save/left.save"],
        ["rm", "/var/lib/libvirt/qemu/save/left.save"],
        {("disks", "/var/lib/libvirt/qemu/save/left.save")},
    ),
    (
        listener("/var/lib/libvirt/qemu/left.sock"),
        ["rm", "/var/lib/libvirt/qemu/left.sock"],
        {("sockets", "/var/lib/libvirt/qemu/left.sock")},
    ),
    (
        ["mkdir", "/var/lib/libvirt/qemu/domain-9-left"],
        ["rmdir", "/var/lib/libvirt/qemu/domain-9-left"],
        {("sockets", "/var/lib/libvirt/qemu/domain-9-left")},
    ),
    (
        [
            "sh",
            "-c",
            """mkdir -p /var/lib/libvirt/dnsmasq
            echo '[{"ip-address": "10.61.1.9", "mac-address": "52:54:00:00:00:09", "expiry-time": 1}]' \
            > /var/lib/libvirt/dnsmasq/left.status""",
        ],
        ["rm", "/var/lib/libvirt/dnsmasq/left.status"],
        {
            ("leases", "/var/lib/libvirt/dnsmasq/left.status"),
            ("leases", "/var/lib/libvirt/dnsmasq/left.status: 52:54:00:00:00:09 10.61.1.9"),
        },
    ),
    (
        ["ip", "link", "add", "left0", "type", "bridge"],
        ["ip", "link", "delete", "left0"],
        {("interfaces", "left0")},
    ),
    (
        ["nft", "add", "table", "netdev", "drill_guard_left0"],
        ["nft", "delete", "table", "netdev", "drill_guard_left0"],
        {("firewall", "netdev drill_guard_left0")},
    ),
]
IDS = ["overlay", "disk", "saved state", "socket", "domain folder", "lease", "interface", "firewall table"]


def test_two_pictures_of_a_quiet_host_are_equal(host: LabHost) -> None:
    assert taken(host) == taken(host)


@pytest.mark.parametrize(("plant", "pull", "shown"), PLANTS, ids=IDS)
def test_what_is_left_over_shows_and_is_gone_when_it_is_gone(
    host: LabHost, plant: list[str], pull: list[str], shown: Entries
) -> None:
    host.run(["mkdir", "-p", "/var/lib/drill/runs", "/var/lib/libvirt/dnsmasq"])
    before = taken(host)
    host.run(plant)
    assert taken(host) - before == shown
    host.run(pull)
    assert taken(host) == before


@pytest.fixture
def picture(host: LabHost) -> Callable[[], Entries]:
    """What was added to the host since the test began."""
    before = taken(host)
    return lambda: taken(host) ^ before


def test_a_running_machine_in_a_bubble_shows_in_every_kind_and_leaves_nothing(
    lab: Lab, host: LabHost, picture: Callable[[], Entries]
) -> None:
    hypervisor = hypervisor_of(lab, "ny1")
    hypervisor.make_bubble(BUBBLE, OWNER)
    inside(host, GUARD.format(act="guard"), BUBBLE.bridge)
    machine = prepared(host, name="pic-guest", nics=[{"mac": "52:54:00:99:02:01", "network": BUBBLE.name}])
    hypervisor.define(machine, OWNER)
    hypervisor.start(machine.name, OWNER)
    kinds = {"disks", "domains", "firewall", "interfaces", "leases", "networks", "sockets"}
    assert {kind for kind, _ in picture()} == kinds
    hypervisor.remove(machine.name, OWNER)
    hypervisor.remove_bubble(BUBBLE.name, OWNER)
    inside(host, GUARD.format(act="unguard"), BUBBLE.bridge)
    (host.folder / "lib/images/pic-guest.vda.qcow2").unlink()
    assert picture() == set()
