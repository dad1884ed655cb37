"""What every Files port promises; the real one, the simulated one and the tests' own pass the same suite."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from drill.errors import BadInput, Refused
from drill.host.files import LocalFiles
from drill.ports import Files
from drill.sim.files import SimFiles
from drill.sim.process import Process
from tests.contract.memory_files import MemoryFiles


@pytest.fixture(params=["memory", "local", "simulated"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "simulated":
        return SimFiles(Process(lambda kind: None), random.Random(1))
    return MemoryFiles() if request.param == "memory" else LocalFiles(tmp_path / "root")


def test_what_was_written_is_read_back(files: Files) -> None:
    files.write("a", 3, b"xyz")
    assert files.read("a") == b"\0\0\0xyz"
    assert files.read("a", 4) == b"yz"
    assert files.read("a", 1, 3) == b"\0\0x"


def test_a_read_beyond_the_end_is_short(files: Files) -> None:
    files.write("a", 0, b"xyz")
    assert files.read("a", 2, 100) == b"z"
    assert files.read("a", 100, 1) == b""


def test_writing_in_the_middle_leaves_the_rest(files: Files) -> None:
    files.write("a", 0, b"abcdef")
    files.write("a", 2, memoryview(b"XY"))
    assert files.read("a") == b"abXYef"


def test_truncate_grows_with_zeros_and_shrinks(files: Files) -> None:
    files.write("a", 0, b"abc")
    files.truncate("a", 5)
    assert files.read("a") == b"abc\0\0"
    files.truncate("a", 1)
    assert (files.read("a"), files.size("a")) == (b"a", 1)


def test_punch_zeroes_a_range_and_keeps_the_size(files: Files) -> None:
    files.write("a", 0, b"x" * 10_000)
    files.punch("a", 5_000, 20_000)
    assert files.read("a") == b"x" * 5_000 + bytes(5_000)
    files.punch("a", 20_000, 5)
    assert files.size("a") == 10_000


def test_data_is_found_behind_a_hole_and_none_behind_the_last(files: Files) -> None:
    files.truncate("a", 1 << 20)
    assert files.next_data("a", 0) is None
    files.write("a", 300_000, b"x" * 5_000)
    found = files.next_data("a", 0)
    assert found is not None
    assert found <= 300_000
    assert files.read("a", 0, found) == bytes(found)
    assert files.next_data("a", 302_000) == 302_000
    assert files.next_data("a", 500_000) is None
    assert files.next_data("a", 2 << 20) is None
    files.punch("a", 0, 1 << 20)
    assert files.next_data("a", 0) is None


def test_replace_takes_the_place_of_another_file(files: Files) -> None:
    files.make_folder("f")
    files.write("f/new", 0, b"new")
    files.write("f/old", 0, b"older")
    files.replace("f/new", "f/old")
    files.sync("f/old")
    files.sync_folder("f")
    assert (files.list("f"), files.read("f/old")) == (("old",), b"new")


def test_folders_are_made_with_parents_listed_and_removed_when_empty(files: Files) -> None:
    files.make_folder("f/g")
    files.make_folder("f/g")
    files.write("f/g/b", 0, b"1")
    files.write("f/g/a", 0, b"1")
    assert (files.list(""), files.list("f"), files.list("f/g")) == (("f",), ("g",), ("a", "b"))
    with pytest.raises(OSError, match="not empty"):
        files.remove_folder("f/g")
    files.remove("f/g/a")
    files.remove("f/g/b")
    files.remove_folder("f/g")
    assert files.list("f") == ()


def test_what_is_missing_is_said_so(files: Files) -> None:
    assert files.size("a") is None
    assert files.size("f/a") is None
    for operation in (files.read, files.remove, files.sync, files.list, files.sync_folder):
        with pytest.raises(FileNotFoundError):
            operation("missing")
    with pytest.raises(FileNotFoundError):
        files.write("no-folder/a", 0, b"x")


def test_a_claim_is_refused_to_whoever_comes_second(files: Files) -> None:
    files.claim(".lock")
    with pytest.raises(Refused, match="another agent has"):
        files.claim(".lock")
    files.claim("another")


def test_a_claim_ends_with_the_process_that_was_killed(tmp_path: Path) -> None:
    held = (
        "from drill.host.files import LocalFiles; import sys; LocalFiles(sys.argv[1]).claim('.lock'); print(flush=True)"
    )
    files = LocalFiles(tmp_path / "root")
    with subprocess.Popen(
        [sys.executable, "-c", f"{held}; print(flush=True); sys.stdin.read()", str(tmp_path / "root")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"
            with pytest.raises(Refused, match="another agent has"):
                files.claim(".lock")
        finally:
            holder.kill()
            holder.wait(60)
    files.claim(".lock")


def test_a_simulated_claim_ends_with_its_process() -> None:
    files = SimFiles(Process(lambda kind: None), random.Random(1))
    files.claim(".lock")
    first, files.process = files.process, Process(lambda kind: None)
    with pytest.raises(Refused, match="another agent has"):
        files.claim(".lock")
    first.kill()
    files.claim(".lock")


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "a//b", "./a", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInput):
        LocalFiles(tmp_path / "root").write(path, 0, b"x")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    files = LocalFiles(tmp_path / "root")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        files.read("link")
    with pytest.raises(OSError, match="symbolic links"):
        files.write("link", 0, b"x")


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "root")
    files.write("a", 0, b"x")
    assert (tmp_path / "root" / "a").stat().st_mode & 0o777 == 0o600
