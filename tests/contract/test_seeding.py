"""Offline seeding over files in memory: what is carried arrives whole or not at all, and cycles go on from it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from drill.errors import BadInput, Damaged, DrillError, Failed, Refused
from drill.model.point import Point
from drill.model.seed import Seed
from drill.replication import sealed, seeding
from drill.replication.exporting import export
from drill.replication.journal import Journal, Seeding
from drill.replication.seeding import KIND, NAME, SeedMedium
from tests.contract.memory_files import MemoryFiles
from tests.contract.pair import ITEM, Pair

PART = 50_000
DISKS = {"vda": 2 << 20, "vdb": (1 << 20) + 512}


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


class Carried:
    """A pair whose first copy is carried on a medium."""

    def __init__(self) -> None:
        self.pair = Pair(dict(DISKS))
        self.medium = MemoryFiles()
        self.write(1)

    def write(self, seed: int) -> None:
        for target, data in self.pair.host.disks.items():
            rng = random.Random(seed)
            self.pair.host.write(target, 65536 * seed, rng.randbytes(70_000))
            self.pair.host.write(target, len(data) - 512, rng.randbytes(512))

    def export(self) -> Seed:
        medium = SeedMedium(self.medium, "vm", quiet, part_bytes=PART)
        return export(self.pair.source, self.pair.source._ports, medium, self.pair.link.head(ITEM), witness=False)

    def take_in(self) -> Point:
        return seeding.take_in(self.pair.link.store, self.medium, ITEM, quiet)

    def refused(self, kind: type[DrillError] | tuple[type[DrillError], ...], match: str | None = None) -> None:
        """The import is refused, and not a file of the store is other than before."""
        before = dict(self.pair.target_files.content) if isinstance(self.pair.target_files, MemoryFiles) else {}
        with pytest.raises(kind, match=match):
            self.take_in()
        assert isinstance(self.pair.target_files, MemoryFiles)
        assert self.pair.target_files.content == before
        assert self.pair.points() == ()


@pytest.fixture
def carried() -> Carried:
    return Carried()


def test_cycles_go_on_from_what_was_carried(carried: Carried, tmp_path: Path) -> None:
    seed = carried.export()
    carried.pair.host.write("vda", 4096, b"written while the medium was on its way")
    assert len(seed.parts) > 2
    point = carried.take_in()
    assert (point.epoch, point.sequence, point.log_digest) == (seed.epoch, 1, seed.log_digest)
    following = carried.pair.cycle()
    assert (following.sequence, following.full) == (2, False)
    assert following.sent_bytes < seed.size_bytes
    assert carried.pair.source.journal.seeding is None
    assert carried.pair.wrong_points(tmp_path) == []


def test_nothing_is_sent_and_the_checkpoint_stays_until_it_has_arrived(carried: Carried) -> None:
    carried.export()
    carried.pair.restart_source()
    (exported,) = [one.name for one in carried.pair.host.chain]
    for _ in range(2):
        with pytest.raises(Refused, match="not imported yet") as found:
            carried.pair.cycle()
        assert (found.value.rule, "drill seed import" in found.value.remedy) == ("H2", True)
    assert [one.name for one in carried.pair.host.chain] == [exported]
    assert carried.pair.link.logs == []
    assert carried.pair.points() == ()


def test_nothing_is_sent_while_the_export_is_awaited(carried: Carried) -> None:
    carried.pair.source.save(replace(carried.pair.source.journal, seeding=Seeding(written=False)))
    with pytest.raises(Refused, match="to be exported"):
        carried.pair.cycle()
    carried.export()
    carried.take_in()
    assert carried.pair.cycle().sequence == 2


def test_an_export_to_the_same_medium_again_is_the_same(carried: Carried) -> None:
    first = carried.export()
    content = dict(carried.medium.content)
    assert carried.export() == first
    assert carried.medium.content == content


def test_a_complete_seed_is_never_written_over(carried: Carried) -> None:
    carried.export()
    carried.pair.source.save(Journal(order=carried.pair.source.journal.order))
    with pytest.raises(Refused, match="has a seed"):
        carried.export()


def test_an_export_is_refused_where_cycles_go_already(carried: Carried) -> None:
    carried.pair.cycle()
    with pytest.raises(Refused, match="changes go by cycles"):
        carried.export()


def test_a_seed_supersedes_the_head_that_the_receiver_had(carried: Carried, tmp_path: Path) -> None:
    carried.pair.cycle()
    carried.pair.source.save(Journal(order=carried.pair.source.journal.order))
    seed = carried.export()
    with pytest.raises(Refused, match="not imported yet"):
        carried.pair.cycle()
    assert carried.take_in().epoch == seed.epoch
    assert carried.pair.cycle().sequence == 2
    assert [found.point.sequence for found in carried.pair.points()] == [1, 1, 2]
    assert carried.pair.wrong_points(tmp_path) == []


def test_a_seed_of_another_epoch_is_refused_and_copied_anew(carried: Carried) -> None:
    """The receiver got other points meanwhile: the seed does not follow them, and the source takes no part in it."""
    carried.export()
    rival = Pair(dict(DISKS))
    rival.link.store = carried.pair.link.store
    rival._nonces = 50
    theirs = rival.cycle()
    with pytest.raises(Refused, match="expected epoch"):
        carried.take_in()
    assert [found.point for found in carried.pair.points()] == [theirs]
    assert carried.pair.cycle().sequence == 1


def test_an_import_again_gives_the_same_point_whatever_followed(carried: Carried) -> None:
    carried.export()
    first = carried.take_in()
    assert carried.take_in() == first
    carried.pair.cycle()
    assert carried.take_in() == first
    assert len(carried.pair.points()) == 2


def test_every_altered_byte_of_a_medium_is_found_before_anything_is_written(carried: Carried) -> None:
    carried.export()
    for data in carried.medium.content.values():
        for place in {0, len(data) // 2, len(data) - 1, *range(0, len(data), 20_011)}:
            data[place] ^= 1
            carried.refused((Damaged, BadInput, Refused))
            data[place] ^= 1
        last = data.pop()
        carried.refused((Damaged, BadInput))
        data.append(last)
    carried.take_in()


def test_a_lost_or_added_part_is_found(carried: Carried) -> None:
    seed = carried.export()
    for name in (seed.parts[0].name, seed.parts[-1].name):
        kept = carried.medium.inodes.pop(f"{ITEM}/{name}")
        carried.refused(BadInput, "missing or too many")
        carried.medium.inodes[f"{ITEM}/{name}"] = kept
    carried.medium.write(f"{ITEM}/part-9999", 0, b"x")
    carried.refused(BadInput, "missing or too many")
    carried.medium.write(f"{ITEM}/another", 0, b"x")
    carried.refused(BadInput, "missing or too many: 'another, part-9999'")


def test_a_medium_without_a_complete_seed_is_refused(carried: Carried) -> None:
    carried.refused(BadInput, "no complete one")
    carried.export()
    carried.medium.remove(f"{ITEM}/{NAME}")
    carried.refused(BadInput, "no complete one")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(lambda seed: replace(seed, item="another"), "one of item", id="of another item"),
        pytest.param(lambda seed: replace(seed, epoch="epoch9"), "its log is", id="of another epoch"),
        pytest.param(lambda seed: replace(seed, epoch="../x"), "epoch", id="with a path for an epoch"),
        pytest.param(lambda seed: replace(seed, sequence=2), "its log is", id="of another sequence"),
        pytest.param(lambda seed: replace(seed, log_digest="0" * 64), "another one", id="of another log"),
        pytest.param(lambda seed: replace(seed, parts=()), "not named as parts", id="of no parts"),
    ],
)
def test_a_seed_that_tells_of_something_else_is_refused(
    carried: Carried, change: Callable[[Seed], Seed], match: str
) -> None:
    seed = carried.export()
    sealed.write(carried.medium, f"{ITEM}/{NAME}", KIND, Seed, change(seed), generation=1)
    carried.refused((BadInput, Damaged), match)


def test_what_stands_after_the_end_of_a_log_is_refused(carried: Carried) -> None:
    seed = carried.export()
    path = f"{ITEM}/{seed.parts[-1].name}"
    carried.medium.write(path, seed.parts[-1].size_bytes, b"more")
    data = bytes(carried.medium.read(path))
    last = replace(seed.parts[-1], size_bytes=len(data), digest=blake3(data).hexdigest())
    changed = replace(seed, parts=(*seed.parts[:-1], last))
    sealed.write(carried.medium, f"{ITEM}/{NAME}", KIND, Seed, changed, generation=1)
    carried.refused(BadInput, "after the end")


class Ended(Exception):
    """A process that ends here and now."""


def counted(limit: int) -> Callable[[str, str], None]:
    left = [limit]

    def ask(operation: str, path: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Ended

    return ask


def test_an_export_that_ends_anywhere_is_no_seed_and_can_be_repeated(tmp_path: Path) -> None:
    nth, done = 0, False
    while not done:
        carried = Carried()
        carried.medium.fail = counted(nth)
        try:
            carried.export()
            done = True
        except Ended:
            carried.medium.fail = lambda operation, path: None
            carried.medium.lose_power(names_survive=nth % 2 == 0, data_survives=nth % 3 == 0)
            carried.pair.host.job = None
            carried.pair.restart_source()
            complete = f"{ITEM}/{NAME}" in carried.medium.content
            if not complete:
                carried.refused(BadInput)
            carried.export()
        carried.medium.fail = lambda operation, path: None
        carried.write(2)
        carried.take_in()
        carried.pair.cycle()
        assert len(carried.pair.points()) == 2
        nth += 1
    assert nth > 10
    assert carried.pair.wrong_points(tmp_path) == []


def test_an_import_that_ends_anywhere_is_no_point_or_the_point(tmp_path: Path) -> None:
    nth, done = 0, False
    while not done:
        carried = Carried()
        carried.export()
        files = carried.pair.target_files
        assert isinstance(files, MemoryFiles)
        files.fail = counted(nth)
        try:
            carried.take_in()
            done = True
        except Ended:
            files.fail = lambda operation, path: None
            files.lose_power(names_survive=nth % 2 == 0, data_survives=nth % 3 == 0)
            carried.pair.restart_receiver()
        files.fail = lambda operation, path: None
        assert len(carried.pair.points()) <= 1
        carried.take_in()
        assert len(carried.pair.points()) == 1
        nth += 1
    assert nth > 8
    carried.pair.cycle()
    assert carried.pair.wrong_points(tmp_path) == []


def test_a_full_medium_is_said_and_the_next_one_serves(carried: Carried) -> None:
    full = OSError(errno.ENOSPC, "no space left on device")

    def ask(operation: str, path: str) -> None:
        if path.endswith("part-0001"):
            raise full

    carried.medium.fail = ask
    with pytest.raises(Failed, match="no space left"):
        carried.export()
    carried.medium = MemoryFiles()
    carried.export()
    assert carried.take_in().sequence == 1


def test_a_medium_that_cannot_be_read_is_a_failure_and_no_point(carried: Carried) -> None:
    seed = carried.export()
    gone = carried.medium.inodes

    def progress(done: int, total: int) -> None:
        gone.pop(f"{ITEM}/{seed.parts[-1].name}", None)

    with pytest.raises(Failed, match="reading the seed"):
        seeding.take_in(carried.pair.link.store, carried.medium, ITEM, progress)
    assert carried.pair.points() == ()


def test_a_seed_that_changes_between_looking_and_taking_is_found(carried: Carried) -> None:
    seed = carried.export()
    data = carried.medium.inodes[f"{ITEM}/{seed.parts[-1].name}"].data

    def progress(done: int, total: int) -> None:
        if done == total // 2:
            data[40] ^= 1

    with pytest.raises((Damaged, BadInput)):
        seeding.take_in(carried.pair.link.store, carried.medium, ITEM, progress)
    assert carried.pair.points() == ()


def test_both_tell_how_far_they_are(carried: Carried) -> None:
    told: list[tuple[int, int]] = []
    medium = SeedMedium(carried.medium, "vm", lambda *two: told.append(two))
    seed = export(carried.pair.source, carried.pair.source._ports, medium, None, witness=True)
    assert told[-1] == (seed.size_bytes, 0)
    assert all(disk.witness for disk in seed.disks)
    told.clear()
    seeding.take_in(carried.pair.link.store, carried.medium, ITEM, lambda *two: told.append(two))
    assert told[-1] == (2 * seed.size_bytes, 2 * seed.size_bytes)
    assert told == sorted(told)


def test_a_location_that_cannot_be_written_or_lies_is_refused_before_anything_is_copied() -> None:
    class Lying(MemoryFiles):
        def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
            return b"something else"

    files = MemoryFiles()
    seeding.probe(files, "one")
    assert files.content == {}
    with pytest.raises(Failed, match="something else"):
        seeding.probe(Lying(), "one")
    for operation in ("write", "sync", "remove"):

        def ask(asked: str, path: str, planted: str = operation) -> None:
            if asked == planted:
                raise OSError(errno.EROFS, "read-only file system")

        files = MemoryFiles()
        files.fail = ask
        with pytest.raises(Failed, match="read-only") as found:
            seeding.probe(files, "one")
        assert "full rights" in found.value.remedy


def test_an_export_is_of_the_orders_term(carried: Carried) -> None:
    journal = carried.pair.source.journal
    carried.pair.source.save(replace(journal, order=replace(journal.order, term=3)))
    carried.export()
    assert seeding.take_in(carried.pair.link.store, carried.medium, ITEM, quiet, term=3).term == 3


def test_a_seed_of_a_term_that_is_over_is_refused(carried: Carried) -> None:
    carried.export()
    with pytest.raises(Refused, match="term") as found:
        seeding.take_in(carried.pair.link.store, carried.medium, ITEM, quiet, term=2)
    assert found.value.rule == "I29"
    assert carried.pair.points() == ()


def test_a_seed_given_up_is_copied_over_the_network(carried: Carried) -> None:
    carried.export()
    journal = carried.pair.source.journal
    carried.pair.source.save(replace(journal, seeding=None, pending=None))
    assert carried.pair.cycle().sequence == 1
    with suppress(DrillError):
        carried.take_in()
    assert len(carried.pair.points()) == 1


def test_an_image_that_was_closed_while_an_export_began_is_no_seed(carried: Carried) -> None:
    carried.pair.host.fail = lambda operation: carried.pair.host.restart() if operation == "begun" else None
    with pytest.raises(Failed, match="closed while it began"):
        carried.export()
    carried.pair.host.fail = lambda operation: None
    assert (carried.pair.host.job, carried.medium.content) == (None, {})
    carried.export()
    assert carried.take_in().sequence == 1


def test_a_seed_that_was_written_twice_is_none_of_ours(carried: Carried) -> None:
    seed = carried.export()
    sealed.write(carried.medium, f"{ITEM}/{NAME}", KIND, Seed, seed, generation=2)
    carried.refused(Damaged, "written once")


def test_a_medium_that_fails_at_the_first_look_is_a_failure(carried: Carried) -> None:
    class Gone(MemoryFiles):
        def size(self, path: str) -> int | None:
            raise OSError(errno.EIO, "input/output error", path)

    carried.export()
    carried.medium = Gone()
    carried.refused(Failed, "reading the seed")


def test_a_part_that_became_shorter_after_the_look_is_found(carried: Carried) -> None:
    seed = carried.export()
    medium = carried.medium

    def progress(done: int, total: int) -> None:
        if len(medium.inodes[f"{ITEM}/{seed.parts[1].name}"].data) == PART:
            medium.truncate(f"{ITEM}/{seed.parts[1].name}", PART - 100)

    with pytest.raises(Damaged, match="ends too early"):
        seeding.take_in(carried.pair.link.store, medium, ITEM, progress)
    assert carried.pair.points() == ()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_log_that_fills_its_parts_exactly_leaves_no_empty_one(
    parts: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where it is written in many small pieces."""
    size = Carried().export().size_bytes
    monkeypatch.setattr(seeding, "_BUFFER_BYTES", 4096)
    carried = Carried()
    medium = SeedMedium(carried.medium, "vm", quiet, part_bytes=-(-size // parts))
    seed = export(carried.pair.source, carried.pair.source._ports, medium, None, witness=False)
    assert (len(seed.parts), seed.size_bytes) == (parts, size)
    assert carried.take_in().log_digest == seed.log_digest
    assert carried.pair.wrong_points(tmp_path) == []
