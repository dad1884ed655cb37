"""The micro guest as drills rely on it: its addresses, services, ledger, agent, console and power."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_interface
from typing import Any, TypeVar

import pytest

from drill.errors import DrillError
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import site, topology, workload
from drill.lab.standing import Lab
from drill.lab.workload import Workload
from drill.model import ledger
from drill.model.machine import PowerState
from drill.ports import Guest

pytestmark = pytest.mark.lab
BOOT_SECONDS = 60.0
"""All machines at once on two busy cores; one alone takes 2.7 s."""
LEDGER_BYTES_MAX = 1 << 20
T = TypeVar("T")


def soon(look: Callable[[], T], good: Callable[[T], bool] = bool, seconds: float = BOOT_SECONDS) -> T:
    """What `look` gives once it is good; the last it gave when time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen = look()
            if good(seen) or time.monotonic() > deadline:
                return seen
        except DrillError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop on a host of its own lab; `app` churns, and `mute` is a machine without an agent."""

    workload: Workload
    hypervisor: LibvirtHypervisor

    def guest(self, name: str) -> Guest:
        return self.hypervisor.guest(name)

    def ask(self, inside: str, *arguments: str) -> str:
        return self.guest(inside).run(["/drill/ask", *arguments], 10).output.decode()

    def health(self) -> str:
        return self.ask("web", "127.0.0.1", "80", "GET /health HTTP/1.0")

    def ledger(self, name: str, folder: str = "data") -> ledger.LedgerRead:
        return ledger.parse(self.guest(name).read_file(f"/{folder}/ledger", LEDGER_BYTES_MAX))

    def domain(self, name: str, act: Callable[[Any], T]) -> T:
        return self.hypervisor.connection.call("test", lambda handle: act(handle.lookupByName(name)))


def with_extras(shop: Workload) -> Workload:
    mute = shop.machine("db").model_copy(update={"name": "mute", "role": None, "agent": False, "nics": ()})
    churning = shop.machine("app").model_copy(update={"churn_seconds": 1})
    machines = tuple(churning if one.name == "app" else one for one in shop.machines)
    return shop.model_copy(update={"machines": (*machines, mute)})


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    name = f"guests-{os.getpid()}"
    try:
        lab: Lab = site.up(topology.load(name=name))
        page = with_extras(workload.load("shop"))
        workload.create(page, lab.host("ny1"), lab.accelerator.name)
        hypervisor = LibvirtHypervisor(workload.uri_outside(lab.host("ny1")), accelerator=lab.accelerator.name)
        built = Shop(page, hypervisor)
        for machine in page.machines:
            if machine.agent:
                soon(lambda name=machine.name: built.guest(name).ping(1), lambda _: True)  # type: ignore[misc]
        yield built
        hypervisor.connection.close()
    finally:
        site.down(name)


def addresses(shop: Shop, name: str) -> dict[str, list[str]]:
    """IPv4 addresses by MAC."""
    return {
        nic.mac: [one for one in nic.addresses if ip_interface(one).version == 4] for nic in shop.guest(name).nics()
    }


@pytest.mark.parametrize("name", ["db", "app", "web"])
def test_every_static_card_has_the_address_that_its_page_names(shop: Shop, name: str) -> None:
    wanted = {nic.mac: [str(one) for one in nic.addresses] for nic in shop.workload.machine(name).nics if not nic.dhcp}
    seen = addresses(shop, name)
    assert {mac: seen[mac] for mac in wanted} == wanted


def test_a_dhcp_card_gets_an_address_of_the_pool(shop: Shop) -> None:
    [card] = [nic for nic in shop.workload.machine("web").nics if nic.dhcp]
    [given] = soon(lambda: addresses(shop, "web")[card.mac], seconds=10)
    assert IPv4Address("10.61.1.100") <= IPv4Interface(given).ip <= IPv4Address("10.61.1.150")


def test_web_is_healthy_while_app_and_db_answer(shop: Shop) -> None:
    assert "web web app app db db " in soon(shop.health, lambda said: "200 OK" in said, seconds=10)


def test_web_is_not_healthy_when_db_is_out_of_reach(shop: Shop) -> None:
    shop.guest("db").run(["/bin/ip", "link", "set", "eth0", "down"], 5)
    try:
        assert "503 Service Unavailable" in shop.health()
        assert shop.ask("app", "127.0.0.1", "8080") == ""
    finally:
        shop.guest("db").run(["/drill/network"], 5)
    assert "200 OK" in soon(shop.health, lambda said: "200 OK" in said, seconds=10)


def test_the_ledger_grows_whole_on_both_disks(shop: Shop) -> None:
    second, first = shop.ledger("db", "data2"), shop.ledger("db")
    later = soon(lambda: shop.ledger("db", "data2"), lambda read: read.count >= first.count + 3, seconds=10)
    assert later.count >= first.count + 3
    assert first.count >= second.count
    assert [read.damage for read in (first, second, later)] == [None] * 3


def test_nothing_is_written_while_the_filesystems_are_frozen(shop: Shop) -> None:
    assert shop.domain("db", lambda domain: domain.fsFreeze()) == 2
    try:
        frozen = [shop.ask("app", "10.61.2.11", "5432") for _ in range(2)]
        soon(lambda: shop.ask("app", "10.61.2.11", "5432"), lambda said: said not in frozen, seconds=1)
        assert shop.ask("app", "10.61.2.11", "5432") == frozen[1]
    finally:
        assert shop.domain("db", lambda domain: domain.fsThaw()) == 2
    thawed = soon(lambda: shop.ask("app", "10.61.2.11", "5432"), lambda said: said not in frozen, seconds=10)
    assert thawed not in frozen


def test_the_ledger_goes_on_after_a_power_cut_without_loss_or_repetition(shop: Shop) -> None:
    before = shop.ledger("db")
    shop.domain("db", lambda domain: domain.destroy())
    shop.domain("db", lambda domain: domain.create())
    after = soon(lambda: shop.ledger("db"), lambda read: read.count > before.count + 2)
    assert after.whole
    assert after.count > before.count + 2
    assert shop.ledger("db", "data2").whole


def test_a_churning_guest_keeps_writing_and_discarding(shop: Shop) -> None:
    def rounds() -> int:
        return int(shop.guest("app").read_file("/run/churn", 64) or b"0")

    begun = soon(rounds, seconds=20)
    assert soon(rounds, lambda seen: seen > begun, seconds=20) > begun


def test_a_guest_without_an_agent_beats_on_its_console(shop: Shop) -> None:
    with pytest.raises(DrillError):
        shop.guest("mute").ping(1)
    said = soon(lambda: shop.hypervisor.console("mute", 2.5), lambda text: text.count(b"drill-heartbeat") >= 2)
    assert said.count(b"drill-heartbeat") >= 2


def drawn_bytes(png: bytes) -> int:
    """How many bytes of a picture are not zero; a black one has at most one per line, its filter."""
    packed, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        packed += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    return sum(1 for byte in zlib.decompress(packed) if byte)


def test_the_screen_shows_text(shop: Shop) -> None:
    lines_of_text_mode = 400
    assert drawn_bytes(shop.hypervisor.screenshot("web")) > 2 * lines_of_text_mode


def test_a_panic_ends_the_machine(shop: Shop) -> None:
    shop.guest("app").run(["/bin/sh", "-c", "{ sleep 0.3; echo c > /proc/sysrq-trigger; } > /dev/null 2>&1 &"], 5)
    ended = soon(lambda: shop.hypervisor.power("app"), lambda state: state is not PowerState.RUNNING, 20)
    assert ended in {PowerState.OFF, PowerState.CRASHED}


def test_the_power_button_ends_a_guest_that_has_no_agent_to_ask(shop: Shop) -> None:
    power_button = 1
    """VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN"""
    shop.domain("mute", lambda domain: domain.shutdownFlags(power_button))
    assert soon(lambda: shop.hypervisor.power("mute"), lambda state: state is PowerState.OFF, 20) is PowerState.OFF
