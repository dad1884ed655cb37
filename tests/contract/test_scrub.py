"""The scrub over simulated files and a real folder: a bit that flips anywhere is found, and what is whole is served."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import replace
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
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, Pair

DISKS = {"vda": 24 * 4096, "vdb": (16 << 20) + 4608}
NOTHING: frozenset[str] = frozenset()


def aged(files: SimFiles | LocalFiles | MemoryFiles) -> Pair:
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


def scrub(pair: Pair) -> None:
    """All that is due, in slices."""
    while pair.link.store.scrub(ITEM):
        pass


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
    """I10, R17: in bases, overlays, digests and the manifest; leaves are mended by what they are the digests of."""
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
            is_mended = path.endswith(".leaves") and files.read(path) == clean[path]
            if not found and not report.owed and not is_mended:
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


def test_a_head_whose_tables_rotted_comes_whole_from_the_source() -> None:
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


def test_an_item_that_has_a_policy_and_no_points_yet_has_nothing_to_prove() -> None:
    store = Pair(dict(DISKS)).link.store
    store.retain("another", RetentionPolicy(window_seconds=0, additional=0))
    assert not store.scrub("another")
    assert store.scrub("another", every=True)
    assert store.report("another").proven == ()


def test_the_report_names_the_disks_that_rotted_of_each_point() -> None:
    pair = simulated()
    files, disk = pair.target_files, pair.points()[-1].disk("vda")
    assert isinstance(files, SimFiles)
    assert disk is not None
    files.flip(f"{ITEM}/{disk.file}", 3 * 65536, 0)
    found = damaged(pair)
    report = pair.link.store.report(ITEM)
    assert {one.point.sequence: one.damaged for one in report.points if one.damaged} == found == {8: ("vda",)}
    assert {one.damaged for one in report.points} == {(), ("vda",)}


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
    scrub(pair)
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
    scrub(pair)
    assert [one.damaged for one in pair.points() if one.damaged] == []
    assert pair.link.store.report(ITEM).owed == ()


def test_an_unknown_item_needs_no_scrub() -> None:
    assert not simulated().link.store.scrub("nobody", every=True)


def test_a_pass_whose_result_cannot_be_written_begins_anew() -> None:
    files = MemoryFiles()
    pair = aged(files)

    def fail(operation: str, path: str) -> None:
        if operation == "replace" and path.endswith("scrub.json"):
            raise OSError(errno.EIO, "planted", path)

    files.fail = fail
    with pytest.raises(OSError, match="planted"):
        scrub(pair)
    assert pair.link.store.report(ITEM).proven == ()
    files.fail = lambda operation, path: None
    scrub(pair)
    assert dict(pair.link.store.report(ITEM).proven).keys() == DISKS.keys()


def test_what_rotted_of_the_scrubs_own_record_counts_as_never_proven() -> None:
    pair = simulated()
    scrub(pair)
    files = pair.target_files
    assert isinstance(files, SimFiles)
    files.flip(f"{ITEM}/scrub.json", 60, 1)
    assert pair.link.store.report(ITEM).proven == ()
    assert pair.link.store.scrub(ITEM), "all are due again"
    scrub(pair)
    assert dict(pair.link.store.report(ITEM).proven).keys() == DISKS.keys()


def small() -> Pair:
    """Three points of two disks, one of which ends in its second chunk of digests."""
    pair = Pair({"vda": 8 * 4096, "vdb": (16 << 20) + 4096})
    for number in range(3):
        for target in ("vda", "vdb"):
            pair.host.write(target, number * 4096, b"%d" % number * 3000)
        pair.cycle()
        pair.clock.sleep(1200)
    return pair


def without_vdb(pair: Pair) -> None:
    """A disk is removed from the machine."""
    del pair.host.disks["vdb"]
    pair.cycle()


def folded(pair: Pair) -> None:
    """All points but the newest go, and what they had is folded into the base."""
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
    while pair.link.store.tend(ITEM, NOTHING):
        pass


def anew(pair: Pair) -> None:
    """Full copies follow, and nothing that was there when the pass began is there any more."""
    pair.source.save(replace(pair.source.journal, owed_whole=("vda", "vdb")))
    pair.cycle()
    folded(pair)


@pytest.mark.parametrize("event", [without_vdb, folded, anew], ids=lambda event: str(event.__name__))
def test_whatever_befalls_the_item_between_two_slices_is_no_damage(event: Callable[[Pair], None]) -> None:
    slices = 0
    while True:
        pair = small()
        if not all(pair.link.store.scrub(ITEM) for _ in range(slices)):
            break
        event(pair)
        scrub(pair)
        assert [one.point.sequence for one in pair.points() if one.damaged] == [], slices
        assert pair.link.store.report(ITEM).owed == (), slices
        slices += 1
    assert slices > 10


def test_a_disk_is_proven_in_the_points_that_have_it() -> None:
    pair = small()
    pair.host.disks["vdc"] = bytearray(b"new" * 4096)
    pair.cycle()
    without_vdb(pair)
    pair.host.write("vdc", 0, b"x" * 100)
    pair.cycle()
    assert damaged(pair) == {}
    last = pair.points()[-1].disk("vdc")
    assert last is not None
    pair.target_files.write(f"{ITEM}/{last.file}", 0, b"no overlay")
    assert damaged(pair) == {6: ("vdc",)}


def test_points_from_before_a_disk_grew_are_proven_by_the_size_they_had() -> None:
    """The disk ends in its first chunk, then in its second; the first chunk of another is nothing but a hole."""
    pair = Pair({"vda": (16 << 20) - 4096, "vdb": (16 << 20) + 4096})
    pair.host.write("vda", (16 << 20) - 8192, b"x" * 4096)
    pair.host.write("vdb", 16 << 20, b"y" * 4096)
    pair.cycle()
    pair.host.disks["vda"].extend(bytes(8192))
    pair.host.write("vda", 16 << 20, b"z" * 4096)
    pair.cycle()
    assert damaged(pair) == {}
    first = pair.points()[0].disk("vda")
    assert first is not None
    pair.target_files.write(f"{ITEM}/{first.file}", (16 << 20) - 8192, b"w")
    assert damaged(pair) == {1: ("vda",), 2: ("vda",)}


def test_a_base_that_is_gone_damages_every_point_above_it_and_no_other_disk() -> None:
    pair = small()
    first = pair.points()[0].disk("vda")
    assert first is not None
    pair.target_files.remove(f"{ITEM}/{first.file}")
    assert damaged(pair) == {1: ("vda",), 2: ("vda",), 3: ("vda",)}
    assert pair.link.store.report(ITEM).owed == ("vda",)
