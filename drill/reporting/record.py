"""The run record: facts in a file, each line chained to the one before (docs/formats.md § run.jsonl).

    {"data": {…}, "fact": "RunStarted", "hash": H1, "n": 1, "previous": H0}
    {"data": {…}, "fact": "HostSeen",   "hash": H2, "n": 2, "previous": H1}

The chain is that of `drill.core.chain`.  A record that was cut at its end shows in the facts: it has no `RunEnded`, and
its verdict is *unknown*.

Unknown facts, unknown fields and JSON beyond the caps of `canonical` are refused.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from drill.core import chain
from drill.core.canonical import canonical, parse
from drill.errors import BadInput, Damaged, Failed, Refused, Usage
from drill.model.fact import FACTS, Fact, RunEnded

FILE: Final = "run.jsonl"
GENESIS: Final = chain.genesis("drill run record, version 1")
FILE_BYTES_MAX: Final = 256 * 2**20
_LINE: Final = frozenset({"fact", "data"})

_LOG = logging.getLogger(__name__)
_ADAPTERS: Final[dict[str, TypeAdapter[Fact]]] = {name: TypeAdapter(kind) for name, kind in FACTS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a run file holds: `last_hash` is the head of the chain, `torn_bytes` the length of a torn last line."""

    facts: tuple[Fact, ...]
    last_hash: str
    torn_bytes: int


def runs_folder() -> Path:
    """Where runs are kept, as an absolute path: `DRILL_REPORTS_DIR`, or `reports/out` under the current folder."""
    return Path(os.environ.get("DRILL_REPORTS_DIR") or Path("reports", "out")).absolute()


def find(run: str) -> Path:
    """The run file that `run` means: a run file, a folder that holds one, or a run's id; Usage when there is none."""
    candidates = [Path(run), Path(run, FILE)]
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run):
        candidates.append(runs_folder() / run / FILE)
    for candidate in candidates:
        with suppress(OSError):  # a name that is too long is the name of no file
            if candidate.is_file():
                return candidate
    raise Usage(f"there is no run {run[:200]!r} in {runs_folder()}", "give a run's id, its folder or its run.jsonl")


def read(path: Path) -> tuple[Fact, ...]:
    """All facts of a whole record, in their order; Damaged or BadInput name the line, a torn last line is Damaged."""
    record = load(path)
    if record.torn_bytes:
        raise Damaged(str(path), f"its last line is torn after {record.torn_bytes} bytes")
    return record.facts


def load(path: Path) -> Record:
    """A record that may have been cut short while its last line was written, and only there.

    Raises Damaged where the chain does not hold, BadInput where a line is no fact; both name the line.
    """
    content = _content(path)
    whole, newline, torn = content.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    facts: list[Fact] = []
    last_hash = GENESIS
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        fact, last_hash = _decode(line, number, last_hash, where)
        facts.append(fact)
    if torn and facts and isinstance(facts[-1], RunEnded):
        raise Damaged(str(path), f"{len(torn)} bytes follow the end of the run")
    return Record(facts=tuple(facts), last_hash=last_hash, torn_bytes=len(torn))


def encode(fact: Fact, number: int, previous: str) -> tuple[bytes, str]:
    """The line of a fact (with its newline) and its hash; BadInput for a fact that could not be read back."""
    name = type(fact).__name__
    where = f"fact {number}, {name}"
    if FACTS.get(name) is not type(fact):
        raise BadInput(where, "not a fact of this version")
    data = asdict(_typed(name, canonical(_whole_text(asdict(fact)), where), where))
    line, digest = chain.sealed({"fact": name, "data": data}, number, previous, where)
    return line + b"\n", digest


class RunWriter:
    """Appends facts to `run.jsonl` in a folder; a fact is on the disk when `append` returns.

    Opening an existing file continues its chain: `record` is what it held, and a torn last line is cut off (said in
    the log and in `record.torn_bytes`).  One writer at a time: a second one is Refused.  After a write that failed the
    writer is closed for good, as nobody knows what reached the disk; opening the folder again finds out.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            self.record = self._take_over()
        except BaseException:
            os.close(self._file)
            self._file = -1
            raise
        self._count = len(self.record.facts)
        self._last_hash = self.record.last_hash

    def append(self, *facts: Fact) -> None:
        """Write facts and make them durable together.  Failed when this writer is closed or the disk refuses."""
        with self._lock:
            if self._file < 0:
                raise Failed(f"writing {self.path}", "the record is closed")
            lines: list[bytes] = []
            count, last_hash = self._count, self._last_hash
            for fact in facts:
                count += 1
                line, last_hash = encode(fact, count, last_hash)
                lines.append(line)
            self._write(b"".join(lines))
            self._count, self._last_hash = count, last_hash

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        with self._lock:
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_over(self) -> Record:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{self.path} is being written by another process") from None
        record = load(self.path)
        if record.torn_bytes:
            _LOG.warning("run record: torn last line cut off, path=%s bytes=%d", self.path, record.torn_bytes)
            os.ftruncate(self._file, os.fstat(self._file).st_size - record.torn_bytes)
        os.fsync(self._file)
        _sync_folder(self.path.parent)
        return record

    def _write(self, content: bytes) -> None:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError as error:
            self._let_go()
            raise Failed(f"writing {self.path}", str(error), "make room and start the run again") from error

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _says(found: object, stated: object) -> bool:
    """Whether `found` has all that was stated; a record of an earlier version lacks fields that have a default."""
    if isinstance(found, dict) and isinstance(stated, dict):
        return stated.keys() <= found.keys() and all(_says(found[name], value) for name, value in stated.items())
    if isinstance(found, list) and isinstance(stated, list):
        return len(found) == len(stated) and all(_says(*pair) for pair in zip(found, stated, strict=True))
    return type(found) is type(stated) and found == stated


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise BadInput(str(path), f"longer than {FILE_BYTES_MAX} bytes")
    return content


def _decode(line: bytes, number: int, previous: str, where: str) -> tuple[Fact, str]:
    parsed, digest = chain.opened(line, _LINE, number, previous, where, "a run record")
    name = parsed["fact"]
    if not isinstance(name, str) or name not in FACTS:
        raise BadInput(where, f"unknown fact {str(name)[:80]!r}")
    data = canonical(parsed["data"], where)
    fact = _typed(name, data, where)
    if not _says(parse(canonical(asdict(fact), where), where), parsed["data"]):
        raise BadInput(where, f"{name} has fields that this version does not know")
    return fact, digest


def _typed(name: str, data: bytes, where: str) -> Fact:
    try:
        return _ADAPTERS[name].validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(where, f"{name}.{place}: {first['msg']}") from None


def _whole_text(value: object) -> object:
    """The same value with half characters (lone surrogates, which a guest's JSON may hold) spelled out as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(inner) for key, inner in value.items()}
    return [_whole_text(inner) for inner in value] if isinstance(value, list | tuple) else value


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
