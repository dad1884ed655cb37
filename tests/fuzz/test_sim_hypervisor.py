"""The simulated libvirt does what the real one was seen doing (docs/ground.md)."""

from __future__ import annotations

import pytest

from drill.errors import Failed, Unreachable, Usage
from drill.model.extent import Extent, ExtentKind
from drill.sim.clock import SimClock
from drill.sim.disk import SimDisk
from drill.sim.hypervisor import SimBackups, SimHypervisor
from drill.sim.process import Process

SIZE = (1 << 20) + 512


class Host:
    """A domain with two disks, and an agent beside it."""

    def __init__(self, cluster: int = 65536) -> None:
        disks = {target: SimDisk(SIZE, granule=65536, cluster=cluster) for target in ("vda", "vdb")}
        self.sim = SimHypervisor("vm", disks, SimClock())
        self.agent = SimBackups(self.sim, Process(lambda kind: None))

    def checkpoint(self, name: str, base: str | None = None) -> None:
        self.agent.begin("vm", name, dict.fromkeys(self.sim.disks, base)).end()

    def dirty(self, name: str, base: str, target: str = "vda") -> list[Extent]:
        job = self.agent.begin("vm", name, dict.fromkeys(self.sim.disks, base))
        try:
            return list(job.extents(target))
        finally:
            job.end()


@pytest.fixture
def host() -> Host:
    return Host()


def data(offset: int, length: int) -> Extent:
    return Extent(offset, length, ExtentKind.DATA)


def test_a_killed_qemu_takes_the_bitmaps_of_its_session_and_libvirt_still_lists_the_checkpoints(host: Host) -> None:
    host.checkpoint("one")
    host.sim.kill()
    host.sim.start()
    assert host.agent.checkpoints("vm", "") == ("one",)
    assert host.agent.provable("vm", "one") == {}
    with pytest.raises(Failed, match="missing or broken bitmap"):
        host.checkpoint("two", "one")
    assert host.agent.checkpoints("vm", "") == ("one",)


def test_a_bitmap_that_was_stored_once_comes_back_in_use_after_a_kill_and_its_name_is_taken(host: Host) -> None:
    host.checkpoint("one")
    host.sim.stop()
    host.sim.start()
    assert set(host.agent.provable("vm", "one")) == {"vda", "vdb"}
    host.sim.kill()
    host.sim.start()
    assert host.agent.provable("vm", "one") == {}
    with pytest.raises(Failed, match="Bitmap already exists"):
        host.checkpoint("one")
    host.agent.drop("vm", "one")
    host.checkpoint("one")


def test_a_clean_end_keeps_what_is_dirty(host: Host) -> None:
    host.checkpoint("one")
    host.sim.disks["vda"].write(0, b"x" * 512)
    host.sim.stop()
    host.sim.start()
    assert host.dirty("two", "one") == [data(0, 65536)]


def test_a_checkpoint_stays_whatever_becomes_of_its_job(host: Host) -> None:
    host.checkpoint("one")
    job = host.agent.begin("vm", "two", {"vda": "one", "vdb": "one"})
    job.end()
    job.end()
    assert host.agent.checkpoints("vm", "") == ("one", "two")
    assert host.dirty("three", "two") == []


def test_a_left_over_job_blocks_the_next_until_it_is_aborted(host: Host) -> None:
    host.agent.begin("vm", "one", {"vda": None})
    before = host.sim.clock.monotonic()
    with pytest.raises(Failed, match="state change lock"):
        host.checkpoint("two")
    assert host.sim.clock.monotonic() - before >= 30
    assert (host.agent.abort_leftover("vm"), host.agent.abort_leftover("vm")) == (True, False)
    host.checkpoint("two")


def test_full_and_incremental_are_chosen_per_disk_in_one_job(host: Host) -> None:
    host.checkpoint("one")
    host.sim.disks["vda"].write(70_000, b"x")
    job = host.agent.begin("vm", "two", {"vda": "one", "vdb": None})
    assert list(job.extents("vda")) == [data(65536, 65536)]
    assert list(job.extents("vdb")) == [Extent(0, SIZE, ExtentKind.ZERO)]


def test_dropping_a_middle_checkpoint_loses_no_bit(host: Host) -> None:
    host.checkpoint("one")
    host.sim.disks["vda"].write(0, b"x" * 512)
    host.checkpoint("two")
    host.sim.disks["vda"].write(200_000, b"x" * 512)
    host.agent.drop("vm", "two")
    host.agent.drop("vm", "two")
    assert host.dirty("three", "one") == [data(0, 65536), data(196608, 65536)]


def test_a_domain_that_is_defined_anew_lost_its_checkpoints_and_not_its_bitmaps(host: Host) -> None:
    host.checkpoint("one")
    host.sim.define_anew()
    assert host.agent.checkpoints("vm", "") == ()
    with pytest.raises(Failed, match="Bitmap already exists"):
        host.checkpoint("one")


def test_a_job_reads_its_instant_whatever_the_guest_writes(host: Host) -> None:
    host.sim.disks["vda"].write(0, b"before")
    job = host.agent.begin("vm", "one", {"vda": None})
    host.sim.disks["vda"].write(0, b"after!")
    assert bytes(job.read("vda", 0, 6)) == b"before"
    host.sim.kill()
    with pytest.raises(Failed, match="export is gone"):
        job.read("vda", 0, 6)


def test_zeroed_clusters_are_dirty_and_zero_and_the_rest_of_them_is_data(host: Host) -> None:
    host.sim.disks["vda"].write(0, b"x" * 262_144)
    host.checkpoint("one")
    host.sim.disks["vda"].zero(65536 - 512, 65536 + 1024)
    found = host.dirty("two", "one")
    assert found == [data(0, 65536), Extent(65536, 65536, ExtentKind.ZERO), data(131072, 65536)]


def test_the_last_bytes_of_an_odd_disk_are_exported(host: Host) -> None:
    host.checkpoint("one")
    host.sim.disks["vda"].write(SIZE - 512, b"x" * 512)
    assert host.dirty("two", "one") == [data(1 << 20, 512)]


def test_a_disk_does_not_grow_while_a_job_is_open_and_what_is_new_is_not_dirty(host: Host) -> None:
    host.checkpoint("one")
    job = host.agent.begin("vm", "two", {"vda": "one"})
    assert not host.sim.resize("vda", SIZE + 65536)
    job.end()
    assert host.sim.resize("vda", SIZE + 65536)
    assert host.dirty("three", "one") == []


def test_instants_differ_however_the_clock_stands(host: Host) -> None:
    host.sim.clock.frozen = True
    jobs = []
    for name in ("one", "two"):
        jobs.append(host.agent.begin("vm", name, {"vda": None}))
        jobs[-1].end()
    assert jobs[0].begun_us != jobs[1].begun_us
    assert all(job.begun_us <= job.taken_us for job in jobs)


def test_libvirt_that_is_down_answers_nothing_and_a_domain_that_is_off_has_no_job(host: Host) -> None:
    host.sim.stop()
    for ask in (
        lambda: host.checkpoint("x"),
        lambda: host.agent.provable("vm", "x"),
        lambda: host.agent.drop("vm", "x"),
    ):
        with pytest.raises(Failed):
            ask()
    host.sim.reachable = False
    with pytest.raises(Unreachable):
        host.agent.machine("vm")
    host.sim.reachable = True
    with pytest.raises(Usage):
        host.agent.machine("another")
