"""Retention and folding over Files in memory, on disk and simulated: points go, the others keep every byte."""

from __future__ import annotations

import errno
import random
from contextlib import suppress
from pathlib import Path

import pytest

from drill.errors import Damaged, DrillError, Failed, Refused, Unknown, Usage
from drill.host.files import LocalFiles
from drill.model.retention import RetentionPolicy
from drill.replication import folding
from drill.replication import store as store_module
from drill.replication.overlay import Overlay
from drill.replication.store import Store
from drill.sim.files import SimFiles
from drill.sim.process import Process
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, OneLane, Pair

DISKS = {"vda": 768 << 10, "vdb": 65536 + 512}
LATEST = RetentionPolicy(window_seconds=0, additional=0)
MINUTE = 60.0
NOTHING: frozenset[str] = frozenset()


@pytest.fixture(params=["memory", "local", "simulated"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param == "simulated":
        return Pair(DISKS, SimFiles(Process(lambda kind: None), random.Random(1)))
    return Pair(DISKS, None if request.param == "memory" else LocalFiles(tmp_path / "store"))


def change(pair: Pair, seed: int) -> None:
    """Writes, zeros and rewrites on both disks, ends of disks and of pages among them."""
    rng = random.Random(seed)
    for _ in range(4):
        target = rng.choice(sorted(pair.host.disks))
        size = len(pair.host.disks[target])
        length = min(rng.choice([512, 4096, 9000, 65536, 200_000]), size)
        offset = rng.choice([0, size - length, rng.randrange(size - length + 1) // 512 * 512])
        pair.host.write(target, offset, rng.choice([bytes(length), rng.randbytes(length), rng.randbytes(length)]))


def live(pair: Pair, cycles: int, minutes: float = 10, *, seed: int = 0) -> None:
    for number in range(cycles):
        change(pair, seed + number)
        pair.cycle()
        pair.clock.sleep(minutes * MINUTE)


def tend(pair: Pair, used: frozenset[str] = NOTHING) -> int:
    """Do all that is due; how many slices it took."""
    slices = 0
    while pair.link.store.tend(ITEM, used):
        slices += 1
        assert slices < 1000, "upkeep finds no end"
    return slices


def sequences(pair: Pair) -> list[int]:
    return [found.point.sequence for found in pair.points()]


def files_of(pair: Pair) -> set[str]:
    return {name for name in pair.target_files.list(ITEM) if name.startswith(("base", "point"))}


def test_points_go_and_every_other_keeps_its_bytes_in_every_slice(pair: Pair, tmp_path: Path) -> None:
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=1800, additional=2))
    for round_ in range(2):
        live(pair, 12, seed=round_ * 12)
        slices = 0
        while pair.link.store.tend(ITEM, NOTHING):
            slices += 1
            assert slices % 4 or pair.wrong_points_by_reader() == []
    assert sequences(pair)[-1] == 24
    assert len(sequences(pair)) < 10
    assert pair.wrong_points(tmp_path / "out") == []
    change(pair, 99)
    pair.cycle()
    assert pair.wrong_points_by_reader() == []


def test_the_oldest_is_folded_into_the_base_and_its_room_comes_back(pair: Pair) -> None:
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 6)
    before = files_of(pair)
    tend(pair)
    assert sequences(pair) == [6]
    assert len(before) == 12
    assert len(files_of(pair)) == 4
    assert pair.wrong_points_by_reader() == []
    sizes = [pair.target_files.size(f"{ITEM}/{name}") or 0 for name in files_of(pair) if name.startswith("point")]
    assert max(sizes) < 5 * 65536


def test_a_base_that_no_point_stands_on_any_more_goes(pair: Pair) -> None:
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 2)
    old = pair.host.disks.pop("vdb")
    live(pair, 1)
    pair.host.disks["vdb"] = bytearray(b"anew".ljust(len(old), b"\0"))
    live(pair, 1)
    assert len([name for name in files_of(pair) if "vdb" in name]) == 3
    tend(pair)
    assert [name.split("-")[2] for name in files_of(pair) if "vdb" in name] == ["4.vdb.raw"]
    assert pair.wrong_points_by_reader() == []


def test_a_disk_that_has_grown_is_folded_into_a_base_that_grows(pair: Pair, tmp_path: Path) -> None:
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 3)
    pair.host.disks["vdb"].extend(bytes(70_144))
    live(pair, 3, seed=20)
    tend(pair)
    assert sequences(pair) == [6]
    assert pair.wrong_points(tmp_path / "out") == []


def test_a_locked_point_stays_with_its_bytes_until_it_is_unlocked(pair: Pair) -> None:
    store = pair.link.store
    store.retain(ITEM, LATEST)
    live(pair, 5)
    epoch = pair.points()[0].point.epoch
    store.lock(ITEM, epoch, 2, "before the upgrade")
    tend(pair)
    assert sequences(pair) == [2, 5]
    pair.restart_receiver()
    live(pair, 2, seed=50)
    tend(pair)
    assert sequences(pair) == [2, 7]
    assert pair.wrong_points_by_reader() == []
    assert [one.lock.reason for one in pair.link.store.report(ITEM).points if one.lock] == ["before the upgrade"]
    pair.link.store.unlock(ITEM, epoch, 2)
    pair.link.store.unlock(ITEM, epoch, 7)
    tend(pair)
    assert sequences(pair) == [7]


def test_locks_are_counted_and_have_a_reason(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCKS_MAX", 3)
    live(pair, 1)
    (only,) = pair.points()
    with pytest.raises(Usage):
        pair.link.store.lock(ITEM, only.point.epoch, 1, "")
    with pytest.raises(Usage):
        pair.link.store.lock(ITEM, only.point.epoch, 9, "no such point")
    live(pair, 3, seed=5)
    for sequence in range(1, 4):
        pair.link.store.lock(ITEM, only.point.epoch, sequence, "kept")
    pair.link.store.lock(ITEM, only.point.epoch, 1, "another reason")
    with pytest.raises(Refused):
        pair.link.store.lock(ITEM, only.point.epoch, 4, "one too many")


def test_what_a_test_failover_uses_is_neither_removed_nor_written_to(pair: Pair) -> None:
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 6)
    used = frozenset(disk.file for disk in pair.points()[3].disks)
    before = {name: pair.target_files.read(f"{ITEM}/{name}") for name in files_of(pair)}
    tend(pair, used)
    assert sequences(pair) == [4, 6]
    for name in files_of(pair):
        if int(name.split("-")[2].split(".")[0]) <= 4:
            assert pair.target_files.read(f"{ITEM}/{name}") == before[name]
    assert pair.wrong_points_by_reader() == []
    tend(pair)
    assert sequences(pair) == [6]
    assert len(files_of(pair)) == 4


def test_a_fold_is_given_up_for_a_test_that_begins_meanwhile(pair: Pair) -> None:
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 4)
    used = frozenset(disk.file for disk in pair.points()[-1].disks)
    while not [name for name in pair.target_files.list(ITEM) if name.endswith(".fold")]:
        assert pair.link.store.tend(ITEM, NOTHING)
    tend(pair, used)
    assert not [name for name in pair.target_files.list(ITEM) if name.endswith(".fold")]
    assert pair.wrong_points_by_reader() == []


def test_cycles_go_on_in_the_middle_of_a_fold(pair: Pair) -> None:
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=600, additional=1))
    for number in range(24):
        live(pair, 1, minutes=7, seed=number)
        pair.link.store.tend(ITEM, NOTHING)
        if number % 9 == 8:
            pair.restart_receiver()
        assert number % 3 or pair.wrong_points_by_reader() == []
    tend(pair)
    assert pair.wrong_points_by_reader() == []


def test_a_cycle_that_fails_in_the_middle_of_a_fold_spoils_nothing() -> None:
    """What a failed log left is collected, and with it what a fold wrote beside."""
    pair = Pair(DISKS)
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=1200, additional=2))
    live(pair, 14)
    while not [name for name in files.list(ITEM) if name.endswith(".fold")]:
        assert pair.link.store.tend(ITEM, NOTHING)

    def fail(operation: str, path: str) -> None:
        if operation == "replace":
            raise OSError(errno.EIO, "planted", path)

    files.fail = fail
    with suppress(DrillError):
        pair.cycle()
    files.fail = lambda operation, path: None
    tend(pair)
    assert pair.wrong_points_by_reader() == []


def aged() -> tuple[Pair, MemoryFiles, dict[str, bytes]]:
    """Points of which most are due to go, by a merge and into a base; what lies in the store can be put back."""
    pair = Pair({"vda": 131072, "vdb": 512})
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    pair.link.store.retain(ITEM, LATEST)
    for number in range(5):
        pair.host.write("vda", 4096 * number, b"%d" % number * 9000)
        if number < 2:
            pair.host.write("vda", 65536, bytes([1 - number]) * 65536)
        pair.cycle()
        pair.clock.sleep(20 * MINUTE)
    pair.link.store.lock(ITEM, pair.points()[1].point.epoch, 2, "kept")
    return pair, files, {path: bytes(data) for path, data in files.content.items()}


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
def test_a_crash_at_any_storage_operation_of_upkeep_loses_no_byte(*, power: bool) -> None:
    pair, files, state = aged()
    for nth in range(400):
        files.put_back(state)
        pair.restart_receiver()
        crash = Crash(nth)
        files.fail = crash
        with suppress(Crashed):
            tend(pair)
        files.fail = lambda operation, path: None
        if crash.left >= 0:
            assert nth > 30
            return
        if power:
            files.lose_power(names_survive=nth % 2 == 0, data_survives=nth % 3 == 0)
        pair.restart_receiver()
        assert pair.wrong_points_by_reader() == [], nth
        tend(pair)
        assert pair.wrong_points_by_reader() == [], nth
        assert len(sequences(pair)) < 5


class Crashed(BaseException):
    """The process ended."""


class Crash:
    """Ends the process at the n-th storage operation."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, operation: str, path: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crashed


@pytest.mark.parametrize("operation", ["write", "sync", "sync_folder", "replace", "punch", "remove", "truncate"])
def test_an_error_at_any_storage_operation_of_upkeep_loses_no_byte(operation: str) -> None:
    pair, files, state = aged()
    for nth in range(100):
        files.put_back(state)
        pair.restart_receiver()
        pair.points()
        left = [nth]

        def fail(name: str, path: str, left: list[int] = left) -> None:
            if name == operation:
                left[0] -= 1
                if left[0] == -1:
                    raise OSError(errno.EIO, "planted", path)

        files.fail = fail
        error: Exception | None = None
        try:
            tend(pair)
        except (OSError, DrillError) as found:
            error = found
        files.fail = lambda name, path: None
        if left[0] >= 0:
            assert nth > 0
            return
        if isinstance(error, Unknown):
            with pytest.raises(Failed, match="stopped"):
                pair.points()
            pair.restart_receiver()
        tend(pair)
        assert pair.wrong_points_by_reader() == [], nth


def test_chains_stay_short_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still expires nothing; the number of points is bounded all the same."""
    pair = Pair({"vda": 65536})
    pair.link.store = Store(pair.target_files, pair.clock, OneLane(), points_max=8)
    for number in range(60):
        pair.host.write("vda", number * 512, b"%d" % number * 100)
        pair.cycle()
        tend(pair)
    assert len(sequences(pair)) == 8
    assert pair.link.store.report(ITEM).chain <= 9
    assert pair.wrong_points_by_reader() == []
    monkeypatch.setattr(store_module, "CHAIN_MAX", 3)
    with pytest.raises(Failed, match="test failovers"):
        pair.cycle()


def test_a_policy_outside_the_bounds_is_refused_and_one_for_an_item_without_points_is_kept(pair: Pair) -> None:
    with pytest.raises(Refused):
        pair.link.store.retain(ITEM, RetentionPolicy(additional=25))
    assert pair.link.store.items() == ()
    pair.link.store.retain(ITEM, LATEST)
    pair.restart_receiver()
    assert pair.link.store.report(ITEM).policy == LATEST
    live(pair, 2)
    tend(pair)
    assert sequences(pair) == [2]


def test_an_item_that_is_not_known_needs_no_upkeep(pair: Pair) -> None:
    assert not pair.link.store.tend("nobody", NOTHING)
    assert pair.link.store.report("nobody").points == ()


def test_what_stands_on_a_damaged_overlay_is_left_and_the_rest_is_folded() -> None:
    pair = Pair(DISKS)
    pair.link.store.retain(ITEM, LATEST)
    live(pair, 6)
    broken = pair.points()[2].disk("vda")
    assert broken is not None
    pair.target_files.write(f"{ITEM}/{broken.file}", 0, b"no overlay")
    pair.restart_receiver()
    with pytest.raises(Damaged, match="no overlay"):
        tend(pair)
    assert sequences(pair) == [6]
    folded = pair.points()[0].disk("vdb")
    assert folded is not None
    assert Overlay(pair.target_files, f"{ITEM}/{folded.file}").backing.startswith("base-")
    assert {name for name in files_of(pair) if "vda" in name} >= {f"{broken.file}"}, "nothing of it is removed"


def test_what_a_fold_writes_is_made_durable_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the last sync, which cycles of the item wait for, has little left to do."""
    monkeypatch.setattr(folding, "SYNC_BYTES", 65536)
    pair = Pair({"vda": 48 << 20})
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    pair.link.store.retain(ITEM, LATEST)
    for number in range(4):
        for chunk in range(3):
            pair.host.write("vda", (chunk << 24) + number * 4096, bytes([number + 1]) * 100_000)
        pair.cycle()
        pair.clock.sleep(20 * MINUTE)
    synced = []
    files.fail = lambda operation, path: synced.append(path) if operation == "sync" else None
    tend(pair)
    assert max(synced.count(path) for path in set(synced) if path.endswith((".fold", ".raw"))) > 3
    assert pair.wrong_points_by_reader() == []
