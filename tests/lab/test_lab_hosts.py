"""What a lab's host is: a daemon of its own, warm, apart, and kept by its namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill.errors import Failed, Usage
from drill.lab import daemon, members, site, topology
from drill.lab.standing import Lab, LabHost, open_lab
from drill.lab.status import status

pytestmark = pytest.mark.lab
ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SECONDS = 5.0
GUEST = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/var/lib/libvirt/boot/micro/vmlinuz</kernel>
  </os>
  <devices>
    <interface type='network'>
      <source network='VMNetwork1'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The default topology, for this file alone; built with what a socket-activating system would hand down."""
    name = f"hosts-{os.getpid()}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LISTEN_FDS", "1")
            patch.setenv("LISTEN_PID", str(os.getpid()))
            patch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
            yield site.up(topology.load(name=name))
    finally:
        site.down(name)


def virsh(host: LabHost, *arguments: str, stdin: str = "") -> str:
    """What virsh says inside a host."""
    return host.run(["virsh", "-q", "-c", "qemu:///system", *arguments], stdin=stdin).stdout


@pytest.fixture
def guest(lab: Lab) -> Iterator[str]:
    """The name of a transient guest running on ny1."""
    name = "bystander"
    virsh(lab.host("ny1"), "create", "/dev/stdin", stdin=GUEST.format(name=name))
    try:
        yield name
    finally:
        with contextlib.suppress(Failed):  # libvirt may say "not found" of a guest that just ended under its hand
            virsh(lab.host("ny1"), "destroy", name)
        assert virsh(lab.host("ny1"), "list", "--all", "--name").split() == []


def test_the_default_lab_stands_within_its_time() -> None:
    name = f"quick-{os.getpid()}"
    try:
        began = time.monotonic()
        site.up(topology.load(name=name))
        assert time.monotonic() - began < DEFAULT_SECONDS
    finally:
        site.down(name)


def test_a_second_up_starts_nothing(lab: Lab) -> None:
    said: list[str] = []
    before = {member.pid for member in members.of_lab(lab.name) if member.role}
    site.up(lab.topology, said.append)
    assert (said, {member.pid for member in members.of_lab(lab.name) if member.role}) == ([], before)


def test_a_restarted_daemon_has_its_guests_back(lab: Lab, guest: str) -> None:
    ny1 = lab.host("ny1")
    members.end(ny1.pids(daemon.ROLE))
    assert status(lab.name)[0].hosts[0].libvirtd is None
    site.up(lab.topology)
    assert virsh(ny1, "domstate", guest).strip() == "running"
    assert status(lab.name)[0].hosts[0].domains == (guest,)


def test_daemons_do_not_see_each_other(lab: Lab, guest: str) -> None:
    assert virsh(lab.host("ny1"), "list", "--name").split() == [guest]
    assert virsh(lab.host("chi1"), "list", "--name").split() == []
    assert {host.name: virsh(host, "hostname").strip() for host in lab.hosts} == {"ny1": "ny1", "chi1": "chi1"}


def test_networks_are_those_of_the_topology_active_and_for_ever(lab: Lab) -> None:
    seen = {
        host.name: set(virsh(host, "net-list", "--persistent", "--autostart", "--name").split()) for host in lab.hosts
    }
    assert seen == {
        "ny1": {"VMNetwork1", "VMNetwork2"},
        "chi1": {"VMNetwork1-Chicago", "VMNetwork2-Chicago"},
    }


def test_a_daemon_knows_qemu_before_it_is_asked(lab: Lab) -> None:
    """Unless it is given what an earlier daemon learned, the first question costs it 4 s."""
    for host in lab.hosts:
        began = time.monotonic()
        virsh(host, "domcapabilities")
        assert time.monotonic() - began < 1.0


def test_a_daemon_inherits_nothing_of_the_session_that_started_it(lab: Lab) -> None:
    environment = Path(f"/proc/{lab.host('ny1').pids(daemon.ROLE)[0]}/environ").read_text()
    assert [name for name in ("LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET") if f"{name}=" in environment] == []


def test_a_guest_is_offered_the_accelerator_that_boots_one(lab: Lab) -> None:
    offered = virsh(lab.host("ny1"), "capabilities")
    assert ("<domain type='kvm'/>" in offered) == (lab.accelerator.name == "kvm")


def test_the_receiver_finds_no_socket_of_libvirt_and_the_source_does(lab: Lab) -> None:
    (source,), (receiver,) = (lab.host("chi1").pids(role) for role in ("agent-source", "agent-receiver"))
    assert (Path(f"/proc/{source}/root/run/libvirt") / "libvirt-sock").is_socket()
    assert list(Path(f"/proc/{receiver}/root/run/libvirt").iterdir()) == []


def test_hosts_and_controller_know_every_host_by_name(lab: Lab) -> None:
    for place in (lab.controller, *(host.place for host in lab.hosts)):
        assert place.run(["getent", "ahostsv4", "chi1"]).stdout.split()[0] == "10.77.2.11"


def test_the_address_of_a_gateway_stays_while_guests_come_and_go(lab: Lab, request: pytest.FixtureRequest) -> None:
    ny1, bridge = lab.host("ny1"), lab.topology.sites[0].networks[0].bridge

    def hardware_address() -> str:
        return str(json.loads(ny1.run(["ip", "-j", "link", "show", bridge]).stdout)[0]["address"])

    before = hardware_address()
    request.getfixturevalue("guest")
    assert hardware_address() == before


def test_kernels_to_boot_are_there_and_read_only(lab: Lab) -> None:
    ny1 = lab.host("ny1")
    assert ny1.run(["ls", "/var/lib/libvirt/boot/micro"]).stdout.split() == ["initrd.img", "manifest.json", "vmlinuz"]
    with pytest.raises(Failed, match="Read-only"):
        ny1.run(["touch", "/var/lib/libvirt/boot/micro/vmlinuz"])


def test_an_open_lab_is_the_one_that_was_built(lab: Lab) -> None:
    assert open_lab(lab.name) == lab


def test_a_host_that_is_not_there_is_named_with_those_that_are(lab: Lab) -> None:
    with pytest.raises(Usage, match="has no host ny9"):
        lab.host("ny9")


def test_status_is_one_document(lab: Lab) -> None:
    argv = [sys.executable, "-m", "drill", "lab", "status", lab.name, "--json"]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    (one,) = json.loads(said.stdout)["labs"]
    assert (one["name"], one["state"], [host["uri"] for host in one["hosts"]]) == (
        lab.name,
        "whole",
        ["qemu+tcp://10.77.1.11/system", "qemu+tcp://10.77.2.11/system"],
    )


def test_exec_has_the_exit_code_of_its_command(lab: Lab) -> None:
    argv = [sys.executable, "-m", "drill", "lab", "exec", "--lab", lab.name, "controller", "--", "sh", "-c", "exit 7"]
    assert subprocess.run(argv, cwd=ROOT, timeout=20, check=False).returncode == 7
