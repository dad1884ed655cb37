"""Frames and cycle logs that a peer should not have sent (tests/bad/README.md).

wire      bytes that arrive on a connection
request   the arguments of an operation
log       a log offered to a receiver that has two points of the item: the header first, then the log
first     a log offered to a receiver that has nothing
rotten    a sound log, after a bit has flipped in a file that the receiver keeps
"""

from __future__ import annotations

import io
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from drill.errors import DrillError
from drill.host.files import LocalFiles
from drill.host.lanes import ThreadLanes
from drill.model.cycle import LogHeader
from drill.model.point import Point
from drill.ports import ReceiverAgent, SourceAgent
from drill.replication import cyclelog, plainjson
from drill.replication.store import Store
from drill.transport.frames import Wire
from drill.transport.operations import operations
from tests.bad import logs
from tests.bad.cases import Case, check_refused, parameters, read, tree
from tests.contract.pair import StillClock

ITEM = "3f0c9a52-0000-4000-8000-000000000001"
SIZES = {"vda": 64 * logs.PAGE, "vdb": 9 * logs.PAGE + 512}
MACHINE: dict[str, Any] = {"name": "vm", "uuid": ITEM, "memory_mib": 64, "vcpus": 1, "disks": [], "nics": []}
WHOLE = [{"disk": n, "extents": [[0, size, "data"]], "seed": n} for n, size in enumerate(SIZES.values())]


class Peer:
    """A receiver with its store, and the log that is to come next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = {target: bytearray(size) for target, size in SIZES.items()}
        self.sent: list[tuple[dict[str, Any], bytes]] = []
        self.parent = ""
        self.start()

    def start(self) -> None:
        """The receiver's process starts anew."""
        self.store = Store(LocalFiles(self.folder), StillClock(), ThreadLanes(2, 6))

    def advance(self) -> None:
        """One more point."""
        header = self.header()
        recipe = {"frames": WHOLE if header["sequence"] == 1 else [{"extents": [[0, 8192, "data"]], "seed": 7}]}
        log = logs.made(recipe, header, self.content)
        self.parent = self.offer(header, log).log_digest
        self.sent.append((header, log))

    def copied(self, folder: Path) -> Peer:
        """Another one that has come as far."""
        shutil.copytree(self.folder, folder)
        found = Peer(folder)
        found.content = {target: bytearray(data) for target, data in self.content.items()}
        found.sent, found.parent = list(self.sent), self.parent
        return found

    def header(self) -> dict[str, Any]:
        """The next log's."""
        sequence = len(self.sent) + 1
        disks = [{"target": t, "size_bytes": size, "full": sequence == 1} for t, size in SIZES.items()]
        return {
            "item": ITEM,
            "epoch": "epoch1",
            "sequence": sequence,
            "parent_digest": self.parent,
            "supersedes": "",
            "begun_us": sequence,
            "taken_us": sequence,
            "application_consistent": False,
            "machine": MACHINE,
            "disks": disks,
        }

    def offer(self, header: dict[str, Any] | bytes, log: bytes) -> Point:
        """As the receiver role takes it: the header alone, then the log."""
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        asked = plainjson.decode(LogHeader, text, where="cycle log header")
        self.store.accept(asked)
        return self.store.receive(asked, io.BytesIO(log).read)

    def next(self, recipe: logs.Recipe) -> tuple[dict[str, Any] | bytes, bytes]:
        """What a recipe describes: the header that is offered, and the log."""
        if "replay" in recipe:
            return self.sent[int(recipe["replay"]) - 1]
        text, whole = recipe.get("header_text"), {"frames": WHOLE} if not self.sent else {}
        header = {**self.header(), **recipe.get("header", {})} if text is None else logs.text_of(text)
        content = {target: bytearray(data) for target, data in self.content.items()}
        return header, logs.made({**whole, **recipe}, self.header(), content)


@pytest.fixture(scope="module")
def two_points(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Two points, and nothing left to settle: a log that broke off has come after them."""
    peer = Peer(tmp_path_factory.mktemp("sound") / "store")
    peer.advance()
    peer.advance()
    header, log = peer.next({})
    with pytest.raises(DrillError):
        peer.offer(header, log[:-1])
    return peer


Way = tuple[Callable[[], object], Callable[[], object]]
"""What is done with the input, and how the state is looked at."""


def offered(case: Case, folder: Path, sound: Peer) -> Way:
    peer = Peer(folder) if case.through == "first" else sound.copied(folder)
    recipe = dict(case.recipe)
    if case.through == "rotten":
        path, bit = cast("tuple[str, int]", recipe.pop("flip"))
        flip_bit(next(folder.rglob(path)), bit)
        peer.start()
    header, log = peer.next(recipe)
    return lambda: peer.offer(header, log), lambda: tree(folder)


def flip_bit(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def received(case: Case, folder: Path, sound: Peer) -> Way:
    """Bytes on a connection whose other end is closed after them."""

    def act() -> object:
        ours, theirs = socket.socketpair()
        data = bytes.fromhex(str(case.recipe["hex"]))
        with ours, theirs:
            ours.settimeout(20)
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            return Wire(ours).receive()

    return act, lambda: None


def asked(case: Case, folder: Path, sound: Peer) -> Way:
    """The arguments of an operation of an agent."""
    known = operations(SourceAgent, ReceiverAgent)[str(case.recipe["operation"])]
    text = logs.text_of(cast("str", case.recipe["arguments"]))
    return lambda: known.decode_arguments(text), lambda: None


WAYS = {"wire": received, "request": asked, "log": offered, "first": offered, "rotten": offered}


@parameters("frames-and-logs")
def test_what_a_peer_should_not_send_is_refused(case: Case, tmp_path: Path, two_points: Peer) -> None:
    act, state = WAYS[case.through](case, tmp_path / "store", two_points)
    check_refused(case, act, state)


def test_a_sound_log_is_taken(tmp_path: Path, two_points: Peer) -> None:
    assert two_points.copied(tmp_path / "next").offer(*two_points.next({})).sequence == 3
    first = Peer(tmp_path / "first")
    assert first.offer(*first.next({})).sequence == 1


@pytest.fixture
def overlapping(tmp_path: Path, two_points: Peer) -> tuple[Case, Way]:
    case = next(case for case in read("frames-and-logs") if case.name == "extents-overlapping")
    return case, offered(case, tmp_path / "store", two_points)


def test_a_case_is_red_when_nothing_checks_it(overlapping: tuple[Case, Way], monkeypatch: pytest.MonkeyPatch) -> None:
    case, (act, state) = overlapping
    monkeypatch.setattr(cyclelog.Order, "check", lambda self, frame: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, act, state)


def test_a_case_is_red_when_refusing_takes_too_much_memory(overlapping: tuple[Case, Way]) -> None:
    case, (act, state) = overlapping

    def greedy() -> object:
        kept = bytearray(case.memory_mib << 20)
        act()
        return kept

    with pytest.raises(AssertionError, match="KiB"):
        check_refused(case, greedy, state)


def test_a_case_is_red_when_something_is_written(overlapping: tuple[Case, Way], tmp_path: Path) -> None:
    case, (act, state) = overlapping

    def careless() -> object:
        (tmp_path / "store" / "left").touch()
        return act()

    with pytest.raises(AssertionError, match="left"):
        check_refused(case, careless, state)
