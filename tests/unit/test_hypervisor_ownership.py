"""Nothing that drill did not make is changed or removed: shown on libvirt's own test driver, which needs no host."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from drill.errors import Refused, Unreachable, Usage
from drill.hypervisor.connection import Connection, connect
from drill.hypervisor.host import LibvirtHypervisor
from drill.model.machine import Machine, OwnerTag, PowerState
from drill.model.network import BubbleNetwork

URI = "test:///default"
OWNER = OwnerTag(vault="v1", run="r1")
UUID_OF_TEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"
"""The test driver has one running domain `test` and one network `default`."""
MACHINE = Machine(name="test", uuid=UUID_OF_TEST, memory_mib=64, vcpus=1, disks=(), nics=())
BUBBLE = BubbleNetwork(name="default", bridge="dr-1", copies="VM", subnets=(), reservations=())


@pytest.fixture
def host() -> LibvirtHypervisor:
    return LibvirtHypervisor(URI, accelerator="tcg")


def test_a_host_lists_what_it_has_and_whose_it_is(host: LibvirtHypervisor) -> None:
    assert [(d.name, d.uuid, d.state, d.owner) for d in host.domains()] == [
        ("test", UUID_OF_TEST, PowerState.RUNNING, None)
    ]
    assert host.networks() == ("default",)


@pytest.mark.parametrize(
    ("act", "named"),
    [
        pytest.param(lambda host: host.define(MACHINE, OWNER), "domain test", id="define over it"),
        pytest.param(
            lambda host: host.define(replace(MACHINE, name="mine"), OWNER), "domain test", id="define with its UUID"
        ),
        pytest.param(lambda host: host.start("test", OWNER), "domain test", id="start"),
        pytest.param(lambda host: host.remove("test", OWNER), "domain test", id="remove"),
        pytest.param(lambda host: host.make_bubble(BUBBLE, OWNER), "network default", id="make a bubble over it"),
        pytest.param(lambda host: host.remove_bubble("default", OWNER), "network default", id="remove a bubble"),
    ],
)
def test_what_is_not_ours_is_refused_by_name_and_left_alone(
    host: LibvirtHypervisor, act: Callable[[LibvirtHypervisor], None], named: str
) -> None:
    before = (host.domains(), host.networks())
    with pytest.raises(Refused, match=named):
        act(host)
    assert (host.domains(), host.networks()) == before


def test_what_is_gone_is_removed_already(host: LibvirtHypervisor) -> None:
    host.remove("absent", OWNER)
    host.remove_bubble("absent", OWNER)


@pytest.mark.parametrize("ask", ["machine", "power"])
def test_a_domain_that_does_not_exist_is_a_mistake_of_the_asker(host: LibvirtHypervisor, ask: str) -> None:
    with pytest.raises(Usage, match="absent"):
        getattr(host, ask)("absent")


def test_a_host_that_does_not_answer_is_unreachable_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"qemu+tcp://127.0.0.1:{silent.getsockname()[1]}/system"
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            connect(uri, connect_seconds=0.2)


@pytest.mark.parametrize("uri", ["qemu+tcp://127.0.0.1:1/system", "qemu+unix:///system?socket=/nonexistent/socket"])
def test_a_host_without_a_daemon_is_unreachable(uri: str) -> None:
    with pytest.raises(Unreachable, match="libvirt does not answer"):
        connect(uri)


def test_a_closed_connection_opens_again_by_itself() -> None:
    connection = Connection(URI)
    assert connection.call("list", lambda handle: len(handle.listAllDomains())) == 1
    connection.close()
    assert connection.call("list", lambda handle: len(handle.listAllDomains())) == 1
