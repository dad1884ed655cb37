"""The guest's ledger writer against the reader that judges it: what a crash leaves is mended, damage is left alone."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drill import data
from drill.model.ledger import RECORD_BYTES, Record, in_step, parse

WRITER = data.path("fixtures", "guests", "micro", "ledger")
SECONDS = 20.0
START_US = 1_795_208_894_471_167

if shutil.which("perl") is None:
    pytest.skip("perl is missing", allow_module_level=True)


def records(count: int) -> bytes:
    return b"".join(Record(sequence, START_US + sequence).encoded() for sequence in range(1, count + 1))


class Disks:
    """Two folders in place of two disks."""

    def __init__(self, root: Path) -> None:
        self.run, self.first, self.second = root / "run", root / "data", root / "data2"
        for folder in (self.run, self.first, self.second):
            folder.mkdir()

    def hold(self, first: bytes, second: bytes) -> None:
        (self.first / "ledger").write_bytes(first)
        (self.second / "ledger").write_bytes(second)

    def content(self) -> tuple[bytes, bytes]:
        """The second first: what is read later may only be longer."""
        second = (self.second / "ledger").read_bytes()
        return (self.first / "ledger").read_bytes(), second

    @contextmanager
    def writing(self) -> Iterator[subprocess.Popen[str]]:
        argv = ["perl", str(WRITER), str(self.run), str(self.first), str(self.second)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
            try:
                yield writer
            finally:
                writer.kill()

    def written_until(self, count: int) -> None:
        """Let the writer run until the second disk holds `count` records, then kill it."""
        with self.writing():
            soon(lambda: parse((self.second / "ledger").read_bytes()).count >= count)


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def soon(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if good():
                return
        except FileNotFoundError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_both_ledgers_are_whole_and_in_step_after_a_kill(disks: Disks) -> None:
    disks.written_until(3)
    first, second = map(parse, disks.content())
    assert (first.damage, second.damage) == (None, None)
    assert in_step(first, second)


def test_the_last_record_is_repeated_for_others(disks: Disks) -> None:
    disks.written_until(1)
    assert parse((disks.first / "ledger").read_bytes()).count >= 1
    assert len((disks.run / "ledger").read_bytes()) in {0, RECORD_BYTES}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(records(5), records(5), id="level"),
        pytest.param(records(5), records(4), id="the second one behind"),
        pytest.param(records(5) + records(6)[-RECORD_BYTES:-9], records(5), id="a torn record"),
        pytest.param(records(5) + bytes(20), records(5), id="a few zeros"),
        pytest.param(records(5) + bytes(RECORD_BYTES), records(5), id="a page that was not written"),
        pytest.param(records(5), records(4) + b"00000", id="behind and torn"),
        pytest.param(records(100), records(100), id="more than is looked back on"),
    ],
)
def test_it_goes_on_after_what_a_crash_leaves(disks: Disks, first: bytes, second: bytes) -> None:
    count = parse(first).count
    disks.hold(first, second)
    disks.written_until(count + 2)
    contents = disks.content()
    assert [content[: count * RECORD_BYTES] for content in contents] == [records(count)] * 2
    assert [parse(content).damage for content in contents] == [None, None]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param(
            records(5).replace(b"0000000004", b"0000000014"), records(5), "damaged after record 3", id="middle"
        ),
        pytest.param(records(5)[:-2] + b"0\n", records(5), "damaged after record 4", id="the last record"),
        pytest.param(records(5), records(3), "lock-step broken: 5 and 3", id="the second two behind"),
        pytest.param(records(5), records(6), "lock-step broken: 5 and 6", id="the second ahead"),
    ],
)
def test_what_no_crash_leaves_is_not_written_over(disks: Disks, first: bytes, second: bytes, words: str) -> None:
    disks.hold(first, second)
    with disks.writing() as writer:
        assert writer.stdout is not None
        assert words in writer.stdout.readline()
    assert disks.content() == (first, second)
