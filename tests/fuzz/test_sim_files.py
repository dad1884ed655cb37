"""What a power failure leaves in the simulated files: all that is legal, and nothing else."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from drill.sim.files import SimFiles
from drill.sim.process import Killed, Planned, Process, io_error, killed, no_space

TRIES = 300


def files(seed: int) -> SimFiles:
    return SimFiles(Process(lambda kind: None), random.Random(seed))


def left(prepare: Callable[[SimFiles], None]) -> set[bytes | None]:
    """Every content of `a` that some power failure leaves; None where it has no name any more."""
    found: set[bytes | None] = set()
    for seed in range(TRIES):
        made = files(seed)
        prepare(made)
        made.lose_power()
        found.add(made.read("a") if made.size("a") is not None else None)
    return found


def test_what_is_synced_with_its_name_is_always_there() -> None:
    def prepare(made: SimFiles) -> None:
        made.write("a", 0, b"x" * 1000)
        made.sync("a")
        made.sync_folder("")

    assert left(prepare) == {b"x" * 1000}


def test_a_name_that_was_not_synced_may_be_lost_and_a_content_that_was_not_may_be_torn() -> None:
    def prepare(made: SimFiles) -> None:
        made.write("a", 0, b"x" * 1024)

    found = left(prepare)
    assert {None, b"", b"x" * 1024} <= found
    assert bytes(512) + b"x" * 512 in found
    assert all(one is None or set(one) <= set(b"x\0") for one in found)


def test_pending_changes_of_a_durable_file_are_reordered() -> None:
    def prepare(made: SimFiles) -> None:
        made.write("a", 0, b"-" * 1024)
        made.sync("a")
        made.sync_folder("")
        made.write("a", 0, b"1" * 512)
        made.write("a", 512, b"2" * 512)

    assert {b"1" * 512 + b"-" * 512, b"-" * 512 + b"2" * 512, b"-" * 1024, b"1" * 512 + b"2" * 512} <= left(prepare)


def test_a_rename_happens_or_does_not_and_never_halves() -> None:
    def prepare(made: SimFiles) -> None:
        for name in ("a", "b"):
            made.write(name, 0, name.encode())
            made.sync(name)
        made.sync_folder("")
        made.replace("b", "a")

    assert left(prepare) == {b"a", b"b"}


def test_a_file_in_a_folder_whose_name_is_not_synced_goes_with_it() -> None:
    lost = 0
    for seed in range(TRIES):
        made = files(seed)
        made.make_folder("f")
        made.write("f/a", 0, b"x")
        made.sync("f/a")
        made.sync_folder("f")
        made.lose_power()
        lost += made.size("f/a") is None
    assert 0 < lost < TRIES


def test_a_failed_sync_of_a_file_is_final() -> None:
    """Everybody still reads what was written, a second sync says that all is well, and a power failure shows it."""
    found = set()
    for seed in range(TRIES):
        made = files(seed)
        made.write("a", 0, b"x")
        made.sync_folder("")
        made.process.plan(Planned("fault", 0, frozenset({"sync"}), io_error))
        with pytest.raises(OSError, match="injected"):
            made.sync("a")
        assert made.read("a") == b"x"
        made.sync("a")
        assert made.retried_syncs == 1
        made.lose_power()
        found.add(made.read("a"))
    assert {b"", b"x"} <= found


def test_writing_a_file_anew_after_a_failed_sync_is_no_retry() -> None:
    for seed in range(50):
        made = files(seed)
        made.write("a", 0, b"old")
        made.process.plan(Planned("fault", 0, frozenset({"sync"}), io_error))
        with pytest.raises(OSError, match="injected"):
            made.sync("a")
        made.truncate("a", 0)
        made.write("a", 0, b"new")
        made.sync("a")
        made.sync_folder("")
        made.lose_power()
        assert (made.read("a"), made.retried_syncs) == (b"new", 0)


def test_a_failed_sync_of_a_folder_leaves_the_file_system_read_only_until_it_is_mounted_again() -> None:
    made = files(1)
    made.write("a", 0, b"x")
    made.process.plan(Planned("fault", 0, frozenset({"sync_folder"}), io_error))
    with pytest.raises(OSError, match="injected"):
        made.sync_folder("")
    with pytest.raises(OSError, match="Read-only") as refused:
        made.write("b", 0, b"x")
    assert refused.value.errno == errno.EROFS
    made.lose_power()
    made.write("b", 0, b"x")


def test_a_killed_process_does_nothing_more_and_its_files_stay_as_they_are() -> None:
    made = files(3)
    made.write("a", 0, b"kept")
    made.process.plan(Planned("fault", 1, frozenset(), killed))
    made.write("a", 4, b"!")
    with pytest.raises(Killed):
        made.write("a", 5, b"x" * 2000)
    with pytest.raises(Killed):
        made.remove("a")
    made.process = Process(lambda kind: None)
    assert made.read("a").startswith(b"kept!")


def test_a_full_disk_takes_what_fits_and_room_can_be_made() -> None:
    made = files(1)
    made.room = 2
    with pytest.raises(OSError, match="no space left"):
        made.write("a", 0, b"x" * 4096 * 3)
    assert made.size("a") == 4096 * 2
    made.remove("a")
    made.write("b", 0, b"x" * 4096 * 2)
    assert made.times_full == 1


def test_an_injected_lack_of_room_strikes_at_its_operation_only() -> None:
    made = files(1)
    made.process.plan(Planned("fault", 1, frozenset({"write"}), no_space))
    made.write("a", 0, b"x")
    with pytest.raises(OSError, match="injected"):
        made.write("a", 1, b"y")
    made.write("a", 1, b"z")
    assert made.read("a") == b"xz"


def test_a_tree_that_is_put_back_is_the_old_one_and_the_copy_stays_as_it_is() -> None:
    made = files(1)
    made.make_folder("f")
    made.write("f/a", 0, b"old")
    copy = made.copied()
    for _ in range(2):
        made.write("f/a", 0, b"new")
        made.write("f/b", 0, b"new")
        made.put_back(copy)
        assert (set(made.paths()), made.read("f/a")) == ({"f/a"}, b"old")
