"""Page digests: what they say of a disk, staged and committed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drill.errors import Damaged
from drill.model.extent import Extent, ExtentKind
from drill.replication import pages
from drill.replication.digests import PageDigests, Staging, without_known_zeros
from drill.replication.frame import Frame, Piece
from tests.contract.memory_files import MemoryFiles

D, Z = ExtentKind.DATA, ExtentKind.ZERO
PAGE = 4096
CHUNK = 4096 * PAGE
SIZE = 2 * CHUNK + 5 * PAGE + 512


def frame(offset: int, content: bytes) -> Frame:
    return Frame(0, (Piece(Extent(offset, len(content), D), memoryview(content), pages.leaves(memoryview(content))),))


def zeros(offset: int, length: int) -> Frame:
    return Frame(0, (Piece(Extent(offset, length, Z), memoryview(b""), b""),))


def whole(disk: bytes) -> str:
    """The root of a disk, computed from nothing else."""
    table = pages.leaves(memoryview(disk))
    step = pages.CHUNK_TABLE_BYTES
    chunks = [pages.chunk_digest(table[at : at + step]) for at in range(0, len(table), step)]
    return pages.root(len(disk), b"".join(chunks))


def new() -> tuple[MemoryFiles, PageDigests]:
    files = MemoryFiles()
    files.make_folder("d")
    return files, PageDigests(files, "d/vda")


def test_the_leaf_of_a_page_of_zeros_is_nothing() -> None:
    assert pages.leaves(memoryview(bytes(PAGE * 2 + 512))) == bytes(48)
    assert pages.leaves(memoryview(bytes(PAGE) + b"x")).count(bytes(16)) == 1


def test_the_size_is_part_of_the_root() -> None:
    assert pages.root(PAGE, bytes(32)) != pages.root(2 * PAGE, bytes(32))


changes = st.lists(
    st.lists(
        st.tuples(st.integers(0, SIZE // PAGE), st.sampled_from([1, 2, 40, 4096, 5000]), st.sampled_from("xyz0")),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=4,
)


@given(changes)
@settings(max_examples=10, deadline=None)
def test_the_root_after_any_cycles_is_that_of_the_whole_disk(cycles: list[list[tuple[int, int, str]]]) -> None:
    files, digests = new()
    disk = bytearray(SIZE)
    for number, cycle in enumerate(cycles):
        staging = Staging(files, digests, f"c{number}", SIZE, fresh=False)
        at = 0
        for page, count, letter in sorted(cycle):
            start, end = max(page * PAGE, at), min((page + count) * PAGE, SIZE)
            if start >= end:
                continue
            at = end
            content = bytes(end - start) if letter == "0" else letter.encode() * (end - start)
            disk[start:end] = content
            staging.add(zeros(start, end - start) if letter == "0" else frame(start, content))
        promised = staging.finish()
        assert promised == whole(bytes(disk))
        digests.commit(f"c{number}", SIZE, promised)
    assert digests.root(SIZE) == whole(bytes(disk))


def test_a_full_copy_starts_from_zeros_whatever_was_there() -> None:
    files, digests = new()
    for tag, fresh, content in (("a", False, b"x" * PAGE), ("b", True, b"y" * PAGE)):
        staging = Staging(files, digests, tag, SIZE, fresh=fresh)
        staging.add(frame(PAGE if tag == "a" else 3 * PAGE, content))
        digests.commit(tag, SIZE, staging.finish())
    assert digests.root(SIZE) == whole(bytes(3 * PAGE) + b"y" * PAGE + bytes(SIZE - 4 * PAGE))


def test_what_is_staged_has_no_effect_before_it_is_committed() -> None:
    files, digests = new()
    before = digests.root(SIZE)
    staging = Staging(files, digests, "a", SIZE, fresh=False)
    staging.add(frame(0, b"x" * PAGE))
    assert staging.finish() != before
    assert digests.root(SIZE) == before
    staging.discard()
    assert files.list("d") == ()


def test_committing_twice_is_committing_once() -> None:
    files, digests = new()
    staging = Staging(files, digests, "a", SIZE, fresh=False)
    staging.add(frame(CHUNK - PAGE, b"x" * 2 * PAGE))
    promised = staging.finish()
    staged = {path: bytes(data) for path, data in files.content.items()}
    digests.commit("a", SIZE, promised)
    for path, data in staged.items():
        files.write(path, 0, data)
    digests.commit("a", SIZE, promised)
    digests.commit("a", SIZE, promised)
    assert digests.root(SIZE) == promised


def test_a_cycle_that_changes_nothing_writes_nothing() -> None:
    files, digests = new()
    assert Staging(files, digests, "a", SIZE, fresh=False).finish() == digests.root(SIZE)
    assert files.list("d") == ()


def test_a_table_that_is_not_what_was_acknowledged_is_damaged() -> None:
    files, digests = new()
    staging = Staging(files, digests, "a", SIZE, fresh=False)
    staging.add(frame(0, b"x" * PAGE))
    promised = staging.finish()
    digests.commit("a", SIZE, promised)
    files.write("d/vda.chunks", 3, b"\x77")
    with pytest.raises(Damaged):
        digests.commit("a", SIZE, promised)


def test_staged_digests_that_end_early_are_damaged() -> None:
    files, digests = new()
    staging = Staging(files, digests, "a", SIZE, fresh=False)
    staging.add(frame(0, b"x" * PAGE))
    promised = staging.finish()
    path = digests.staged_path("a")
    files.truncate(path, (files.size(path) or 0) - 1)
    with pytest.raises(Damaged):
        digests.commit("a", SIZE, promised)


def test_staged_digests_of_which_a_power_failure_left_nothing_are_damaged() -> None:
    files, digests = new()
    files.write(digests.staged_path("t"), 0, b"DRILL")
    with pytest.raises(Damaged, match="too early"):
        digests.commit("t", PAGE, "0" * 64)


def test_leaves_that_are_not_their_chunks_are_damaged_when_a_cycle_would_trim_by_them() -> None:
    files, digests = new()
    staging = Staging(files, digests, "t", PAGE * 4, fresh=True)
    staging.add(frame(0, b"x" * PAGE * 4))
    digests.commit("t", PAGE * 4, staging.finish())
    assert digests.leaves(PAGE, PAGE) == pages.leaves(memoryview(b"x" * PAGE))
    files.write("d/vda.leaves", 16, bytes(16))
    with pytest.raises(Damaged, match="chunk 0"):
        PageDigests(files, "d/vda").leaves(PAGE, PAGE)


def test_a_file_that_is_no_list_of_staged_digests_is_damaged() -> None:
    files, digests = new()
    files.write(digests.staged_path("t"), 0, b"something else altogether")
    with pytest.raises(Damaged, match="not a list"):
        digests.commit("t", PAGE, "0" * 64)


def test_a_chunk_that_becomes_zeros_is_as_if_it_had_never_been_written() -> None:
    _, digests = new()
    before = digests.root(SIZE)
    for tag, change in (("a", frame(CHUNK - PAGE, b"x" * 2 * PAGE)), ("b", zeros(0, 2 * CHUNK))):
        staging = Staging(digests._files, digests, tag, SIZE, fresh=False)
        staging.add(change)
        digests.commit(tag, SIZE, staging.finish())
    assert digests.root(SIZE) == before


def test_more_changes_than_are_held_in_memory_are_staged_as_they_came() -> None:
    files, digests = new()
    count = 40 * 4096
    leaves = bytes(range(256)) * (count * 16 // 256)
    staging = Staging(files, digests, "a", count * PAGE, fresh=False)
    for first in range(0, count, 256):  # what a frame holds
        part = leaves[first * 16 : (first + 256) * 16]
        staging.add(Frame(0, (Piece(Extent(first * PAGE, 256 * PAGE, D), memoryview(b""), part),)))
    assert files.size(digests.staged_path("a")), "some of it is written before the end"
    digests.commit("a", count * PAGE, staging.finish())
    assert digests.leaves(0, count * PAGE) == leaves


def test_of_a_hole_only_the_pages_that_held_data_are_left() -> None:
    _, digests = new()
    staging = Staging(digests._files, digests, "a", SIZE, fresh=False)
    for at in (PAGE, 2 * PAGE, SIZE - 512):
        staging.add(frame(at, b"x" * min(PAGE, SIZE - at)))
    digests.commit("a", SIZE, staging.finish())
    kept = [Extent(0, PAGE, D), Extent(PAGE, SIZE - PAGE, Z)]
    assert list(without_known_zeros(kept, digests)) == [
        Extent(0, PAGE, D),
        Extent(PAGE, 2 * PAGE, Z),
        Extent(SIZE - 512, 512, Z),
    ]
