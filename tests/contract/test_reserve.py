"""A full disk: nothing is sealed, what is there can be opened, locked and tested, and it goes on when there is room."""

from __future__ import annotations

import errno
import random

import pytest

from drill.errors import DrillError, Failed
from drill.replication.receiver import Receiver
from drill.replication.reserve import Reserve
from drill.replication.store import Store
from drill.sim.files import SimFiles
from drill.sim.images import SimImages
from drill.sim.process import Process
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, OneLane, Pair

RESERVE_BYTES = 32 * 4096


@pytest.fixture
def full() -> Pair:
    """A store with two points and its reserve, on a disk without any other room."""
    files = SimFiles(Process(lambda kind: None), random.Random(1))
    pair = Pair({"vda": 16 * 4096}, files)
    files.room = 1000
    start(pair)
    for letter in (b"a", b"b"):
        pair.host.write("vda", 0, letter * 9000)
        pair.cycle()
    assert not pair.link.store.tend(ITEM, frozenset())
    assert files.size(".reserve") == RESERVE_BYTES
    files.room = 0
    return pair


def start(pair: Pair) -> None:
    pair.link.store = Store(pair.target_files, pair.clock, OneLane(), reserve_bytes=RESERVE_BYTES)


def test_a_store_opens_and_locks_on_a_full_disk(full: Pair) -> None:
    start(full)
    first, _ = full.points()
    full.link.store.lock(ITEM, first.point.epoch, 1, "kept")
    assert full.target_files.size(".reserve") is None
    start(full)
    assert [one.lock is not None for one in full.points()] == [True, False]
    assert full.wrong_points_by_reader() == []


def test_without_a_reserve_it_does_not(full: Pair) -> None:
    full.target_files.remove(".reserve")
    assert isinstance(full.target_files, SimFiles)
    full.target_files.room = 0
    full.restart_receiver()
    with pytest.raises((OSError, DrillError)):
        full.points()


def test_no_point_is_sealed_with_the_reserve_and_cycles_go_on_once_there_is_room(full: Pair) -> None:
    files = full.target_files
    assert isinstance(files, SimFiles)
    full.host.write("vda", 0, b"c" * 60_000)
    with pytest.raises(DrillError):
        full.cycle()
    assert len(full.points()) == 2, "opening the item again may use the reserve, sealing a point may not"
    files.room = 1000
    full.cycle()
    assert len(full.points()) == 3
    assert full.wrong_points_by_reader() == []


def test_the_reserve_is_taken_again_when_there_is_room(full: Pair) -> None:
    files = full.target_files
    assert isinstance(files, SimFiles)
    full.link.store.reserve.give_back()
    files.room = 3
    full.link.store.tend(ITEM, frozenset())
    assert files.size(".reserve") is None
    files.room = 1000
    full.link.store.tend(ITEM, frozenset())
    assert files.size(".reserve") == RESERVE_BYTES


def test_a_test_failover_finds_room_in_the_reserve(full: Pair) -> None:
    """Its disks lie on the same file system as the store."""
    files = full.target_files
    assert isinstance(files, SimFiles)
    receiver = Receiver(full.link.store, SimImages({"sim": files}), files)
    point = full.points()[0].point
    assert receiver.overlays("run-1", ITEM, point.epoch, point.sequence)
    assert files.size(".reserve") is None


NO_ROOM = Failed("creating an overlay", "qemu-img: No space left on device")


class FailsOnce:
    """Work that fails as it is told, the first time."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.tries = 0

    def __call__(self) -> None:
        self.tries += 1
        if self.tries == 1:
            raise self.error


@pytest.mark.parametrize("error", [NO_ROOM, OSError(errno.ENOSPC, "planted")], ids=["a tool's word", "errno"])
def test_what_found_no_room_is_done_once_more_with_the_reserve(error: Exception) -> None:
    files = MemoryFiles()
    reserve, work = Reserve(files, 4096), FailsOnce(error)
    reserve.take()
    reserve.backed(work)
    assert (work.tries, files.list("")) == (2, ())
    again = FailsOnce(error)
    with pytest.raises(type(error)):
        reserve.backed(again)
    assert again.tries == 1, "there is no reserve any more"


@pytest.mark.parametrize(
    "error", [Failed("creating an overlay", "Permission denied"), OSError(errno.EIO, "planted")], ids=["failed", "EIO"]
)
def test_what_failed_for_another_reason_keeps_the_reserve(error: Exception) -> None:
    files = MemoryFiles()
    reserve, work = Reserve(files, 4096), FailsOnce(error)
    reserve.take()
    with pytest.raises(type(error)):
        reserve.backed(work)
    assert (work.tries, files.list("")) == (1, (".reserve",))
