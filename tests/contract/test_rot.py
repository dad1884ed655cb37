"""What rotted of a head comes again from the source, and nothing else; a point is proven when it is handed out."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import BadInput, Damaged, ResyncNeeded, Usage
from drill.host.files import LocalFiles
from drill.model.point import Point
from drill.model.retention import RetentionPolicy
from drill.replication import rot, stored
from drill.replication.digests import CHUNK_BYTES
from drill.replication.extents import PAGE_BYTES
from drill.replication.manifest import Manifest, Rotten, StoredDisk
from drill.replication.store import Store
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, OneLane, Pair, StillClock

SIZE = CHUNK_BYTES + 10 * PAGE_BYTES
LAST = SIZE // PAGE_BYTES - 1


@pytest.fixture
def pair() -> Pair:
    """A disk full of noise that ends in its second chunk, and three points: a base and two overlays."""
    pair = Pair({"vda": SIZE}, MemoryFiles())
    pair.host.write("vda", 0, random.Random(7).randbytes(SIZE))
    pair.cycle()
    for number in (1, 2):
        pair.host.write("vda", number * PAGE_BYTES, b"%d" % number * 3000)
        pair.cycle()
    return pair


def spoil(pair: Pair, page: int, place: int = 0) -> None:
    """A bit of a page flips in the file of the point at this place of the order."""
    disk = pair.points()[place].disk("vda")
    assert disk is not None
    path, offset = f"{ITEM}/{disk.file}", page * PAGE_BYTES + 77
    pair.target_files.write(path, offset, bytes([pair.target_files.read(path, offset, 1)[0] ^ 8]))


def damaged(pair: Pair) -> list[int]:
    return [one.point.sequence for one in pair.points() if one.damaged]


def mended(pair: Pair) -> Point:
    """The next point; on the way there the source is told of one disk after another that it must compare."""
    for _ in pair.link.store.report(ITEM).owed:
        with pytest.raises(ResyncNeeded):
            pair.cycle()
    return pair.cycle()


def test_only_the_pages_that_rotted_come_again(pair: Pair, tmp_path: Path) -> None:
    for page in (5, 6, 900, LAST):
        spoil(pair, page)
    pair.link.store.scrub(ITEM, every=True)
    report = pair.link.store.report(ITEM)
    assert (report.owed, report.rotten) == (("vda",), (("vda", 4),))
    assert damaged(pair) == [1, 2, 3]
    pair.host.write("vda", 3 * PAGE_BYTES, b"new")
    point = mended(pair)
    header, _ = pair.link.logs[-1]
    assert [(disk.compared, disk.full) for disk in header.disks] == [(True, False)]
    assert 5 * PAGE_BYTES < point.sent_bytes < 7 * PAGE_BYTES
    assert pair.link.store.report(ITEM).owed == ()
    assert pair.link.store.report(ITEM).rotten == ()
    pair.link.store.scrub(ITEM, every=True)
    assert damaged(pair) == [1, 2, 3]
    assert not [wrong for wrong in pair.wrong_points(tmp_path) if wrong.startswith(f"{point.epoch}/4")]
    assert not pair.cycle().full


def test_pages_that_are_zeros_now_come_too(pair: Pair, tmp_path: Path) -> None:
    spoil(pair, 40)
    pair.link.store.scrub(ITEM, every=True)
    pair.host.write("vda", 40 * PAGE_BYTES, bytes(PAGE_BYTES))
    assert mended(pair).sent_bytes < 2 * PAGE_BYTES
    assert damaged(pair) == [1, 2, 3]
    assert not [wrong for wrong in pair.wrong_points(tmp_path) if "/4" in wrong]


def test_a_page_that_was_overwritten_since_need_not_come(pair: Pair) -> None:
    spoil(pair, 1)
    pair.link.store.scrub(ITEM, every=True)
    assert damaged(pair) == [1]
    assert pair.link.store.report(ITEM).owed == ()
    pair.cycle()


def test_a_log_without_what_rotted_is_not_sealed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver believes no source: the page must be in the log."""
    spoil(pair, 900)
    pair.link.store.scrub(ITEM, every=True)
    monkeypatch.setattr(pair.link, "rotten", lambda item, epoch, sequence, disk: ())
    with pytest.raises(ResyncNeeded, match="damaged"):
        pair.cycle()
    with pytest.raises(ResyncNeeded, match="page 900 of it rotted, and did not come"):
        pair.cycle()
    assert len(pair.points()) == 3
    assert pair.cycle().full, "what comparing does not mend comes whole"


@pytest.mark.parametrize(
    "said",
    [((5, 0),), ((-1, 3),), ((7, 2), (8, 1)), ((LAST, 2),), ((0, 1 << 40),), tuple((one, 1) for one in range(5000))],
    ids=["none", "before the disk", "twice", "behind the disk", "too many", "too many runs"],
)
def test_pages_that_cannot_be_are_not_believed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, said: tuple[tuple[int, int], ...]
) -> None:
    monkeypatch.setattr(pair.link, "rotten", lambda item, epoch, sequence, disk: said)
    pair.source.owe_all()
    with pytest.raises(BadInput, match="rotten pages"):
        pair.cycle()


def test_a_deep_check_takes_rot_for_no_lie_of_the_tracker(pair: Pair) -> None:
    spoil(pair, 900)
    pair.link.store.scrub(ITEM, every=True)
    _, record = pair.source.cycle(witness=False, deep=True)
    assert [disk.untracked_pages for disk in record.disks] == [0]
    assert pair.link.store.report(ITEM).owed == ()


def test_too_much_rot_brings_the_whole_disk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rot, "RUNS_MAX", 3)
    for page in range(100, 110, 2):
        spoil(pair, page)
    pair.link.store.scrub(ITEM, every=True)
    report = pair.link.store.report(ITEM)
    assert (report.owed, report.rotten) == (("vda",), ())
    with pytest.raises(ResyncNeeded):
        pair.cycle()
    assert pair.cycle().full


def test_leaves_that_rotted_are_computed_anew(pair: Pair) -> None:
    pair.link.store.scrub(ITEM, every=True)
    path = f"{ITEM}/digests/vda.leaves"
    clean = pair.target_files.read(path)
    pair.target_files.write(path, 4000, bytes([clean[4000] ^ 1]))
    pair.link.store.scrub(ITEM, every=True)
    assert pair.target_files.read(path) == clean
    assert (pair.link.store.report(ITEM).owed, damaged(pair)) == ((), [])


def test_leaves_and_their_pages_that_both_rotted_bring_the_whole_disk(pair: Pair) -> None:
    pair.cycle()  # leaves take effect with the next log
    spoil(pair, 300)
    path = f"{ITEM}/digests/vda.leaves"
    pair.target_files.write(path, 4000, bytes([pair.target_files.read(path)[4000] ^ 1]))
    pair.link.store.scrub(ITEM, every=True)
    report = pair.link.store.report(ITEM)
    assert (report.owed, report.rotten) == (("vda",), ())
    assert damaged(pair) == [1, 2, 3, 4]


def test_leaves_that_rotted_over_a_file_that_is_gone_bring_the_whole_disk(pair: Pair) -> None:
    """The file that would tell what they were went while the agent ran."""
    pair.cycle()
    base = pair.points()[0].disk("vda")
    assert base is not None
    pair.target_files.remove(f"{ITEM}/{base.file}")
    path = f"{ITEM}/digests/vda.leaves"
    pair.target_files.write(path, 4000, bytes([pair.target_files.read(path)[4000] ^ 1]))
    pair.link.store.scrub(ITEM, every=True)
    report = pair.link.store.report(ITEM)
    assert (report.owed, report.rotten) == (("vda",), ())
    assert damaged(pair) == [1, 2, 3, 4]


def until_read(pair: Pair, slices: int) -> None:
    """Some slices of the pass that is due."""
    for _ in range(slices):
        assert pair.link.store.scrub(ITEM)


def finish(pair: Pair) -> None:
    while pair.link.store.scrub(ITEM):
        pass


def test_points_sealed_over_rot_while_it_is_looked_for_are_damaged_too(pair: Pair) -> None:
    spoil(pair, 900)
    while not pair.points()[-1].damaged:
        pair.host.write("vda", 20 * PAGE_BYTES, b"%d" % len(pair.points()) * 900)
        pair.cycle()
        for _ in range(3):
            pair.link.store.scrub(ITEM)
    assert damaged(pair) == [one.point.sequence for one in pair.points()]
    assert pair.link.store.report(ITEM).rotten == (("vda", 1),)


def tiny() -> Pair:
    """One point of a small disk, one page of which rotted."""
    pair = Pair({"vda": 8 * PAGE_BYTES}, MemoryFiles())
    pair.host.write("vda", 0, random.Random(7).randbytes(8 * PAGE_BYTES))
    pair.cycle()
    spoil(pair, 5)
    return pair


def test_a_head_that_cycles_mend_while_it_is_looked_at_comes_to_be_whole() -> None:
    """At every slice of the pass: the point that was there is damaged, and the head is whole, or asks for its page."""
    slices, asked = 0, set[bool]()
    while True:
        pair = tiny()
        until_read(pair, slices)
        if pair.link.store.report(ITEM).owed:
            break
        pair.host.write("vda", 5 * PAGE_BYTES, b"over it")
        pair.cycle()
        finish(pair)
        asked.add(2 in damaged(pair))
        if 2 in damaged(pair):
            assert pair.link.store.report(ITEM).rotten == (("vda", 1),), slices
            mended(pair)
            pair.clock.sleep(7 * 24 * 3600)
            finish(pair)
        assert damaged(pair) == [1], slices
        assert pair.link.store.report(ITEM).owed == (), slices
        slices += 1
    assert slices > 3
    assert asked == {True, False}


def test_a_disk_that_came_whole_while_it_was_looked_at_is_not_owed() -> None:
    slices = 0
    while True:
        pair = tiny()
        until_read(pair, slices)
        if pair.link.store.report(ITEM).owed:
            break
        pair.source.save(replace(pair.source.journal, owed_whole=("vda",)))
        pair.cycle()
        finish(pair)
        assert damaged(pair) == [1], slices
        assert pair.link.store.report(ITEM).owed == (), slices
        slices += 1
    assert slices > 3


def test_a_disk_that_is_gone_is_not_owed() -> None:
    pair = Pair({"vda": 8 * PAGE_BYTES, "vdb": 8 * PAGE_BYTES}, MemoryFiles())
    pair.host.write("vdb", 0, b"x" * 9000)
    pair.cycle()
    first = pair.points()[0].disk("vdb")
    assert first is not None
    del pair.host.disks["vdb"]
    pair.cycle()
    pair.target_files.write(f"{ITEM}/{first.file}", 100, b"!")
    finish(pair)
    assert damaged(pair) == [1]
    assert pair.link.store.report(ITEM).owed == ()


def test_a_disk_that_goes_while_it_is_looked_at_is_not_owed() -> None:
    slices = 0
    while True:
        pair = tiny()
        until_read(pair, slices)
        if pair.link.store.report(ITEM).owed:
            break
        pair.host.disks["vdb"] = bytearray(4096)
        del pair.host.disks["vda"]
        pair.cycle()
        finish(pair)
        assert damaged(pair) == [1], slices
        assert pair.link.store.report(ITEM).owed == (), slices
        slices += 1
    assert slices > 3


def test_a_point_that_goes_while_it_is_looked_at_leaves_its_rot_to_be_found() -> None:
    """At every slice of the pass a newer point takes its place over the same base, and has what rotted."""
    slices = 0
    while True:
        pair = tiny()
        pair.link.store.retain(ITEM, RetentionPolicy(window_seconds=0, additional=0))
        until_read(pair, slices)
        if pair.link.store.report(ITEM).owed:
            break
        pair.host.write("vda", 0, b"beside it")
        pair.cycle()
        while pair.link.store.tend(ITEM, frozenset()):
            pass
        while pair.link.store.scrub(ITEM):
            assert bool(pair.link.store.report(ITEM).owed) == (2 in damaged(pair)), "no point of an owed disk is served"
        assert damaged(pair) == [2], slices
        assert pair.link.store.report(ITEM).rotten == (("vda", 1),), slices
        slices += 1
    assert slices > 3


def test_rot_is_noted_for_one_disk_and_not_for_another() -> None:
    pair = Pair({"vda": 8 * PAGE_BYTES, "vdb": 8 * PAGE_BYTES}, MemoryFiles())
    for target in ("vda", "vdb"):
        pair.host.write(target, 0, b"x" * 9000)
    pair.cycle()
    for disk in pair.points()[0].disks:
        pair.target_files.write(f"{ITEM}/{disk.file}", 100, b"!")
    pair.link.store.scrub(ITEM, every=True)
    assert pair.link.store.report(ITEM).rotten == (("vda", 1), ("vdb", 1))
    mended(pair)
    assert pair.link.store.report(ITEM).rotten == ()


# --------------------------------------------------------------------------------------------- a point is handed out


def proof(pair: Pair, sequence: int) -> dict[str, str]:
    slices = pair.link.store.proof(ITEM, pair.points()[0].point.epoch, sequence)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return dict(end.value)


def seal(pair: Pair, place: int) -> str:
    return pair.points()[place].point.disks[0].digest


def test_a_point_that_nobody_spoiled_is_proven(pair: Pair) -> None:
    assert [proof(pair, sequence)["vda"] for sequence in (1, 2, 3)] == [seal(pair, place) for place in (0, 1, 2)]
    assert damaged(pair) == []


def test_rot_that_no_scrub_has_seen_is_found_by_the_proof_and_marked(pair: Pair) -> None:
    """And the scrub comes to it next: it says what must come again."""
    finish(pair)
    assert not pair.link.store.scrub(ITEM), "nothing is due for six days"
    spoil(pair, 900)
    assert proof(pair, 3)["vda"] != seal(pair, 2)
    assert damaged(pair) == [3]
    with pytest.raises(Damaged):
        pair.link.store.whole_point(ITEM, pair.points()[2].point.epoch, 3)
    finish(pair)
    assert damaged(pair) == [1, 2, 3]
    assert pair.link.store.report(ITEM).rotten == (("vda", 1),)


def test_a_proof_takes_no_mark_away(pair: Pair) -> None:
    spoil(pair, 900)
    assert proof(pair, 3)
    spoil(pair, 900)
    assert proof(pair, 3)["vda"] == seal(pair, 2)
    assert damaged(pair) == [3], "the scrub will"
    finish(pair)
    assert damaged(pair) == []


def test_what_cannot_be_read_proves_nothing(pair: Pair) -> None:
    disk = pair.points()[1].disk("vda")
    assert disk is not None
    pair.target_files.write(f"{ITEM}/{disk.file}", 0, b"no overlay")
    assert proof(pair, 2) == {"vda": ""}
    assert damaged(pair) == [2]


def test_a_point_that_is_gone_or_goes_is_not_proven(pair: Pair) -> None:
    with pytest.raises(Usage, match="no point"):
        proof(pair, 9)
    slices = pair.link.store.proof(ITEM, pair.points()[0].point.epoch, 1)
    next(slices)
    pair.link.store.forget(ITEM)
    with pytest.raises((Usage, Damaged)):
        list(slices)


# ------------------------------------------------------------------------------------------------------ sparse disks


class Counting(LocalFiles):
    """How many bytes were read."""

    read_bytes = 0

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        found = super().read(path, offset, length)
        self.read_bytes += len(found)
        return found


def test_a_scrub_does_not_read_holes(tmp_path: Path) -> None:
    files = Counting(tmp_path / "store")
    pair = Pair({"vda": 160 << 20}, files)
    pair.host.write("vda", 90 << 20, b"x" * 5000)
    pair.cycle()
    files.read_bytes = 0
    Store(files, StillClock(), OneLane()).scrub(ITEM, every=True)
    assert files.read_bytes < 40 << 20
    assert damaged(pair) == []


def test_zeros_that_take_room_have_the_digests_of_a_hole(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / ITEM).mkdir()
    (tmp_path / ITEM / "zeros.raw").write_bytes(bytes(1 << 20))
    files.truncate(f"{ITEM}/hole.raw", 1 << 20)
    assert files.next_data(f"{ITEM}/zeros.raw", 0) == 0, "they take room"
    tables = [
        stored.table(files, ITEM, StoredDisk(target="vda", file=f"{name}.raw", format="raw"), 0)
        for name in ("zeros", "hole")
    ]
    assert tables[0] == tables[1]


def test_a_manifest_says_what_rotted() -> None:
    """An owed disk without a list comes whole; one that is not owed brings nothing."""
    manifest = Manifest(item=ITEM, owed=("vda", "vdb"), rotten=(Rotten(target="vda", pages=((3, 2),)),))
    assert [manifest.rot(target) for target in ("vda", "vdb", "vdc")] == [((3, 2),), None, ()]
