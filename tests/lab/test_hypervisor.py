"""libvirt behind the ports `Hypervisor` and `Guest`, on a real daemon with real guests."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from drill.errors import BadInput, Failed, Refused, Unknown, Unreachable, Usage
from drill.hypervisor import domain_xml
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import members, site, topology
from drill.lab.standing import Lab, LabHost
from drill.model.machine import Machine, OwnerTag, PowerState
from drill.model.network import BubbleNetwork, DhcpReservation, Subnet
from drill.ports import Guest
from tests.lab.micro_machines import OWNER, await_agent, await_done, hypervisor_of, prepared

pytestmark = pytest.mark.lab
ANOTHER = OwnerTag(vault="test", run="r2")
SUBNETS = (
    Subnet(name="spare", cidr="10.61.9.0/24", gateway="10.61.9.1"),
    Subnet(name="web", cidr="10.61.1.0/24", gateway="10.61.1.1", dhcp=True),
)
BUBBLE = BubbleNetwork(
    name="hv-bubble",
    bridge="hv-bubble",
    copies="VMNetwork1",
    subnets=SUBNETS,
    reservations=(DhcpReservation(mac="52:54:00:99:01:01", address="10.61.1.77"),),
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One host of a lab with two guests of ours: `web` has a DHCP card and one on nothing; `mute` has no agent."""

    lab: Lab
    host: LabHost
    hypervisor: LibvirtHypervisor
    web: Machine


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    name = f"hv-{os.getpid()}"
    try:
        lab = site.up(topology.load("lab-two-site", name=name))
        host, hypervisor = lab.host("ny1"), hypervisor_of(lab, "ny1")
        hypervisor.make_bubble(BUBBLE, OWNER)
        card = {"mac": "52:54:00:99:01:01", "network": BUBBLE.name, "dhcp": True}
        loose = {"mac": "52:54:00:99:01:02", "network": "x", "addresses": ["10.61.9.2/24"]}
        web = prepared(host, name="hv-web", nics=[card, loose])
        web = replace(web, nics=(web.nics[0], replace(web.nics[1], network=None)))
        mute = prepared(host, name="hv-mute", agent=False)
        for machine in (web, mute):
            hypervisor.define(machine, OWNER)
            hypervisor.start(machine.name, OWNER)
        await_agent(hypervisor, web.name)
        yield Bench(lab, host, hypervisor, web)
    finally:
        site.down(name)


def test_the_daemon_tells_its_versions(bench: Bench) -> None:
    facts = bench.hypervisor.facts()
    assert (facts.libvirt.count("."), facts.qemu.count("."), facts.accelerator) == (2, 2, bench.lab.accelerator.name)


def test_a_machine_reads_back_as_it_was_defined(bench: Bench) -> None:
    assert bench.hypervisor.machine("hv-web") == bench.web


def test_defining_starting_and_bubbling_again_changes_nothing(bench: Bench) -> None:
    before = bench.hypervisor.domains()
    bench.hypervisor.define(bench.web, OWNER)
    bench.hypervisor.start("hv-web", OWNER)
    bench.hypervisor.make_bubble(BUBBLE, OWNER)
    assert bench.hypervisor.domains() == before
    assert BUBBLE.name in bench.hypervisor.networks()


def test_another_run_of_the_same_vault_may_touch_nothing(bench: Bench) -> None:
    before = bench.hypervisor.domains()
    host = bench.hypervisor
    acts: list[Callable[[], None]] = [
        lambda: host.define(bench.web, ANOTHER),
        lambda: host.start("hv-web", ANOTHER),
        lambda: host.remove("hv-web", ANOTHER),
        lambda: host.make_bubble(BUBBLE, ANOTHER),
        lambda: host.remove_bubble(BUBBLE.name, ANOTHER),
    ]
    for act in acts:
        with pytest.raises(Refused, match=r"hv-(web|bubble) belongs to vault test, run r1"):
            act()
    assert host.domains() == before


def test_dhcp_gives_the_reserved_address_and_a_card_on_nothing_gets_nowhere(bench: Bench) -> None:
    def observed() -> list[tuple[str, bool]]:
        nics = bench.hypervisor.guest("hv-web").nics()
        return [(nic.mac, "10.61.1.77/24" in nic.addresses) for nic in nics]

    def settled() -> None:
        assert observed() == [("52:54:00:99:01:01", True), ("52:54:00:99:01:02", False)]

    await_done(settled, "the leased address", 20)


def test_frames_sent_into_a_card_on_nothing_reach_no_interface(bench: Bench) -> None:
    guest = bench.hypervisor.guest("hv-web")
    before = taps(bench, "hv-web")
    for card, target in (("eth0", "10.61.1.200"), ("eth1", "10.61.9.1")):
        guest.run(["/bin/sh", "-c", f"ip link set {card} up; ping -c 1 -W 1 -I {card} {target}; exit 0"], 10)
    after = taps(bench, "hv-web")
    grown = [now - then for then, now in zip(before, after, strict=True)]
    assert grown[0] > 0, "control: the connected card's frames arrive at its tap"
    assert after[1] == 0


def taps(bench: Bench, name: str) -> list[int]:
    """Frames that arrived from the guest at each of a domain's taps, in the order of its cards."""
    listing = bench.host.run(["virsh", "-q", "-c", "qemu:///system", "domiflist", name]).stdout
    names = [line.split()[0] for line in listing.splitlines() if line.strip()]
    return [int(bench.host.run(["cat", f"/sys/class/net/{tap}/statistics/rx_packets"]).stdout) for tap in names]


def test_a_program_in_the_guest_gives_its_code_and_both_outputs(bench: Bench) -> None:
    done = bench.hypervisor.guest("hv-web").run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (done.exit_code, done.output, done.errors) == (3, b"out\n", b"err\n")


def test_output_of_a_program_is_cut_at_one_mebibyte(bench: Bench) -> None:
    done = bench.hypervisor.guest("hv-web").run(["/bin/sh", "-c", "head -c 3000000 /dev/zero"], 30)
    assert (done.exit_code, len(done.output)) == (0, 1024 * 1024)


def test_a_program_that_does_not_end_is_unknown_at_its_deadline(bench: Bench) -> None:
    began = time.monotonic()
    with pytest.raises(Unknown, match="sleep in guest hv-web"):
        bench.hypervisor.guest("hv-web").run(["sleep", "30"], 0.5)
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_has_failed(bench: Bench) -> None:
    with pytest.raises(Failed, match="guest-exec"):
        bench.hypervisor.guest("hv-web").run(["/no/such/program"], 5)


def test_files_are_read_whole_or_not_at_all(bench: Bench) -> None:
    guest = bench.hypervisor.guest("hv-web")
    guest.run(["/bin/sh", "-c", "head -c 200000 /dev/zero > /run/big; : > /run/empty"], 10)
    assert guest.read_file("/run/big", 200_000) == bytes(200_000)
    assert guest.read_file("/run/empty", 0) == b""
    with pytest.raises(BadInput, match="over 199999 bytes"):
        guest.read_file("/run/big", 199_999)
    with pytest.raises(Failed, match="No such file"):
        guest.read_file("/run/absent", 10)


def test_the_guests_clock_is_this_machines_clock(bench: Bench) -> None:
    assert abs(bench.hypervisor.guest("hv-web").time_us() - time.time_ns() // 1000) < 5_000_000


def test_a_guest_without_agent_is_unreachable_and_heard_on_its_console(bench: Bench) -> None:
    with pytest.raises(Unreachable, match="guest agent does not answer at hv-mute"):
        bench.hypervisor.guest("hv-mute").ping(1)
    await_done(lambda: heartbeat(bench.hypervisor.console("hv-mute", 3)), "the heartbeat")


def heartbeat(heard: bytes) -> None:
    assert b"drill-heartbeat " in heard


def test_a_second_reader_of_the_console_displaces_the_first(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bench.hypervisor.console, "hv-web", 90)

        def displaced() -> None:  # the first may open the console later than the second
            heartbeat(bench.hypervisor.console("hv-web", 2))
            assert first.done()

        await_done(displaced, "the second reader", 60)
        with pytest.raises(Failed, match="console of hv-web"):
            first.result(timeout=1)


def test_the_picture_of_the_console_is_a_png(bench: Bench) -> None:
    picture = bench.hypervisor.screenshot("hv-web")
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert width >= 640
    assert height >= 400


def test_a_machine_that_is_off_has_no_picture_and_no_agent(bench: Bench) -> None:
    off = prepared(bench.host, name="hv-off")
    bench.hypervisor.define(off, OWNER)
    assert bench.hypervisor.power("hv-off") is PowerState.OFF
    with pytest.raises(Failed, match="hv-off"):
        bench.hypervisor.screenshot("hv-off")
    with pytest.raises(Unreachable):
        bench.hypervisor.guest("hv-off").ping(1)
    bench.hypervisor.remove("hv-off", OWNER)


def test_an_agent_that_hangs_is_unreachable_for_questions_and_unknown_for_deeds(bench: Bench) -> None:
    machine = prepared(bench.host, name="hv-hang")
    bench.hypervisor.define(machine, OWNER)
    bench.hypervisor.start("hv-hang", OWNER)
    await_agent(bench.hypervisor, "hv-hang")
    guest = bench.hypervisor.guest("hv-hang")
    guest.run(["/bin/sh", "-c", "(sleep 1; killall -STOP qemu-ga) > /dev/null 2>&1 &"], 5)
    began = time.monotonic()
    await_done(lambda: is_unreachable(guest), "the agent to hang", 20)
    with pytest.raises((Unknown, Unreachable)):
        guest.run(["/bin/true"], 2)
    assert time.monotonic() - began < 20
    bench.hypervisor.remove("hv-hang", OWNER)


def is_unreachable(guest: Guest) -> None:
    try:
        guest.ping(1)
    except Unreachable:
        return
    raise AssertionError("it answers")


def test_a_removed_machine_leaves_no_name_checkpoint_or_saved_state(bench: Bench) -> None:
    machine = prepared(bench.host, name="hv-gone")
    bench.hypervisor.define(machine, OWNER)
    bench.hypervisor.start("hv-gone", OWNER)
    checkpoint = "<domaincheckpoint><name>c1</name></domaincheckpoint>"
    bench.hypervisor.connection.call(
        "make a checkpoint", lambda handle: handle.lookupByName("hv-gone").checkpointCreateXML(checkpoint), changes=True
    )
    bench.hypervisor.remove("hv-gone", OWNER)
    bench.hypervisor.remove("hv-gone", OWNER)
    with pytest.raises(Usage):
        bench.hypervisor.power("hv-gone")


def test_a_machine_with_a_saved_state_starts_afresh_and_is_removed_with_it(bench: Bench) -> None:
    machine = prepared(bench.host, name="hv-saved")
    bench.hypervisor.define(machine, OWNER)
    bench.hypervisor.start("hv-saved", OWNER)
    bench.hypervisor.connection.call("save", lambda handle: handle.lookupByName("hv-saved").managedSave(), changes=True)
    bench.hypervisor.start("hv-saved", OWNER)
    assert bench.hypervisor.power("hv-saved") is PowerState.RUNNING
    bench.hypervisor.connection.call("save", lambda handle: handle.lookupByName("hv-saved").managedSave(), changes=True)
    bench.hypervisor.remove("hv-saved", OWNER)
    assert not (bench.host.folder / "lib/qemu/save/hv-saved.save").exists()


def test_machines_are_started_and_removed_by_several_threads_at_once(bench: Bench) -> None:
    machines = [prepared(bench.host, name=f"hv-many{number}") for number in range(3)]

    def live(machine: Machine) -> PowerState:
        bench.hypervisor.define(machine, OWNER)
        bench.hypervisor.start(machine.name, OWNER)
        state = bench.hypervisor.power(machine.name)
        bench.hypervisor.remove(machine.name, OWNER)
        return state

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(live, machines)) == [PowerState.RUNNING] * 3
    assert not [record for record in bench.hypervisor.domains() if record.name.startswith("hv-many")]


def test_a_primary_without_a_tag_is_never_touched(bench: Bench) -> None:
    primary = prepared(bench.host, name="hv-prim")
    text = domain_xml.render(primary, None, bench.lab.accelerator.name)
    bench.hypervisor.connection.call("define a primary", lambda handle: handle.defineXML(text), changes=True)
    for act in (bench.hypervisor.remove, bench.hypervisor.start):
        with pytest.raises(Refused, match="domain hv-prim has no ownership tag"):
            act("hv-prim", OWNER)
    with pytest.raises(Refused, match="domain hv-prim"):
        bench.hypervisor.define(replace(primary, name="hv-thief"), OWNER)
    assert bench.hypervisor.machine("hv-prim") == primary


def test_a_bubble_on_a_bridge_that_is_taken_fails_and_can_be_removed(bench: Bench) -> None:
    taken = replace(BUBBLE, name="hv-second", reservations=())
    with pytest.raises(Failed, match="hv-second"):
        bench.hypervisor.make_bubble(taken, OWNER)
    bench.hypervisor.remove_bubble("hv-second", OWNER)
    assert "hv-second" not in bench.hypervisor.networks()


FROM_THE_CONTROLLER = """
import sys
from drill.hypervisor.host import LibvirtHypervisor
host = LibvirtHypervisor(sys.argv[1], accelerator="tcg")
assert b"drill-heartbeat" in host.console("hv-web", 3)
assert host.screenshot("hv-web").startswith(b"\\x89PNG")
assert host.guest("hv-web").run(["/bin/true"], 5).exit_code == 0
"""


def test_all_of_it_works_over_tcp_from_the_controllers_namespaces(bench: Bench) -> None:
    bench.lab.controller.run([sys.executable, "-c", FROM_THE_CONTROLLER, bench.host.uri], timeout_seconds=60)


def test_a_daemon_that_was_killed_is_unreachable_and_found_again_when_it_is_back(bench: Bench) -> None:
    assert bench.hypervisor.power("hv-web") is PowerState.RUNNING
    members.end(bench.host.pids("libvirtd"))
    with pytest.raises(Unreachable, match="libvirt"):
        bench.hypervisor.power("hv-web")
    site.up(bench.lab.topology)
    assert bench.hypervisor.power("hv-web") is PowerState.RUNNING
    await_agent(bench.hypervisor, "hv-web")


def test_a_daemon_killed_during_a_deed_leaves_its_outcome_unknown(bench: Bench) -> None:
    def kill_then_ask(handle: object) -> None:
        members.end(bench.host.pids("libvirtd"))
        handle.lookupByName("hv-web").suspend()  # type: ignore[attr-defined]

    with pytest.raises(Unknown, match="suspend hv-web"):
        bench.hypervisor.connection.call("suspend hv-web", kill_then_ask, changes=True)
    site.up(bench.lab.topology)
