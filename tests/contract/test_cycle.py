"""The cycle over a host in memory: what fails, where it fails, and that nothing is ever lost by it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import DrillError, Failed, Refused, ResyncNeeded, Unknown
from drill.model.cycle import LogHeader
from drill.replication import carrier
from drill.replication.cycle import PREFIX
from tests.contract.memory_files import MemoryFiles
from tests.contract.memory_host import MemoryJob
from tests.contract.pair import ITEM, Pair, forged, lost_acknowledgement

DISKS = {"vda": 2 << 20, "vdb": (1 << 20) + 512}


@pytest.fixture
def pair() -> Pair:
    return Pair(dict(DISKS))


def scribble(pair: Pair, seed: int) -> None:
    """Data, zeros and the last bytes of each disk; the same amount of work whatever the seed."""
    rng = random.Random(seed)
    for target, data in pair.host.disks.items():
        pair.host.write(target, 65536 * rng.randrange(4), rng.randbytes(70_000))
        pair.host.write(target, 400_000, bytes(200_000))
        pair.host.write(target, len(data) - 512, rng.randbytes(512))


class Planted(Exception):
    """A process that ends here and now."""


class Nth:
    """Raises at the n-th thing asked of it, once; a dead process does nothing more."""

    def __init__(self, nth: int, error: Exception) -> None:
        self.left = nth
        self.error = error

    def __call__(self, *asked: str) -> None:
        self.left -= 1
        if self.left == -1 or (self.left < 0 and isinstance(self.error, Planted)):
            self.error.__context__ = None  # the same error again and again would keep every frame it passed
            raise self.error.with_traceback(None)

    @property
    def happened(self) -> bool:
        return self.left < 0


def prefix_without_gaps(pair: Pair) -> bool:
    """I3, within every epoch."""
    by_epoch: dict[str, list[int]] = {}
    for found in pair.points():
        by_epoch.setdefault(found.point.epoch, []).append(found.point.sequence)
    return all(sequences == list(range(1, len(sequences) + 1)) for sequences in by_epoch.values())


def test_the_first_cycle_is_full_and_the_next_carries_only_what_changed(pair: Pair) -> None:
    scribble(pair, 1)
    assert pair.cycle().full
    pair.host.write("vda", 0, b"x" * 10)
    _, record = pair.source.cycle(witness=False)
    assert (record.full, record.dirty_bytes, record.zero_bytes) == (False, 65536, 0)
    _, record = pair.source.cycle(witness=False)
    assert (record.dirty_bytes, record.zero_bytes) == (0, 0)


def test_a_zeroed_range_travels_as_zeros(pair: Pair, tmp_path: Path) -> None:
    pair.host.write("vda", 0, b"x" * 200_000)
    pair.cycle()
    pair.host.write("vda", 65536, bytes(65536))
    _, record = pair.source.cycle(witness=False)
    assert (record.dirty_bytes, record.zero_bytes) == (0, 65536)
    assert pair.wrong_points(tmp_path) == []


def test_a_witness_is_kept_in_the_point(pair: Pair) -> None:
    assert all(seal.witness is None for seal in pair.cycle().disks)
    point = pair.cycle(witness=True)
    assert all(seal.witness and len(seal.witness) == 64 for seal in point.disks)
    assert pair.points()[-1].point == point


def test_old_checkpoint_survives_until_the_new_point_is_acknowledged(pair: Pair) -> None:
    pair.cycle()
    base = pair.host.chain[0].name
    pair.link.fail = lost_acknowledgement
    with pytest.raises(Unknown):
        pair.cycle()
    assert pair.host.chain[0].name == base
    pair.link.fail = lambda step: None
    pair.cycle()
    assert [one.name for one in pair.host.chain] == [acknowledged(pair)]


def test_a_point_whose_acknowledgement_was_lost_is_adopted(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()
    scribble(pair, 1)
    pair.link.fail = lost_acknowledgement
    with pytest.raises(Unknown):
        pair.cycle()
    pair.link.fail = lambda step: None
    scribble(pair, 2)
    pair.restart_source()
    point, record = pair.source.cycle(witness=False)
    assert (point.sequence, record.full) == (3, False)
    assert pair.wrong_points(tmp_path) == []


def test_a_point_of_a_lost_acknowledgement_whose_checkpoint_is_lost_too_is_followed_by_a_comparison(
    pair: Pair, tmp_path: Path
) -> None:
    pair.cycle()
    scribble(pair, 1)
    pair.link.fail = lost_acknowledgement
    with pytest.raises(Unknown):
        pair.cycle()
    pair.link.fail = lambda step: None
    pair.host.kill()
    scribble(pair, 2)
    point = pair.cycle()
    assert (point.sequence, compared(pair)) == (3, ["vda", "vdb"])
    assert pair.wrong_points(tmp_path) == []


def compared(pair: Pair) -> list[str]:
    """Disks of the last log that were read whole and sent in part."""
    return [disk.target for disk in pair.link.logs[-1][0].disks if disk.compared]


def test_a_failed_cycle_leaves_its_changes_to_the_next(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()
    pair.host.write("vda", 0, b"owed" * 100)
    pair.host.fail = Nth(0, Failed("read", "planted"))
    fault = pair.host.fail

    def when_read(operation: str) -> None:
        if operation == "read":
            fault(operation)

    pair.host.fail = when_read
    with pytest.raises(Failed):
        pair.cycle()
    pair.host.fail = lambda operation: None
    pair.cycle()
    assert len(pair.points()) == 2
    assert pair.wrong_points(tmp_path) == []


def test_checkpoints_of_others_are_left_alone(pair: Pair) -> None:
    pair.host.begin("vm", "theirs", {"vda": None})
    pair.host.job = None
    for _ in range(3):
        pair.cycle()
    assert pair.host.chain[0].name == "theirs"
    pair.source.end()
    assert [one.name for one in pair.host.chain] == ["theirs"]


def test_after_a_killed_qemu_all_disks_are_compared_under_a_new_name(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()
    pair.cycle()
    pair.host.write("vda", 0, b"x" * 100)
    pair.host.kill()
    point = pair.cycle()
    assert (point.sequence, compared(pair)) == (3, ["vda", "vdb"])
    assert [one.name.startswith(PREFIX) for one in pair.host.chain] == [True]
    assert pair.wrong_points(tmp_path) == []


def test_a_bitmap_lost_on_one_disk_makes_that_disk_compared_only(pair: Pair) -> None:
    pair.cycle()
    pair.host.chain[0].lost = {"vdb"}
    pair.cycle()
    assert compared(pair) == ["vdb"]
    assert not any(disk.full for disk in pair.link.logs[-1][0].disks)


def test_a_receiver_put_back_to_yesterday_gets_a_new_epoch_and_keeps_its_points(pair: Pair, tmp_path: Path) -> None:
    scribble(pair, 1)
    pair.cycle()
    files = pair.target_files
    assert isinstance(files, MemoryFiles)
    yesterday = {path: bytes(data) for path, data in files.content.items()}
    scribble(pair, 2)
    pair.cycle()
    files.put_back(yesterday)
    pair.restart_receiver()
    scribble(pair, 3)
    point = pair.cycle()
    assert (point.sequence, compared(pair)) == (1, ["vda", "vdb"])
    assert [found.point.sequence for found in pair.points()] == [1, 1]
    assert pair.wrong_points(tmp_path) == []


def test_a_receiver_that_lost_everything_gets_a_full_copy(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()
    pair.link.store.forget(ITEM)
    scribble(pair, 3)
    assert pair.cycle().full
    assert pair.wrong_points(tmp_path) == []


def test_a_second_source_of_the_same_item_cannot_slip_its_log_in(pair: Pair) -> None:
    pair.cycle()
    header, _ = pair.link.logs[-1]
    with pytest.raises(Refused):
        pair.link.store.accept(replace(header, epoch="stranger", begun_us=5))


def test_litter_of_failed_cycles_is_dropped_before_the_next(pair: Pair) -> None:
    pair.cycle()
    for step in ("read", "end", "begun"):

        def fail(operation: str, step: str = step) -> None:
            if operation == step:
                raise Failed(step, "planted")

        scribble(pair, 1)
        pair.host.fail = fail
        with pytest.raises(Failed):
            pair.cycle()
    assert len(pair.host.chain) == 2
    pair.host.fail = lambda operation: None
    pair.cycle()
    assert [one.name for one in pair.host.chain] == [acknowledged(pair)]


def test_a_source_that_lies_about_its_digest_gets_nothing_sealed_and_is_told_to_resync(pair: Pair) -> None:
    """The trailer's roots are compared with what was applied, whoever made the log."""
    pair.cycle()
    pair.host.write("vda", 0, b"x" * 100)
    pair.link.forge = lambda log: forged(log, lambda seal: replace(seal, digest="0" * 64))
    with pytest.raises(ResyncNeeded) as caught:
        pair.cycle()
    assert (caught.value.disk, len(pair.points())) == ("vda", 1)
    assert pair.source.journal.owed == ("vda",)
    with pytest.raises(ResyncNeeded):
        pair.cycle()
    assert pair.source.journal.owed_whole == ("vda",), "comparing did not help"
    pair.link.forge = lambda log: log
    assert [disk.full for disk in header_of_next(pair).disks] == [True, False]
    assert not pair.source.journal.owed_whole


def header_of_next(pair: Pair) -> LogHeader:
    pair.cycle()
    return pair.link.logs[-1][0]


def acknowledged(pair: Pair) -> str:
    known = pair.source.journal.acknowledged
    assert known is not None
    return known.checkpoint


def test_a_page_digest_table_that_rotted_on_the_source_is_healed_by_a_full(pair: Pair, tmp_path: Path) -> None:
    pair.host.write("vda", 0, b"x" * (1 << 20))
    pair.cycle()
    pair.cycle()
    path = f"{ITEM}/digests/vda.leaves"
    pair.source_files.content[path][100 * 16] ^= 1
    pair.host.write("vda", 0, b"y" * 100)
    with suppress(DrillError):
        pair.cycle()
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []
    assert pair.cycle().full is False


def test_writes_during_a_cycle_are_not_in_its_point_and_not_lost(pair: Pair, tmp_path: Path) -> None:
    scribble(pair, 1)
    pair.cycle()
    scribble(pair, 2)
    pair.host.during = lambda: pair.host.write("vda", 0, b"during" * 50_000)
    pair.cycle()
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []


def planted_everywhere(pair: Pair, plant: Callable[[Nth], None], error: Exception, after: Callable[[], None]) -> int:
    """Cycles with a fault at the first, second, … thing asked, until one passes all of them by; returns how many."""
    for nth in range(400):
        scribble(pair, nth)
        fault = Nth(nth, error)
        plant(fault)
        with suppress(DrillError, Planted):
            pair.cycle()
        plant(Nth(10**9, error))
        if not fault.happened:
            return nth
        after()
        pair.cycle()
        assert prefix_without_gaps(pair)
    raise AssertionError("a cycle asks for more than four hundred things")


@pytest.mark.parametrize(
    "error", [Failed("x", "planted"), Unknown("x", "planted"), Planted()], ids=["failed", "unknown", "killed"]
)
@pytest.mark.parametrize("place", ["host", "link"])
def test_an_error_at_any_step_of_host_or_link_loses_nothing(place: str, error: Exception) -> None:
    """Also where the effect happened and the answer was lost; `killed` starts the source anew."""
    pair = Pair(dict(DISKS))
    pair.cycle()

    def plant(fault: Nth) -> None:
        getattr(pair, place).fail = fault

    after = pair.restart_source if isinstance(error, Planted) else lambda: None
    assert planted_everywhere(pair, plant, error, after) > 5
    assert pair.wrong_points_by_reader() == []


@pytest.mark.parametrize("side", ["source", "receiver"])
def test_a_process_killed_at_any_storage_operation_loses_nothing(side: str) -> None:
    pair = Pair(dict(DISKS))
    pair.cycle()
    files = pair.source_files if side == "source" else pair.target_files
    assert isinstance(files, MemoryFiles)

    def plant(fault: Nth) -> None:
        files.fail = fault

    def after() -> None:
        pair.restart_source()
        pair.restart_receiver()

    assert planted_everywhere(pair, plant, Planted(), after) > 10
    assert pair.wrong_points_by_reader() == []


@pytest.mark.parametrize(
    "survivors",
    [
        pytest.param({"names_survive": False, "data_survives": False}, id="what is not synced is lost"),
        pytest.param({"names_survive": True, "data_survives": False}, id="names without data"),
        pytest.param({"names_survive": False, "data_survives": True}, id="data without names"),
    ],
)
@pytest.mark.parametrize("side", ["source", "receiver"])
def test_a_power_failure_at_any_storage_operation_loses_nothing_acknowledged(
    side: str, survivors: dict[str, bool]
) -> None:
    """I4, I16: what the source's journal has as acknowledged is there; every visible point is exact."""
    pair = Pair(dict(DISKS))
    pair.cycle()
    files = pair.source_files if side == "source" else pair.target_files
    assert isinstance(files, MemoryFiles)

    def plant(fault: Nth) -> None:
        files.fail = fault

    def after() -> None:
        known = pair.source.journal.acknowledged
        files.lose_power(**survivors)
        pair.restart_source()
        pair.restart_receiver()
        assert known is not None
        assert known.point in [found.point for found in pair.points()]
        if side == "source":
            assert pair.source.journal.acknowledged is not None

    assert planted_everywhere(pair, plant, Planted(), after) > 10
    assert len({found.point.epoch for found in pair.points()}) == 1
    assert pair.wrong_points_by_reader() == []


def test_a_full_disk_on_the_source_fails_the_cycle_and_no_more(pair: Pair) -> None:
    pair.cycle()
    plant = lambda fault: setattr(pair.source_files, "fail", fault)  # noqa: E731
    error = OSError(errno.ENOSPC, "planted")
    assert planted_everywhere(pair, plant, error, pair.restart_source) > 5
    assert pair.wrong_points_by_reader() == []


def test_a_point_of_a_frozen_guest_is_application_consistent_and_the_next_one_is_not(
    pair: Pair, tmp_path: Path
) -> None:
    pair.host.fail = lambda operation: pair.clock.sleep(2e-6) if operation == "begin" else None
    point, record = pair.source.cycle(witness=False, application_consistent=True)
    assert (point.application_consistent, pair.guest.frozen) == (True, False)
    assert record.frozen_seconds >= 2, "two ticks, and each is a second to the monotonic clock"
    point, record = pair.source.cycle(witness=False)
    assert (point.application_consistent, record.frozen_seconds) == (False, 0.0)
    assert pair.wrong_points(tmp_path) == []


def test_a_disk_that_is_resized_between_the_look_and_the_job_fails_the_cycle(pair: Pair, tmp_path: Path) -> None:
    pair.cycle()
    pair.host.fail = lambda operation: pair.host.disks["vdb"].extend(bytes(512)) if operation == "begin" else None
    with pytest.raises(Failed, match="resized while it began"):
        pair.cycle()
    pair.host.fail = lambda operation: None
    assert pair.host.job is None
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []


def test_a_read_that_comes_back_short_fails_the_cycle_and_is_not_filled_up(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.cycle()
    pair.host.write("vda", 0, b"x" * 4096)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryJob, "read", lambda job, disk, offset, length: memoryview(bytes(length - 512)))
        with pytest.raises(Failed, match="bytes came"):
            pair.cycle()
    assert len(pair.points()) == 1
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []


def test_a_rotted_table_under_a_long_run_of_zeros_is_noticed_when_it_is_staged(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run of zeros is sent without looking at what was there; its digests are looked at all the same."""
    monkeypatch.setattr(carrier, "TRIM_ZERO_MAX", 65536)
    scribble(pair, 1)
    pair.host.write("vda", 0, b"x" * 200_000)
    pair.cycle()
    pair.cycle()
    pair.source_files.content[f"{ITEM}/digests/vda.leaves"][100 * 16] ^= 1
    pair.host.write("vda", 0, bytes(131072))
    with pytest.raises(ResyncNeeded, match="chunk 0") as caught:
        pair.cycle()
    assert caught.value.disk == "vda"
    pair.cycle()
    assert pair.wrong_points(tmp_path) == []


def test_ending_drops_our_checkpoints_and_the_journal(pair: Pair) -> None:
    pair.cycle()
    pair.source.end()
    assert (pair.host.chain, pair.source_files.content) == ([], {})


def test_ending_may_be_interrupted_and_repeated(pair: Pair) -> None:
    pair.cycle()
    pair.host.fail = Nth(1, Failed("drop", "planted"))
    with pytest.raises(Failed):
        pair.source.end()
    pair.restart_source()
    assert pair.source.journal.ended
    pair.source.end()
    assert (pair.host.chain, pair.source_files.content) == ([], {})
