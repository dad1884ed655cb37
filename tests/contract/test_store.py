"""The receiver's store over Files in memory and on a real file system: exact, ordered, idempotent, crash-proof."""

from __future__ import annotations

import errno
import io
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import BadInput, Damaged, DrillError, Failed, Refused, ResyncNeeded, Usage
from drill.host.files import LocalFiles
from drill.model.cycle import LogDisk
from drill.model.extent import Extent, ExtentKind
from drill.model.retention import RetentionPolicy
from drill.ports import Files
from drill.replication import manifest, pages, sealed
from drill.replication import store as store_module
from drill.replication.frame import Frame, Piece
from drill.replication.landing import BaseWriter, Landing
from drill.replication.manifest import NAME as MANIFEST
from drill.replication.store import Store
from drill.sim.files import SimFiles
from drill.sim.process import Process
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, OneLane, Pair, StillClock, forged

ODD = (1 << 20) + 512
DISKS = {"vda": 4 << 20, "vdb": ODD}


@pytest.fixture(params=["memory", "local", "simulated"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param == "simulated":
        return Pair(DISKS, SimFiles(Process(lambda kind: None), random.Random(1)))
    return Pair(DISKS, None if request.param == "memory" else LocalFiles(tmp_path / "store"))


def scribble(pair: Pair, seed: int) -> None:
    """Writes, zeros, and sometimes nothing at all on both disks."""
    rng = random.Random(seed)
    for _ in range(rng.randrange(6)):
        target = rng.choice(sorted(pair.host.disks))
        size = len(pair.host.disks[target])
        length = min(rng.choice([512, 4096, 5000, 65536, 200_000]), size)
        offset = rng.choice([0, size - length, rng.randrange(size - length + 1) // 512 * 512])
        pair.host.write(target, offset, rng.choice([bytes(length), rng.randbytes(length), b"a" * length]))


def everything(files: Files) -> dict[str, bytes]:
    """Every file below the item, by name."""
    found = {}
    for folder in (ITEM, f"{ITEM}/digests"):
        try:
            names = files.list(folder)
        except FileNotFoundError:
            continue
        found.update({f"{folder}/{name}": files.read(f"{folder}/{name}") for name in names if name != "digests"})
    return found


def test_every_point_is_what_the_disks_were_at_its_instant(pair: Pair, tmp_path: Path) -> None:
    for seed in range(12):
        scribble(pair, seed)
        pair.cycle()
    assert [found.point.sequence for found in pair.points()] == list(range(1, 13))
    assert pair.wrong_points(tmp_path / "out") == []
    assert pair.wrong_points_by_reader() == []


def test_a_full_copy_in_the_middle_starts_a_new_base_and_keeps_the_old_points(pair: Pair, tmp_path: Path) -> None:
    pair.host.write("vda", 0, b"first" * 1000)
    pair.cycle()
    pair.host.write("vda", 70_000, b"second" * 1000)
    pair.cycle()
    pair.source.save(replace(pair.source.journal, owed_whole=("vda",)))
    pair.host.write("vda", 5, b"third")
    pair.host.write("vdb", 5, b"third")
    point = pair.cycle()
    kinds = {disk.target: disk.format for disk in pair.points()[-1].disks}
    assert (point.sequence, kinds) == (3, {"vda": "raw", "vdb": "qcow2"})
    assert pair.wrong_points(tmp_path / "out") == []


def test_the_same_log_again_is_acknowledged_again_and_changes_nothing(pair: Pair) -> None:
    scribble(pair, 1)
    pair.cycle()
    scribble(pair, 2)
    point = pair.cycle()
    before = everything(pair.target_files)
    header, log = pair.link.logs[-1]
    assert pair.link.store.receive(header, io.BytesIO(log).read) == point
    assert everything(pair.target_files) == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"sequence": 2}, id="sequence already sealed, other content"),
        pytest.param({"sequence": 4}, id="sequence too far"),
        pytest.param({"parent_digest": "f" * 64}, id="another parent"),
        pytest.param({"epoch": "another1"}, id="another epoch"),
    ],
)
def test_a_log_out_of_order_is_refused_with_the_expected_one_and_nothing_is_written(
    pair: Pair, change: dict[str, object]
) -> None:
    for seed in (1, 2):
        scribble(pair, seed)
        pair.cycle()
    head = pair.points()[-1].point
    before = everything(pair.target_files)
    header, log = pair.link.logs[-1]
    offered = replace(header, sequence=3, parent_digest=head.log_digest, begun_us=99)
    with pytest.raises(Refused) as caught:
        pair.link.store.receive(replace(offered, **change), io.BytesIO(log).read)  # type: ignore[arg-type]
    assert f"epoch {head.epoch} sequence 3 parent {head.log_digest}" in str(caught.value)
    assert everything(pair.target_files) == before


def test_a_new_epoch_must_name_the_head_it_supersedes(pair: Pair) -> None:
    scribble(pair, 1)
    pair.cycle()
    header, log = pair.link.logs[-1]
    stale = replace(header, epoch="anothere", supersedes="e" * 64)
    with pytest.raises(Refused):
        pair.link.store.receive(stale, io.BytesIO(log).read)
    old = replace(header, supersedes=pair.points()[-1].point.log_digest, begun_us=7)
    with pytest.raises(Refused):
        pair.link.store.receive(old, io.BytesIO(log).read)


def test_a_flipped_bit_anywhere_in_a_log_seals_nothing(pair: Pair) -> None:
    pair.host.write("vda", 0, b"content" * 3000)
    pair.cycle()
    pair.host.write("vda", 65536, b"other" * 3000)
    pair.host.write("vda", 0, bytes(4096))
    pair.cycle()
    header, log = pair.link.logs[-1]
    fresh = replace(header, sequence=3, parent_digest=pair.points()[-1].point.log_digest)
    rng = random.Random(5)
    for _ in range(200):
        bad = bytearray(log)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        with pytest.raises(DrillError):
            pair.link.store.receive(fresh, io.BytesIO(bytes(bad)).read)
    assert len(pair.points()) == 2
    assert not [name for name in pair.target_files.list(ITEM) if name.startswith("log")]


def test_a_point_whose_digests_differ_is_not_sealed_and_the_disk_is_named(pair: Pair, tmp_path: Path) -> None:
    """Rot in the receiver's table: found at the next cycle that touches it, healed by a full."""
    scribble(pair, 3)
    pair.host.write("vda", 0, b"x" * 65536)
    pair.cycle()
    pair.host.write("vda", 0, b"y" * 65536)
    pair.cycle()
    files, path = pair.target_files, f"{ITEM}/digests/vda.leaves"
    pair.host.write("vda", 4096, b"z" * 100)
    pair.cycle()
    at = 100 * 16
    files.write(path, at, bytes([files.read(path, at, 1)[0] ^ 1]))
    pair.host.write("vda", 8192, b"w" * 100)
    with pytest.raises(ResyncNeeded) as caught:
        pair.cycle()
    assert caught.value.disk == "vda"
    assert len(pair.points()) == 3
    pair.cycle()
    assert [disk.full for disk in pair.link.logs[-1][0].disks] == [True, False]
    assert pair.wrong_points(tmp_path / "out") == []


@pytest.mark.parametrize("operation", ["write", "truncate", "sync", "sync_folder", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_an_error_at_any_storage_operation_loses_nothing(operation: str, code: int) -> None:
    """I19, I18: no acknowledgement, older points intact, and after a restart the next cycle is right."""
    pair = Pair(DISKS)
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    scribble(pair, 1)
    pair.cycle()
    for nth in range(60):
        scribble(pair, nth)
        fault = Nth(operation, nth, code)
        files.fail = fault
        with suppress(DrillError):
            pair.cycle()
        files.fail = lambda operation, path: None
        if fault.left >= 0:
            break
        pair.restart_receiver()
        pair.cycle()
    else:
        pytest.fail("sixty operations in one cycle are more than there can be")
    assert nth > 0
    sequences = [found.point.sequence for found in pair.points()]
    assert sequences == list(range(1, len(sequences) + 1))
    assert pair.wrong_points_by_reader() == []


class Nth:
    """Fails the n-th operation of a kind, once."""

    def __init__(self, operation: str, nth: int, code: int) -> None:
        self.operation = operation
        self.left = nth
        self.code = code

    def __call__(self, operation: str, path: str) -> None:
        if operation == self.operation:
            self.left -= 1
            if self.left == -1:
                raise OSError(self.code, "planted", path)


def test_a_sync_that_fails_after_the_seal_stops_the_item_until_the_agent_starts_again(tmp_path: Path) -> None:
    pair = Pair(DISKS)
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    scribble(pair, 1)
    pair.cycle()
    seen = []

    def fail(operation: str, path: str) -> None:
        if operation == "replace":
            seen.append(path)
        if operation == "sync_folder" and seen:
            raise OSError(errno.EIO, "planted", path)

    files.fail = fail
    scribble(pair, 2)
    with pytest.raises(DrillError):
        pair.cycle()
    files.fail = lambda operation, path: None
    with pytest.raises(Failed):
        pair.link.store.points(ITEM)
    pair.restart_receiver()
    pair.cycle()
    assert pair.wrong_points(tmp_path / "out") == []


def test_what_the_manifest_does_not_name_is_collected_when_the_item_is_opened(pair: Pair) -> None:
    scribble(pair, 1)
    pair.cycle()
    for name in ("point-xxxx-9.vda.qcow2", "log-xxxx-9.cycle", ".manifest.json.new", "digests/vda.xxxx-9.staged"):
        pair.target_files.write(f"{ITEM}/{name}", 0, b"half")
    before = set(everything(pair.target_files))
    pair.restart_receiver()
    pair.points()
    gone = before - set(everything(pair.target_files))
    assert len(gone) == 4
    assert not any("base-" in name for name in gone)


def test_an_orphan_that_cannot_be_removed_is_tried_again_at_the_next_request() -> None:
    pair = Pair(DISKS)
    pair.cycle()
    assert isinstance(pair.target_files, MemoryFiles)
    files, orphan = pair.target_files, f"{ITEM}/point-xxxx-9.vda.qcow2"
    files.write(orphan, 0, b"half")

    def fail(operation: str, path: str) -> None:
        if (operation, path) == ("remove", orphan):
            raise OSError(errno.EIO, "planted", path)

    files.fail = fail
    pair.restart_receiver()
    for _ in range(2):
        with pytest.raises(OSError, match="planted"):
            pair.points()
    files.fail = lambda operation, path: None
    assert len(pair.points()) == 1
    assert orphan not in files.paths()


def test_orphans_of_a_first_copy_are_collected_too(pair: Pair) -> None:
    pair.target_files.make_folder(f"{ITEM}/digests")
    pair.target_files.write(f"{ITEM}/base-xxxx-1.vda.raw", 0, b"half")
    pair.target_files.write(f"{ITEM}/digests/vda.xxxx-1.staged", 0, b"half")
    pair.cycle()
    assert not [name for name in everything(pair.target_files) if "xxxx" in name]


def test_a_damaged_manifest_is_not_served(pair: Pair) -> None:
    pair.cycle()
    path = f"{ITEM}/{MANIFEST}"
    data = bytearray(pair.target_files.read(path))
    data[len(data) // 2] ^= 4
    pair.target_files.write(path, 0, bytes(data))
    pair.restart_receiver()
    with pytest.raises(Damaged):
        pair.points()


def test_a_manifest_of_another_item_is_not_served(pair: Pair) -> None:
    pair.cycle()
    other = "another-item"
    pair.target_files.make_folder(f"{other}/digests")
    pair.target_files.write(f"{other}/{MANIFEST}", 0, pair.target_files.read(f"{ITEM}/{MANIFEST}"))
    with pytest.raises(Damaged):
        pair.link.store.points(other)


def test_forgetting_removes_everything_and_may_be_repeated(pair: Pair) -> None:
    scribble(pair, 1)
    pair.cycle()
    pair.link.store.forget(ITEM)
    pair.link.store.forget(ITEM)
    assert (pair.link.store.items(), pair.points(), pair.target_files.list("")) == ((), (), ())


@pytest.mark.parametrize("item", ["..", "a/b", "", ".hidden", "x" * 80, "a b", "a\n"])
def test_an_item_that_is_no_generated_id_is_refused(tmp_path: Path, item: str) -> None:
    store = Store(LocalFiles(tmp_path / "store"), StillClock(), OneLane())
    with pytest.raises(BadInput):
        store.points(item)
    with pytest.raises(BadInput):
        store.forget(item)


def test_a_point_that_is_not_there_is_a_wrong_request(pair: Pair) -> None:
    pair.cycle()
    with pytest.raises(Usage):
        pair.link.store.point(ITEM, "nothere1", 1)


def test_a_disk_that_grew_is_compared_and_keeps_its_chain(pair: Pair, tmp_path: Path) -> None:
    scribble(pair, 1)
    pair.cycle()
    pair.host.disks["vdb"].extend(bytes(1 << 20))
    pair.host.write("vdb", ODD, b"grown" * 100)
    point = pair.cycle()
    assert [disk.compared for disk in pair.link.logs[-1][0].disks] == [False, True]
    assert [seal.size_bytes for seal in point.disks] == [len(pair.host.disks["vda"]), ODD + (1 << 20)]
    assert [disk.format for disk in pair.points()[-1].disks] == ["qcow2", "qcow2"]
    assert pair.wrong_points(tmp_path / "out") == []


def test_an_added_disk_is_read_whole_and_a_removed_one_leaves_the_next_points(pair: Pair, tmp_path: Path) -> None:
    scribble(pair, 1)
    pair.cycle()
    pair.host.disks["vdc"] = bytearray(b"new" * 65536 + bytes(512 - 3 * 65536 % 512))
    pair.cycle()
    del pair.host.disks["vdb"]
    pair.cycle()
    assert [tuple(d.target for d in found.disks) for found in pair.points()] == [
        ("vda", "vdb"),
        ("vda", "vdb", "vdc"),
        ("vda", "vdc"),
    ]
    assert pair.wrong_points(tmp_path / "out") == []


def test_another_content_under_the_heads_own_header_is_refused(pair: Pair) -> None:
    scribble(pair, 1)
    pair.cycle()
    pair.host.write("vda", 0, b"x" * 100)
    pair.cycle()
    header, log = pair.link.logs[-1]
    before = everything(pair.target_files)
    other = forged(log, lambda seal: replace(seal, witness="f" * 64))
    with pytest.raises(Refused, match="another content"):
        pair.link.store.receive(header, io.BytesIO(other).read)
    assert everything(pair.target_files) == before


def test_a_manifest_put_back_from_a_copy_is_not_served_when_its_files_are_gone(pair: Pair) -> None:
    """I20: what it names was folded away, or is lost; nothing is collected by its word."""
    pair.cycle()
    yesterday = pair.target_files.read(f"{ITEM}/{MANIFEST}")
    pair.source.save(replace(pair.source.journal, owed_whole=("vda", "vdb")))
    pair.cycle()
    pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
    pair.clock.sleep(3600)
    while pair.link.store.tend(ITEM, frozenset()):
        pass
    before = set(everything(pair.target_files))
    pair.target_files.truncate(f"{ITEM}/{MANIFEST}", 0)
    pair.target_files.write(f"{ITEM}/{MANIFEST}", 0, yesterday)
    pair.restart_receiver()
    with pytest.raises(Damaged, match="an old copy of it"):
        pair.points()
    assert set(everything(pair.target_files)) == before


def test_a_manifest_with_a_point_of_a_machine_that_is_not_in_it_is_not_served(pair: Pair) -> None:
    pair.cycle()
    path = f"{ITEM}/{MANIFEST}"
    found = sealed.read(pair.target_files, path, manifest.KIND, manifest._Written)
    assert found is not None
    wrong = replace(found.value, points=(replace(found.value.points[0], machine=1),))
    sealed.write(pair.target_files, path, manifest.KIND, manifest._Written, wrong, generation=9)
    pair.restart_receiver()
    with pytest.raises(Damaged, match="names a machine"):
        pair.points()


def test_the_same_policy_again_writes_nothing(pair: Pair) -> None:
    policy = RetentionPolicy(window_seconds=600, additional=3)
    for seen in (True, False):
        before = everything(pair.target_files)
        pair.link.store.retain(ITEM, policy)
        assert (everything(pair.target_files) != before) is seen


def test_page_digests_of_the_head_that_rotted_make_its_next_copy_another_one(pair: Pair, tmp_path: Path) -> None:
    """Found before a byte of the log is stored, because the head's digests must give its root."""
    scribble(pair, 3)
    pair.cycle()
    pair.cycle()
    path = f"{ITEM}/digests/vda.chunks"
    pair.target_files.write(path, 0, bytes([pair.target_files.read(path, 0, 1)[0] ^ 1]))
    before = everything(pair.target_files).keys()
    with pytest.raises(ResyncNeeded, match="do not give the root") as caught:
        pair.cycle()
    assert (caught.value.disk, everything(pair.target_files).keys()) == ("vda", before)
    pair.cycle()
    assert pair.wrong_points(tmp_path / "out") == []


def test_a_chain_that_cannot_be_followed_where_it_is_counted_comes_anew(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on a chain is per disk: many files of many disks are none of its business."""
    monkeypatch.setattr(store_module, "CHAIN_MAX", 3)
    pair.cycle()
    pair.cycle()  # four files, two below each disk
    pair.host.write("vda", 0, b"x" * 100)
    pair.cycle()
    head = pair.points()[-1].disk("vda")
    assert head is not None
    pair.target_files.write(f"{ITEM}/{head.file}", 0, b"no overlay")
    pair.restart_receiver()
    with pytest.raises(ResyncNeeded, match="no overlay") as caught:
        pair.cycle()
    assert caught.value.disk == "vda"


def test_a_full_copy_never_writes_beyond_its_disk() -> None:
    files = MemoryFiles()
    data = memoryview(b"x" * 4096)
    piece = Piece(Extent(4096, 4096, ExtentKind.DATA), data, pages.leaves(data))
    with pytest.raises(BadInput, match="beyond the disk"):
        BaseWriter(files, "base.raw", 4608).place(Frame(0, (piece,)))
    assert files.read("base.raw") == bytes(4608)


def test_a_disk_that_comes_in_part_over_nothing_is_asked_for_whole(pair: Pair) -> None:
    pair.cycle()
    header, _ = pair.link.logs[-1]
    part = replace(
        header, disks=tuple(LogDisk(target=d.target, size_bytes=d.size_bytes, full=False) for d in header.disks)
    )
    landing = Landing(pair.target_files, OneLane(), part, None)
    with pytest.raises(ResyncNeeded, match="nothing is stored") as caught:
        landing._writer(part.disks[0], landing.disks[0])
    assert caught.value.disk == "vda"
