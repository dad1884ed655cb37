"""Resync by comparing: a disk whose continuity is not proved is read whole, and sent where it differs (I31, S1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import BadInput, Cancelled, Damaged, DrillError, Failed, Refused, Unknown
from drill.fuzz.carried import data_pages
from drill.model.point import CycleRecord, Way
from drill.replication import comparing
from drill.replication.digests import PageDigests
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, Pair
from tests.contract.test_cycle import Nth, Planted, prefix_without_gaps

MIB = 1 << 20
PAGE = 4096


@pytest.fixture
def pair() -> Pair:
    """Two disks that hold data, once replicated; the larger one has two chunks of digests, the second of zeros."""
    found = Pair({"vda": 17 * MIB, "vdb": MIB + 512})
    rng = random.Random(1)
    found.host.write("vda", 0, rng.randbytes(MIB))
    found.host.write("vdb", 0, rng.randbytes(MIB + 512))
    found.cycle()
    return found


def lose_tracking(pair: Pair) -> None:
    pair.host.kill()


def put_back(pair: Pair, yesterday: dict[str, bytes]) -> None:
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    files.put_back(yesterday)
    pair.restart_receiver()


def receiver_now(pair: Pair) -> dict[str, bytes]:
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    return {path: bytes(data) for path, data in files.content.items()}


def pages_sent(pair: Pair) -> dict[str, set[int]]:
    """Pages that the last log carries as data, by disk."""
    header, log = pair.link.logs[-1]
    found = data_pages(log)
    return {disk.target: found[index] for index, disk in enumerate(header.disks)}


def ways(record: CycleRecord) -> dict[str, Way]:
    return {disk.target: disk.way for disk in record.disks}


@pytest.mark.spec("S1.a")
def test_after_lost_tracking_only_the_pages_that_differ_travel(pair: Pair, tmp_path: Path) -> None:
    before = pair.points()
    pair.host.write("vda", 5 * PAGE, b"x" * PAGE)
    pair.host.write("vda", 33 * PAGE, bytes(2 * PAGE))
    lose_tracking(pair)
    pair.host.write("vda", 16 * MIB + 1, b"y")
    point, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}
    assert pages_sent(pair) == {"vda": {5, 33, 34, 16 * MIB // PAGE}, "vdb": set()}
    assert (point.sequence, point.full, point.sent_bytes < 5 * PAGE) == (2, False, True)
    assert pair.points()[:1] == before
    assert pair.wrong_points(tmp_path) == []


def test_a_disk_that_is_compared_asks_for_no_leaves_that_the_source_has(pair: Pair) -> None:
    lose_tracking(pair)
    pair.cycle()
    assert (pair.link.digests_asked, pair.link.leaves_asked) == (3, 0)


@pytest.mark.spec("S1.a")
def test_digests_that_the_source_lost_are_learnt_from_the_receiver(pair: Pair, tmp_path: Path) -> None:
    for path in [path for path in pair.source_files.paths() if "/digests/" in path]:
        pair.source_files.remove(path)
    pair.host.write("vda", 5 * PAGE, b"x" * PAGE)
    _, record = pair.source.cycle(witness=False)
    assert {disk.reason for disk in record.disks} == {"its page digests are damaged"}
    assert pages_sent(pair) == {"vda": {5}, "vdb": set()}
    assert pair.link.leaves_asked == 2, "the leaves of a chunk of zeros are known without asking"
    assert pair.wrong_points(tmp_path) == []
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.TRACKED, "vdb": Way.TRACKED}


def test_leaves_that_rotted_on_the_source_are_mended_from_the_receiver(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()  # commits what the first one staged
    pair.source_files.content[f"{ITEM}/digests/vda.leaves"][100 * 16] ^= 1
    lose_tracking(pair)
    pair.cycle()
    assert pair.link.leaves_asked == 1
    assert pages_sent(pair)["vda"] == set()
    assert pair.wrong_points(tmp_path) == []


def test_chunk_digests_that_rotted_on_the_source_are_mended_in_a_comparison(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()  # commits what the first one staged
    pair.source_files.content[f"{ITEM}/digests/vda.chunks"][0] ^= 1
    lose_tracking(pair)
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}
    assert pages_sent(pair) == {"vda": set(), "vdb": set()}
    assert pair.wrong_points(tmp_path) == []


def test_a_new_epoch_over_an_older_head_sends_what_differs_from_it(pair: Pair, tmp_path: Path) -> None:
    yesterday = receiver_now(pair)
    pair.host.write("vda", 5 * PAGE, b"x" * PAGE)
    pair.cycle()
    pair.cycle()
    put_back(pair, yesterday)
    pair.host.write("vdb", 0, b"z" * 10)
    point, record = pair.source.cycle(witness=False)
    assert (point.sequence, ways(record)) == (1, {"vda": Way.COMPARED, "vdb": Way.COMPARED})
    assert pages_sent(pair) == {"vda": {5}, "vdb": {0}}
    assert pair.link.leaves_asked == 1, "only of the chunk that changed since"
    assert len({found.point.epoch for found in pair.points()}) == 2
    assert pair.wrong_points(tmp_path) == []


def test_a_source_protected_anew_sends_what_differs_from_the_replica_that_stayed(pair: Pair, tmp_path: Path) -> None:
    pair.source.end()
    pair.host.write("vda", 7 * PAGE, b"x" * PAGE)
    pair.protect()
    point, _ = pair.source.cycle(witness=False)
    assert (point.sequence, pages_sent(pair)) == (1, {"vda": {7}, "vdb": set()})
    assert pair.wrong_points(tmp_path) == []


def test_a_receiver_that_cannot_prove_its_digests_gets_the_disk_whole(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()  # commits what the first one staged
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    files.content[f"{ITEM}/digests/vda.leaves"][100 * 16] ^= 1
    lose_tracking(pair)
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.WHOLE, "vdb": Way.COMPARED}
    assert pair.wrong_points(tmp_path) == []


@pytest.mark.parametrize("said", ["chunks", "leaves"])
def test_what_a_receiver_says_of_its_digests_is_checked(
    pair: Pair, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that lies makes the disk travel whole, and no wrong page is left out."""
    for path in [path for path in pair.source_files.paths() if "/digests/" in path]:
        pair.source_files.remove(path)
    tell = getattr(pair.link, said)
    monkeypatch.setattr(pair.link, said, lambda *asked: "ff" + tell(*asked)[2:])
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.WHOLE, "vdb": Way.WHOLE}
    assert pair.wrong_points(tmp_path) == []


@pytest.mark.parametrize("answer", ["", "ab", "zz" * 32])
def test_an_answer_of_another_shape_is_bad_input(pair: Pair, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_tracking(pair)
    monkeypatch.setattr(pair.link, "chunks", lambda *asked: answer)
    with pytest.raises(BadInput):
        pair.cycle()
    assert len(pair.points()) == 1


def test_questions_about_digests_are_bounded_and_only_of_the_head(pair: Pair) -> None:
    store, head = pair.link.store, pair.points()[-1].point
    digests = store.head_digests(ITEM, head.epoch, head.sequence, "vda")
    assert len(digests.chunks(0, 2)) == 2 * 64
    for first, count in ((0, 3), (-1, 1), (2, 1), (0, 0), (0, comparing.CHUNKS_MAX + 1)):
        with pytest.raises(BadInput):
            digests.chunks(first, count)
    for chunks in ((), (2,), (-1,), (0,) * (comparing.LEAVES_MAX + 1)):
        with pytest.raises(BadInput):
            digests.leaves(chunks)
    with pytest.raises(Refused):
        store.head_digests(ITEM, head.epoch, head.sequence + 1, "vda")
    with pytest.raises(Refused):
        store.head_digests(ITEM, head.epoch, head.sequence, "vdz")
    with pytest.raises(BadInput):
        store.head_digests(ITEM, head.epoch, head.sequence, "../vda")
    with pytest.raises(Refused):
        store.head_digests("nobody", head.epoch, head.sequence, "vda")


def test_an_image_that_was_closed_is_compared_though_its_bitmap_is_whole(pair: Pair, tmp_path: Path) -> None:
    """dd, a copy put back, a reverted snapshot: bitmaps know nothing of them (ground 1.17)."""
    pair.host.disks["vda"][9 * PAGE : 10 * PAGE] = b"e" * PAGE  # behind the tracker's back
    pair.host.restart()
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}
    assert pages_sent(pair) == {"vda": {9}, "vdb": set()}
    assert pair.wrong_points(tmp_path) == []
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.TRACKED, "vdb": Way.TRACKED}


def test_an_image_that_was_closed_while_a_cycle_began_fails_the_cycle(pair: Pair, tmp_path: Path) -> None:
    pair.host.fail = lambda operation: pair.host.restart() if operation == "begun" else None
    with pytest.raises(Failed, match="closed while it began"):
        pair.cycle()
    pair.host.fail = lambda operation: None
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []


def test_a_grown_disk_sends_what_is_new_of_it(pair: Pair, tmp_path: Path) -> None:
    pair.host.disks["vdb"].extend(bytes(16 * MIB))
    pair.host.write("vdb", 2 * MIB, b"n" * PAGE)
    _, record = pair.source.cycle(witness=False)
    assert [(disk.way, disk.reason) for disk in record.disks] == [(Way.TRACKED, ""), (Way.COMPARED, "resized")]
    assert pages_sent(pair)["vdb"] == {MIB // PAGE, 2 * MIB // PAGE}, "the page that was cut short, and the new one"
    assert pair.wrong_points(tmp_path) == []


def test_a_deep_check_finds_what_the_tracker_did_not_see_and_sends_it(pair: Pair, tmp_path: Path) -> None:
    pair.host.write("vda", 4 * PAGE, b"t" * PAGE)  # tracked, and with it the rest of its 64 KiB
    for number in (5, 700, 4100):
        pair.host.disks["vda"][number * PAGE : number * PAGE + 1] = b"\x07"
    pair.host.disks["vda"][200 * PAGE : 202 * PAGE] = bytes(2 * PAGE)
    _, record = pair.source.cycle(witness=False, deep=True)
    assert [(disk.way, disk.reason, disk.untracked_pages) for disk in record.disks] == [
        (Way.COMPARED, "deep check", 4),  # page 5 shares a granule with page 4
        (Way.COMPARED, "deep check", 0),
    ]
    assert pages_sent(pair)["vda"] >= {4, 5, 700, 4100}
    assert pair.wrong_points(tmp_path) == []
    _, record = pair.source.cycle(witness=False, deep=True)
    assert [disk.untracked_pages for disk in record.disks] == [0, 0]
    assert pages_sent(pair) == {"vda": set(), "vdb": set()}


def test_a_deep_check_counts_pages_and_not_what_travels_with_them(pair: Pair, tmp_path: Path) -> None:
    """A mebibyte of allocated zeros, of which one page was data that vanished behind the tracker's back."""
    pair.host.write("vda", 2 * MIB + 7 * PAGE, b"x" * PAGE)
    pair.cycle()
    pair.host.allocated = True
    pair.host.disks["vda"][2 * MIB + 7 * PAGE : 2 * MIB + 8 * PAGE] = bytes(PAGE)
    _, record = pair.source.cycle(witness=False, deep=True)
    assert [disk.untracked_pages for disk in record.disks] == [1, 0]
    assert pair.wrong_points(tmp_path) == []


def test_a_deep_check_has_nothing_to_say_of_a_disk_that_is_owed_anyway(pair: Pair, tmp_path: Path) -> None:
    pair.source.save(replace(pair.source.journal, owed=("vdb",)))
    for target in ("vda", "vdb"):
        pair.host.disks[target][40 * PAGE] ^= 1
    _, record = pair.source.cycle(witness=False, deep=True)
    assert [disk.untracked_pages for disk in record.disks] == [1, None]
    assert pages_sent(pair) == {"vda": {40}, "vdb": {40}}
    assert pair.wrong_points(tmp_path) == []


def test_without_a_deep_check_a_lying_tracker_would_not_be_noticed(pair: Pair, tmp_path: Path) -> None:
    """The control: the defect of the test above is one that a usual cycle cannot see."""
    pair.host.disks["vda"][700 * PAGE] ^= 1
    pair.cycle()
    assert pair.wrong_points(tmp_path) != []


@pytest.mark.spec("S4.a")
def test_a_paused_item_keeps_its_checkpoint_and_goes_on_incrementally(pair: Pair, tmp_path: Path) -> None:
    pair.source.pause()
    pair.host.write("vda", 0, b"p" * 10)
    base = [one.name for one in pair.host.chain]
    with pytest.raises(Refused, match="paused"):
        pair.cycle()
    pair.restart_source()
    assert pair.source.journal.paused, "a pause outlives the agent"
    pair.source.resume()
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.TRACKED, "vdb": Way.TRACKED}
    assert (len(base), pair.host.chain[0].name != base[0]) == (1, True)
    assert pair.wrong_points(tmp_path) == []


@pytest.mark.spec("S4.a")
def test_a_resync_is_cancelled_by_a_pause_and_goes_on_after_it(pair: Pair, tmp_path: Path) -> None:
    lose_tracking(pair)
    pair.host.during = pair.source.stop
    with pytest.raises(Cancelled):
        pair.cycle()
    assert pair.host.job is None
    pair.source.pause()
    pair.source.resume()
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}
    assert pair.wrong_points(tmp_path) == []


@pytest.mark.spec("S1.b")
def test_a_resync_waits_where_it_may_not_begin_and_nothing_is_lost(pair: Pair, tmp_path: Path) -> None:
    lose_tracking(pair)
    with pytest.raises(Refused, match="waits for its window") as caught:
        pair.source.cycle(witness=False, may_resync=False)
    assert (caught.value.rule, len(pair.points())) == ("S1", 1)
    assert [way.waits for way in pair.source.ways] == [True, True]
    pair.cycle()
    assert pair.source.ways == ()
    assert pair.wrong_points(tmp_path) == []


def test_a_guest_that_was_restarted_does_not_wait_for_a_window(pair: Pair) -> None:
    pair.host.restart()
    _, record = pair.source.cycle(witness=False, may_resync=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}


def test_an_operator_may_ask_for_a_resync(pair: Pair) -> None:
    pair.source.owe_all()
    _, record = pair.source.cycle(witness=False)
    assert ways(record) == {"vda": Way.COMPARED, "vdb": Way.COMPARED}
    assert pair.source.journal.owed == ()


def test_progress_says_how_much_of_what_is_to_be_read_was_read(pair: Pair) -> None:
    lose_tracking(pair)
    seen = []
    pair.host.during = lambda: seen.append(pair.source.progress)
    pair.cycle()
    assert pair.source.progress is None
    assert seen[0] is not None
    assert seen[0].bytes_total == 18 * MIB + 512
    assert 0 <= seen[0].bytes_done < seen[0].bytes_total


def yesterday_and_lost_digests(pair: Pair, yesterday: dict[str, bytes]) -> None:
    put_back(pair, yesterday)
    for path in [path for path in pair.source_files.paths() if "/digests/" in path]:
        pair.source_files.remove(path)


@pytest.mark.parametrize("error", [Unknown("x", "planted"), Planted()], ids=["unknown", "killed"])
@pytest.mark.parametrize("where", ["source", "receiver", "link"])
def test_a_comparison_that_is_interrupted_anywhere_ends_well(where: str, error: Exception) -> None:
    """Every file operation and every message of a comparison that learns its digests: the next cycle is exact."""
    pair = Pair({"vda": 128 << 10})
    pair.host.write("vda", 0, random.Random(2).randbytes(65536))
    pair.cycle()
    yesterday = receiver_now(pair)
    for nth in range(400):
        yesterday_and_lost_digests(pair, yesterday)
        pair.host.write("vda", 3 * PAGE, nth.to_bytes(4, "little"))
        fault = Nth(nth, error)
        plant(pair, where, fault)
        with suppress(DrillError, Planted):
            pair.cycle()
        plant(pair, where, Nth(10**9, error))
        if not fault.happened:
            assert nth > 5
            return
        if where == "receiver":
            pair.restart_receiver()
        pair.restart_source()
        pair.cycle()
        assert prefix_without_gaps(pair)
        assert pair.wrong_points_by_reader() == []
    raise AssertionError("a comparison asks for more than four hundred things")


def plant(pair: Pair, where: str, fault: Callable[..., None]) -> None:
    if where == "link":
        pair.link.fail = fault
    else:
        files = pair.source_files if where == "source" else pair.target_files
        assert isinstance(files, MemoryFiles)
        files.fail = fault


def test_leaves_of_one_content_never_stand_under_chunk_digests_of_another(pair: Pair) -> None:
    """Learning that was cut short proves nothing: the root check refuses the tables (trimming against them would leave
    pages out)."""
    known = pair.source.journal.acknowledged
    assert known is not None
    pair.cycle()
    lose_tracking(pair)
    pair.source_files.content[f"{ITEM}/digests/vda.leaves"][0] ^= 1
    for nth in range(60):
        fault = Nth(nth, Planted())
        pair.source_files.fail = fault
        with suppress(Planted):
            comparing.learn(pair.link, pair.points()[-1].point, pair.points()[-1].point.disks[0], digests_of(pair))
        pair.source_files.fail = lambda operation, path: None
        seal = pair.points()[-1].point.disks[0]
        if digests_of(pair).root(seal.size_bytes) == seal.digest and fault.happened:
            for chunk in range(2):
                with suppress(Damaged):
                    digests_of(pair).chunk(chunk)
        if not fault.happened:
            return
    raise AssertionError("learning asks for more than sixty things")


def digests_of(pair: Pair) -> PageDigests:
    return PageDigests(pair.source_files, f"{ITEM}/digests/vda")
