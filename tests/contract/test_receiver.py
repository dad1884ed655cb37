"""The receiver's answers over real files and QEMU's tools."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from drill.errors import BadInput, Refused, Usage
from drill.host.files import LocalFiles
from drill.hypervisor.images import QemuImages
from drill.model.retention import RetentionPolicy
from drill.replication import pages
from drill.replication.receiver import Receiver
from tests.contract.pair import ITEM, Pair, content

DISKS = {"vda": 1 << 20, "vdb": 65536 + 512}


@dataclass
class Desk:
    pair: Pair
    receiver: Receiver
    runs: Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    pair = Pair(dict(DISKS), LocalFiles(tmp_path / "store"))
    for letter in (b"a", b"b", b"c"):
        pair.host.write("vda", 4096, letter * 9000)
        pair.host.write("vdb", 65536, letter * 512)
        pair.cycle()
    return Desk(pair, Receiver(pair.link.store, QemuImages(), LocalFiles(tmp_path / "runs")), tmp_path / "runs")


def test_points_and_head_are_what_was_sealed(desk: Desk) -> None:
    assert [point.sequence for point in desk.receiver.points(ITEM)] == [1, 2, 3]
    assert desk.receiver.head(ITEM) == desk.receiver.points(ITEM)[-1]
    assert (desk.receiver.points("nobody"), desk.receiver.head("nobody")) == ((), None)


def test_the_witness_of_every_point_is_the_hash_of_its_disks(desk: Desk) -> None:
    for point in desk.receiver.points(ITEM):
        disks = desk.pair.host.instants[point.begun_us]
        expected = {target: hashlib.sha256(data).hexdigest() for target, data in disks.items()}
        assert dict(desk.receiver.witness(ITEM, point.epoch, point.sequence)) == expected


def test_an_overlay_can_be_written_and_its_point_stays(desk: Desk) -> None:
    point = desk.receiver.points(ITEM)[1]
    disks = {disk.target: disk.path for disk in desk.receiver.overlays("run-1", ITEM, point.epoch, 2)}
    before = desk.receiver.witness(ITEM, point.epoch, 2)
    assert content(Path(disks["vda"]), "qcow2") == desk.pair.host.instants[point.begun_us]["vda"]
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", disks["vda"]], check=True, capture_output=True)
    assert desk.receiver.witness(ITEM, point.epoch, 2) == before
    assert desk.pair.wrong_points(desk.runs) == []


def test_the_same_overlays_again_are_the_same_with_what_was_written(desk: Desk) -> None:
    point = desk.receiver.points(ITEM)[0]
    disks = desk.receiver.overlays("run-1", ITEM, point.epoch, 1)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 4k", disks[0].path], check=True, capture_output=True)
    assert desk.receiver.overlays("run-1", ITEM, point.epoch, 1) == disks
    assert content(Path(disks[0].path), "qcow2")[:4096] == b"\x01" * 4096


def test_a_run_has_disks_of_one_point_of_an_item(desk: Desk) -> None:
    epoch = desk.receiver.points(ITEM)[0].epoch
    desk.receiver.overlays("run-1", ITEM, epoch, 1)
    with pytest.raises(Refused):
        desk.receiver.overlays("run-1", ITEM, epoch, 2)
    desk.receiver.overlays("run-2", ITEM, epoch, 2)


def test_an_overlay_that_was_begun_and_not_finished_is_made_anew(desk: Desk) -> None:
    epoch = desk.receiver.points(ITEM)[0].epoch
    (desk.runs / "run-1").mkdir(parents=True)
    (desk.runs / "run-1" / f"{ITEM}.vda.new").write_text("half")
    disks = desk.receiver.overlays("run-1", ITEM, epoch, 1)
    assert sorted(path.name for path in (desk.runs / "run-1").iterdir()) == [f"{ITEM}.vda.qcow2", f"{ITEM}.vdb.qcow2"]
    assert len(disks) == 2


def test_a_replica_under_test_is_not_forgotten(desk: Desk) -> None:
    epoch = desk.receiver.points(ITEM)[0].epoch
    desk.receiver.overlays("run-1", ITEM, epoch, 1)
    with pytest.raises(Refused, match="run-1"):
        desk.receiver.forget(ITEM)
    desk.receiver.remove_overlays("run-1")
    desk.receiver.remove_overlays("run-1")
    assert list(desk.runs.iterdir()) == []
    desk.receiver.forget(ITEM)
    desk.receiver.forget(ITEM)
    assert desk.receiver.points(ITEM) == ()


def test_cycles_go_on_while_a_point_is_under_test(desk: Desk) -> None:
    point = desk.receiver.points(ITEM)[-1]
    before = desk.receiver.overlays("run-1", ITEM, point.epoch, point.sequence)
    desk.pair.host.write("vda", 0, b"z" * 9000)
    desk.pair.cycle()
    assert content(Path(before[0].path), "qcow2") == desk.pair.host.instants[point.begun_us]["vda"]


@pytest.mark.parametrize("name", ["..", "a/b", "", ".x", "a b", "x" * 80])
def test_a_name_that_is_no_generated_id_is_refused(desk: Desk, name: str) -> None:
    epoch = desk.receiver.points(ITEM)[0].epoch
    with pytest.raises(BadInput):
        desk.receiver.overlays(name, ITEM, epoch, 1)
    with pytest.raises(BadInput):
        desk.receiver.remove_overlays(name)
    with pytest.raises(BadInput):
        desk.receiver.witness(name, epoch, 1)


def test_a_point_that_is_not_there_is_a_wrong_request(desk: Desk) -> None:
    with pytest.raises(Usage):
        desk.receiver.overlays("run-1", ITEM, "nothere1", 1)
    assert not (desk.runs / "run-1").exists()


def test_a_point_under_test_is_kept_until_its_run_is_removed(desk: Desk) -> None:
    """What a run uses is read from the headers of its disks: nothing else has to remember it."""
    desk.receiver.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
    epoch = desk.receiver.points(ITEM)[0].epoch
    desk.receiver.overlays("run-1", ITEM, epoch, 2)
    (desk.runs / "run-1" / f"{ITEM}.vdz.qcow2").write_bytes(b"")
    (desk.runs / "run-1" / "another-item.vda.qcow2").write_bytes(b"")
    (desk.runs / "run-1" / "notes.txt").write_text("not a disk")
    while desk.receiver.tend(ITEM):
        pass
    assert [point.sequence for point in desk.receiver.points(ITEM)] == [2, 3]
    desk.receiver.remove_overlays("run-1")
    while desk.receiver.tend(ITEM):
        pass
    assert [point.sequence for point in desk.receiver.points(ITEM)] == [3]
    assert desk.pair.wrong_points(desk.runs) == []


def test_a_disk_of_a_run_that_stands_elsewhere_keeps_no_point(desk: Desk) -> None:
    desk.receiver.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
    (desk.runs / "run-1").mkdir(parents=True)
    path, base = desk.runs / "run-1" / f"{ITEM}.vda.qcow2", desk.runs / "run-1" / "base.raw"
    base.write_bytes(bytes(65536))
    for backing in ([], ["-b", str(base), "-F", "raw"]):
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path), "65536"]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        while desk.receiver.tend(ITEM):
            pass
    assert [point.sequence for point in desk.receiver.points(ITEM)] == [3]


def test_a_run_of_another_item_does_not_keep_a_replica(desk: Desk) -> None:
    (desk.runs / "run-1").mkdir(parents=True)
    (desk.runs / "run-1" / "another-item.vda.qcow2").write_bytes(b"")
    desk.receiver.forget(ITEM)
    assert desk.receiver.items() == ()


def test_a_lock_and_what_the_scrub_proved_are_in_the_report(desk: Desk) -> None:
    epoch = desk.receiver.points(ITEM)[0].epoch
    desk.receiver.lock(ITEM, epoch, 2, "before the upgrade")
    while desk.receiver.scrub(ITEM):
        pass
    report = desk.receiver.kept(ITEM)
    assert [one.lock.reason if one.lock else "" for one in report.points] == ["", "before the upgrade", ""]
    assert [target for target, _ in report.proven] == ["vda", "vdb"]
    desk.receiver.unlock(ITEM, epoch, 2)
    assert [one.lock for one in desk.receiver.kept(ITEM).points] == [None] * 3
    assert desk.receiver.items() == (ITEM,)


def test_a_source_is_told_the_digests_of_the_newest_point(desk: Desk) -> None:
    head = desk.receiver.head(ITEM)
    assert head is not None
    table = bytes.fromhex(desk.receiver.leaves(ITEM, head.epoch, head.sequence, "vdb", (0,)))
    disk = desk.pair.host.instants[head.begun_us]["vdb"]
    assert table.rstrip(b"\0") == pages.leaves(memoryview(disk)).rstrip(b"\0")
    assert desk.receiver.chunks(ITEM, head.epoch, head.sequence, "vdb", 0, 1) == pages.chunk_digest(table).hex()


def proof(desk: Desk, sequence: int) -> dict[str, str]:
    slices = desk.receiver.proof(ITEM, desk.receiver.points(ITEM)[0].epoch, sequence)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return dict(end.value)


def test_a_proof_that_finds_rot_says_at_once_who_else_has_it_and_what_must_come_again(desk: Desk) -> None:
    head = desk.receiver.points(ITEM)[-1]
    sealed = {disk.target: disk.digest for disk in head.disks}
    assert proof(desk, 3) == sealed
    while desk.receiver.scrub(ITEM):
        pass
    base = desk.pair.points()[0].disk("vda")
    assert base is not None
    desk.pair.target_files.write(f"{ITEM}/{base.file}", 500_000, b"!")
    found = proof(desk, 3)
    assert (found["vda"] != sealed["vda"], found["vdb"]) == (True, sealed["vdb"])
    assert [one.damaged for one in desk.pair.points()] == [("vda",)] * 3
    assert desk.receiver.rotten(ITEM, head.epoch, 3, "vda") == ((500_000 // 4096, 1),)
    assert desk.receiver.rotten(ITEM, head.epoch, 3, "vdb") == ()
