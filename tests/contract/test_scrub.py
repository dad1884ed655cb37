"""The scrub over simulated files and a real folder: a bit that flips anywhere is found, and what is whole is served."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from drill.errors import Damaged, DrillError, ResyncNeeded
from drill.host.files import LocalFiles
from drill.hypervisor.images import QemuImages
from drill.model.retention import RetentionPolicy
from drill.replication.receiver import Receiver
from drill.replication.scrub import AGAIN_US
from drill.sim.files import SimFiles
from drill.sim.process import Process
from tests.contract.pair import ITEM, Pair

DISKS = {"vda": 24 * 4096, "vdb": (16 << 20) + 4608}
NOTHING: frozenset[str] = frozenset()


def aged(files: SimFiles | LocalFiles) -> Pair:
    """Points, some folded into others and into the base, over a disk of more than one chunk and a partial page."""
    pair = Pair(DISKS, files)
    rng = random.Random(3)
    for number in range(8):
        pair.host.write("vda", number % 6 * 4096, rng.randbytes(5000))
        pair.host.write("vdb", (16 << 20) - 12288 + number * 1024, rng.randbytes(9000))
        pair.host.write("vdb", DISKS["vdb"] - 512, rng.randbytes(512))
        if number % 3 == 2:
            pair.host.write("vdb", 0, bytes(131072) if number % 2 else rng.randbytes(131072))
        pair.cycle()
        pair.clock.sleep(600)
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=2400, additional=0))
    while pair.link.store.tend(ITEM, NOTHING):
        pass
    return pair


def simulated() -> Pair:
    return aged(SimFiles(Process(lambda kind: None), random.Random(1)))


def damaged(pair: Pair) -> dict[int, tuple[str, ...]]:
    pair.link.store.scrub(ITEM, every=True)
    return {one.point.sequence: one.damaged for one in pair.points() if one.damaged}


def test_what_nobody_spoiled_is_proven_also_after_folding(tmp_path: Path) -> None:
    for pair in (simulated(), aged(LocalFiles(tmp_path / "store"))):
        assert damaged(pair) == {}
        assert dict(pair.link.store.report(ITEM).proven).keys() == DISKS.keys()
        assert pair.link.store.report(ITEM).owed == ()


def rot(seed: int, pair: Pair, clean: dict[str, bytes]) -> str:
    """One bit of one byte of the store flips; the file."""
    files, rng = pair.target_files, random.Random(seed)
    assert isinstance(files, SimFiles)
    path = rng.choice(sorted(clean))
    at = rng.choice((rng.randrange(len(clean[path])), rng.randrange(min(200, len(clean[path])))))
    files.flip(path, at, rng.randrange(8))
    return path


def contents(pair: Pair) -> dict[str, bytes]:
    files = pair.target_files
    assert isinstance(files, SimFiles)
    return {path: files.read(path) for path in files.paths() if "scrub.json" not in path}


@pytest.mark.parametrize("count", [pytest.param(50, id="50"), pytest.param(1000, id="1000", marks=pytest.mark.long)])
def test_one_flipped_bit_anywhere_in_a_store_is_found(count: int) -> None:
    """I10, R17: in bases, overlays, digests and the manifest."""
    pair = simulated()
    pair.link.store.scrub(ITEM, every=True)
    clean, files, kinds, missed = contents(pair), pair.target_files, set(), []
    assert isinstance(files, SimFiles)
    copy = files.copied()
    for seed in range(count):
        path = rot(seed, pair, clean)
        kinds.add(path.rpartition(".")[2])
        if path.endswith(".json"):
            pair.restart_receiver()
            with pytest.raises(DrillError):
                pair.points()
        else:
            found = damaged(pair)
            report = pair.link.store.report(ITEM)
            if not found and not report.owed:
                missed.append((seed, path))
        files.put_back(copy)
        pair.restart_receiver()
    assert missed == []
    assert kinds >= {"raw", "qcow2", "leaves", "chunks", "json"}


def test_a_manifest_that_rots_while_it_is_open_is_written_anew() -> None:
    pair = simulated()
    files, path = pair.target_files, f"{ITEM}/manifest.json"
    assert isinstance(files, SimFiles)
    files.flip(path, 300, 2)
    assert damaged(pair) == {}
    pair.restart_receiver()
    assert len(pair.points()) == 4


def test_points_beside_the_damage_are_served_and_those_with_it_are_not(tmp_path: Path) -> None:
    pair = aged(LocalFiles(tmp_path / "store"))
    receiver = Receiver(pair.link.store, QemuImages((str(tmp_path),)), LocalFiles(tmp_path / "runs"))
    third = pair.points()[2]
    disk = third.disk("vda")
    assert disk is not None
    path = tmp_path / "store" / ITEM / disk.file
    data = bytearray(path.read_bytes())
    data[-65536 * 4] ^= 1
    path.write_bytes(data)
    found = damaged(pair)
    assert sorted(found) == [7, 8]
    with pytest.raises(Damaged, match=r"good ones: .*/5, .*/6$"):
        receiver.overlays("run-1", ITEM, third.point.epoch, 7)
    assert receiver.overlays("run-1", ITEM, third.point.epoch, 5)
    receiver.remove_overlays("run-1")
    data[-65536 * 4] ^= 1
    path.write_bytes(data)
    assert damaged(pair) == {}
    assert receiver.overlays("run-1", ITEM, third.point.epoch, 7)


def test_a_head_that_rotted_comes_whole_from_the_source() -> None:
    pair = simulated()
    files, disk = pair.target_files, pair.points()[-1].disk("vda")
    assert isinstance(files, SimFiles)
    assert disk is not None
    files.flip(f"{ITEM}/{disk.file}", 3 * 65536, 0)
    assert 8 in damaged(pair)
    assert pair.link.store.report(ITEM).owed == ("vda",)
    pair.host.write("vdb", 0, b"more")
    while True:
        try:
            pair.cycle()
            break
        except ResyncNeeded as error:
            assert error.disk == "vda"  # noqa: PT017 - the only disk that may be asked for
    assert [one.full for one in pair.link.logs[-1][0].disks] == [True, False]
    assert pair.link.store.report(ITEM).owed == ()
    assert 9 not in damaged(pair)


def test_the_last_good_point_outlives_damaged_newer_ones() -> None:
    pair = simulated()
    files, disk = pair.target_files, pair.points()[2].disk("vda")
    assert isinstance(files, SimFiles)
    assert disk is not None
    files.flip(f"{ITEM}/{disk.file}", 3 * 65536, 0)
    assert sorted(damaged(pair)) == [7, 8]
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
    for _ in range(50):
        try:
            if not pair.link.store.tend(ITEM, NOTHING):
                break
        except Damaged:
            continue
    assert [one.point.sequence for one in pair.points()] == [6, 8]


def test_every_disk_is_proven_within_seven_days_in_slices(tmp_path: Path) -> None:
    pair = aged(LocalFiles(tmp_path / "store"))
    slices = 0
    while pair.link.store.scrub(ITEM):
        slices += 1
    assert slices > 6
    assert {target for target, _ in pair.link.store.report(ITEM).proven} == DISKS.keys()
    pair.clock.sleep(AGAIN_US / 1e6 - 60)
    assert not pair.link.store.scrub(ITEM)
    pair.clock.sleep(120)
    assert pair.link.store.scrub(ITEM)
    pair.restart_receiver()
    assert pair.link.store.scrub(ITEM), "a pass that was cut short begins anew"
    pair.clock.ticks = 0
    while pair.link.store.scrub(ITEM):
        pass
    assert dict(pair.link.store.report(ITEM).proven)["vda"] < 1000 * 1_000_000, "a clock that went back makes all due"


def test_cycles_and_folds_in_the_middle_of_a_pass_are_no_damage() -> None:
    pair = simulated()
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=1200, additional=0))
    rng = random.Random(9)
    for number in range(12):
        pair.host.write("vda", number % 20 * 4096, rng.randbytes(4096))
        pair.cycle()
        pair.clock.sleep(400)
        for _ in range(3):
            pair.link.store.scrub(ITEM)
            pair.link.store.tend(ITEM, NOTHING)
    while pair.link.store.scrub(ITEM):
        pass
    assert [one.damaged for one in pair.points() if one.damaged] == []
    assert pair.link.store.report(ITEM).owed == ()


def test_an_unknown_item_needs_no_scrub() -> None:
    assert not simulated().link.store.scrub("nobody", every=True)
