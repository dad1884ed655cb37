"""R7, R9, R11, R12, R13: what agents depend on: link, receiver's disk, source's bitmaps and images, guest's agent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drill.errors import DrillError, Failed
from drill.model.point import Point
from tests.faults.bench_lab import NOISE, bench_lab, in_the_middle_of_a_cycle, noise, sealed, sealed_soon, slow_link
from tests.faults.lying_agent import LIES, QUICK, lying
from tests.lab.micro_machines import OWNER, await_done
from tests.lab.replicated import SIZES, Replicated, network_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
REPLICAS = "/var/lib/drill/replica"
FILTER = """table inet faults {{
  chain arriving {{ type filter hook input priority -10; iifname "link0" {rule}; }}
  chain leaving {{ type filter hook output priority -10; oifname "link0" {rule}; }}
}}
"""


@pytest.fixture(scope="module")
def standing() -> Iterator[Replicated]:
    with bench_lab("under", agent=True) as found:
        yield found


@pytest.fixture
def vm(standing: Replicated) -> Replicated:
    """The machine, running and protected, whatever the test before it left."""
    standing.restore()
    return standing


@contextmanager
def filtered(vm: Replicated, rule: str) -> Iterator[None]:
    """A rule of nftables for all that crosses the link, at the receiver's host."""
    vm.far.run(["nft", "-f", "-"], stdin=FILTER.format(rule=rule))
    try:
        yield
    finally:
        vm.far.run(["nft", "delete", "table", "inet", "faults"])


UNTRACKED, CLOSED = "its changes were not tracked", "its image was closed since"


def full_disks(vm: Replicated, point: Point) -> set[str]:
    """The disks that a point brought whole, as its files tell."""
    tag = f"{point.epoch}-{point.sequence}"
    return {path.name.split(".")[1] for path in vm.replica("").glob(f"base-{tag}.*")}


@contextmanager
def powered_off(vm: Replicated) -> Iterator[dict[str, str]]:
    """The machine is off while the block lasts, which gets the paths of its disks; then it runs again."""
    name = vm.machine.name
    vm.hypervisor.connection.call("destroy", lambda handle: handle.lookupByName(name).destroy())
    yield {disk.target: disk.path for disk in vm.machine.disks}
    vm.hypervisor.start(name, OWNER)


# ------------------------------------------------------------------------------------------------------------ the link


def test_a_link_cut_for_five_seconds_does_not_begin_a_log_again(vm: Replicated) -> None:
    before = vm.points()[-1]
    with slow_link(vm):
        cycle = in_the_middle_of_a_cycle(vm)
        vm.lab.cut_link()
        time.sleep(5)  # what is claimed
        vm.lab.heal_link()
        cycle.join()
    assert not vm.last_error()
    point = vm.points()[-1]
    assert (point.epoch, point.sequence, point.full) == (before.epoch, before.sequence + 1, False)
    assert not vm.differing(point)


@pytest.mark.long
def test_a_link_cut_in_the_middle_of_a_log_is_said_and_mended_by_the_next_cycle(vm: Replicated) -> None:
    before = vm.points()[-1]
    with slow_link(vm):
        cycle = in_the_middle_of_a_cycle(vm)
        vm.lab.cut_link()
        begun = time.monotonic()
        cycle.join()
        assert time.monotonic() - begun < 90
        assert vm.last_error()
        assert vm.running()
    await_done(vm.points, "the receiver to answer again")
    point = sealed_soon(vm, "the receiver to let go of the old log")
    assert (point.epoch, point.full) == (before.epoch, False)


def test_a_link_that_rejects_fails_the_cycle_at_once_and_the_next_goes_on(vm: Replicated) -> None:
    before = sealed(vm)
    vm.io("vdb", "write -P 51 7M 300k")
    begun = time.monotonic()
    with filtered(vm, "meta l4proto tcp reject with tcp reset"), pytest.raises(DrillError):
        vm.cycle()
    assert time.monotonic() - begun < 30
    point = sealed_soon(vm, "a cycle over the mended link")
    assert (point.epoch, point.full) == (before.epoch, False)


def test_a_lossy_link_carries_exact_points(vm: Replicated) -> None:
    before = sealed(vm)
    with filtered(vm, "numgen random mod 100 < 4 drop"):
        for number in range(3):
            vm.io("vdb", f"write -P {60 + number} {number * 5}M 1M")
            vm.io("vdc", f"discard {number * 3}M 1M")
            point = sealed_soon(vm, "a cycle over a lossy link")
    assert point.epoch == before.epoch


@pytest.mark.long
@pytest.mark.parametrize("rule", ["drop", "numgen random mod 100 < 30 drop"])
def test_a_link_that_drops_fails_the_cycle_and_the_next_goes_on(vm: Replicated, rule: str) -> None:
    before = sealed(vm)
    with slow_link(vm):
        cycle = in_the_middle_of_a_cycle(vm)
        with filtered(vm, rule):
            time.sleep(5)
            vm.lab.heal_link()
            if rule == "drop":
                cycle.join()
                assert cycle.outcome is not None
        cycle.join()
    point = sealed_soon(vm, "a cycle over the mended link", 120)
    assert (point.epoch, point.full) == (before.epoch, False)


# ------------------------------------------------------------------------------------------------- the receiver's disk


@contextmanager
def small_store(vm: Replicated, room_mib: int) -> Iterator[int]:
    """The receiver's store lies on a file system of its own, with little room beside what is there; yields the MiB
    that are there."""
    small = f"{REPLICAS}.small"
    vm.kill_agent(vm.far, "agent-receiver")
    used = int(vm.far.run(["du", "-sm", REPLICAS]).stdout.split()[0])
    vm.far.run(["mkdir", "-m", "700", small])
    vm.far.run(["mount", "-n", "-t", "tmpfs", "-o", f"size={used + room_mib}m,mode=700", "small", small])
    vm.far.run(["cp", "-a", "--sparse=always", f"{REPLICAS}/.", small])
    vm.far.run(["mount", "-n", "--bind", small, REPLICAS])
    vm.mend()
    try:
        yield used
    finally:
        vm.kill_agent(vm.far, "agent-receiver")
        vm.far.run(["umount", "-n", REPLICAS, small])
        vm.far.run(["rmdir", small])
        vm.mend()


def test_a_full_disk_of_the_receiver_keeps_its_points_and_goes_on_when_there_is_room(vm: Replicated) -> None:
    with small_store(vm, 30) as used, noise(vm, 20 << 20):
        sealed_soon(vm, "a cycle into the small store")
        failed: DrillError | None = None
        for number in range(4):
            vm.io("vdb", f"write -s {NOISE} {number}M 20M")
            try:
                sealed(vm)
            except DrillError as error:
                failed = error
                break
        assert failed is not None, "the disk did not fill"
        assert "space" in str(failed).lower()
        kept = vm.points()
        assert vm.differing(kept[-1]) == []
        with network_of(vm.near):
            assert vm.receiver.overlays("full-1", vm.item, kept[-1].epoch, kept[-1].sequence)
            vm.receiver.remove_overlays("full-1")
        with pytest.raises(DrillError):
            vm.cycle()
        assert vm.points() == kept
        assert vm.running()
        (pid,) = vm.far.pids("agent-receiver")
        mounted = ["nsenter", "-t", str(pid), "-m", "mount", "-n", "-o", f"remount,size={used + 160}m", REPLICAS]
        vm.far.place.run(mounted)
        point = sealed_soon(vm, "a cycle once there was room")
        assert (point.epoch, point.sequence, point.full) == (kept[-1].epoch, kept[-1].sequence + 1, False)
        assert all(vm.differing(one) == [] for one in kept if all(seal.witness for seal in one.disks))
    assert sealed_soon(vm, "a cycle into the old store, which lost points").epoch


# ------------------------------------------------------------------------------------------------- the source's images


def test_a_bitmap_lost_on_one_disk_has_that_disk_compared_and_leaves_no_litter(vm: Replicated) -> None:
    before = sealed(vm)
    (mark,) = [name for name in vm.bitmaps("vdb") if name.startswith("drill-")]
    vm.remove_bitmap("vdb", mark)
    vm.io("vdb", "write -P 21 3M 64k")
    vm.io("vdc", "write -P 22 3M 64k")
    point = sealed(vm)
    assert (point.epoch, point.sequence) == (before.epoch, before.sequence + 1)
    assert (full_disks(vm, point), vm.reasons()) == (set(), {"vdb": UNTRACKED})
    for target in SIZES:
        assert len([name for name in vm.bitmaps(target) if name.startswith("drill-")]) == 1
    sealed(vm)
    assert vm.reasons() == {}


def test_a_disk_edited_while_off_by_a_tool_that_tracks_goes_on_incrementally(vm: Replicated) -> None:
    sealed(vm)
    with powered_off(vm) as paths:
        vm.near.run(["qemu-io", "-f", "qcow2", "-c", "write -P 88 5M 64k", paths["vdb"]])
    point = sealed_soon(vm, "a cycle after the edit")
    assert (full_disks(vm, point), vm.reasons()) == (set(), dict.fromkeys(SIZES, CLOSED))


def test_a_disk_converted_while_off_is_read_whole(vm: Replicated) -> None:
    sealed(vm)
    with powered_off(vm) as paths:
        fresh = f"{paths['vdb']}.new"
        vm.near.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", paths["vdb"], fresh])
        vm.near.run(["qemu-io", "-f", "qcow2", "-c", "write -P 89 6M 64k", fresh])
        vm.near.run(["mv", fresh, paths["vdb"]])
    point = sealed_soon(vm, "a cycle after the conversion")
    assert (full_disks(vm, point), vm.reasons()) == (set(), {"vda": CLOSED, "vdb": UNTRACKED, "vdc": CLOSED})


def test_an_old_copy_of_a_disk_put_back_while_off_is_noticed(vm: Replicated) -> None:
    sealed(vm)
    with powered_off(vm) as paths:
        vm.near.run(["cp", paths["vdc"], f"{paths['vdc']}.old"])
    vm.io("vdc", "write -P 91 8M 200k")
    sealed_soon(vm, "a cycle after the copy was made")
    with powered_off(vm) as paths:
        vm.near.run(["mv", f"{paths['vdc']}.old", paths["vdc"]])
    point = sealed_soon(vm, "a cycle after the copy was put back")
    assert (full_disks(vm, point), vm.reasons()) == (set(), {"vda": CLOSED, "vdb": CLOSED, "vdc": UNTRACKED})


def test_bytes_changed_behind_qemu_while_off_are_noticed(vm: Replicated) -> None:
    vm.io("vdb", "write -P 93 14M 64k")
    sealed(vm)
    with powered_off(vm):
        image = vm.near.folder / "lib" / "images" / f"{vm.machine.name}.vdb.qcow2"
        at = image.read_bytes().index(b"\x5d" * 4096)
        with image.open("r+b") as file:
            file.seek(at)
            file.write(b"\x5e" * 512)
    sealed_soon(vm, "a cycle after the edit")
    assert vm.reasons() == dict.fromkeys(SIZES, CLOSED)


def test_an_internal_snapshot_cannot_be_reverted_over_bitmaps_and_without_them_the_disk_is_read_whole(
    vm: Replicated,
) -> None:
    with powered_off(vm) as paths:
        vm.near.run(["qemu-img", "snapshot", "-c", "s1", paths["vdb"]])
    vm.io("vdb", "write -P 92 12M 500k")
    sealed_soon(vm, "a cycle after the snapshot")
    with powered_off(vm) as paths:
        with pytest.raises(Failed, match="Device has active dirty bitmaps"):
            vm.near.run(["qemu-img", "snapshot", "-a", "s1", paths["vdb"]])
        facts = json.loads(vm.near.run(["qemu-img", "info", "--output=json", "-f", "qcow2", paths["vdb"]]).stdout)
        for bitmap in facts["format-specific"]["data"]["bitmaps"]:
            vm.near.run(["qemu-img", "bitmap", "--remove", "-f", "qcow2", paths["vdb"], bitmap["name"]])
        vm.near.run(["qemu-img", "snapshot", "-a", "s1", paths["vdb"]])
        vm.near.run(["qemu-img", "snapshot", "-d", "s1", paths["vdb"]])
    point = sealed_soon(vm, "a cycle after the revert")
    assert (full_disks(vm, point), vm.reasons()) == (set(), {"vda": CLOSED, "vdb": UNTRACKED, "vdc": CLOSED})


def test_an_external_snapshot_and_its_commit_keep_points_exact(vm: Replicated) -> None:
    sealed(vm)
    name = vm.machine.name
    overlay = "/var/lib/libvirt/images/over.qcow2"
    snapshot = f"""<domainsnapshot><disks>
      <disk name='vda' snapshot='no'/><disk name='vdc' snapshot='no'/>
      <disk name='vdb' snapshot='external'><driver type='qcow2'/><source file='{overlay}'/></disk>
    </disks></domainsnapshot>"""
    disk_only, no_metadata = 16, 4
    vm.hypervisor.connection.call(
        "snapshot", lambda handle: handle.lookupByName(name).snapshotCreateXML(snapshot, disk_only | no_metadata)
    )
    vm.io("vdb", "write -P 94 16M 700k")
    sealed_soon(vm, "a cycle over the external snapshot")
    vm.near.run(["virsh", "blockcommit", name, "vdb", "--active", "--pivot", "--wait"], timeout_seconds=120)
    vm.io("vdb", "write -P 95 18M 700k")
    sealed_soon(vm, "a cycle after the commit")
    (vm.near.folder / "lib" / "images" / "over.qcow2").unlink()


# ---------------------------------------------------------------------------------------------------- the guest's agent


def writes(vm: Replicated) -> int:
    """How many writes QEMU has counted on the disk that the guest writes to several times a second."""
    name = vm.machine.name
    return vm.hypervisor.connection.call("count", lambda handle: int(handle.lookupByName(name).blockStats("vda")[2]))


@pytest.mark.parametrize("lie", [lie if lie in QUICK else pytest.param(lie, marks=pytest.mark.long) for lie in LIES])
def test_an_agent_that_lies_hangs_or_dies_never_makes_a_point_application_consistent(vm: Replicated, lie: str) -> None:
    before = sealed(vm)
    with lying(vm, lie):
        with network_of(vm.near):
            point = vm.source.cycle(vm.item, witness=True, application_consistent=True)
            reason = vm.source.status(vm.item).application_reason
        assert not point.application_consistent
        assert reason
        assert vm.differing(point) == []
        assert (point.epoch, point.full) == (before.epoch, False)
        counted = writes(vm)
        await_done(lambda: _must_write_on(vm, counted), "the guest to write on", 12)
        assert vm.running()


def _must_write_on(vm: Replicated, counted: int) -> None:
    assert writes(vm) > counted
