"""The words of every refusal that a test waits for: operators act on them, so a change of one is a change to look at.

Whatever the core or the engine raises within `pytest.raises` is compared with `said/FOLDER-MODULE.txt`, where it stands
beneath the test's name; what runs under other parameters shares the name.  `DRILL_SAID=write pytest FILE` writes a file
anew; read the diff.  A test that does not stand there is not compared, nor is one that runs only with `--long`
or whose examples Hypothesis draws.

Rules do not raise but return findings and sentences: `said/rules/` has those that functions of the core return while a
test of the modules `RULED` runs.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from drill.errors import DrillError
from drill.model.finding import Finding

SAID = Path(__file__).with_name("said")
FOLDERS = ("unit", "contract", "bad", "vault")
OURS = ("/drill/core/", "/drill/replication/")
_VARIES = re.compile(r"\b(?=\d*[a-f])[0-9a-f]{16,}\b|/tmp/\S*|\d{5,}|(?<=frame cannot be read: ).*")
"""Digests, places of this machine, sizes, and what a library says in its own words."""
_SENTENCE = re.compile(r"[A-Z]\d+: ")
RULED = frozenset(
    f"test_{name}"
    for name in (
        "addresses", "capacity", "cards", "mapping", "pairing", "placement", "plans", "policies", "prerequisites",
        "regions", "storing",
    )
)  # fmt: skip
_written: set[tuple[Path, str]] = set()


@pytest.fixture(autouse=True)
def words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compare what was refused in this test with what is known of it."""
    folder = request.path.parent.name
    if folder not in FOLDERS or request.node.get_closest_marker("long") or is_drawn(request):
        yield
        return
    caught: list[BaseException] = []
    raises = pytest.raises

    @contextmanager
    def noting(*expected: Any, **options: Any) -> Iterator[Any]:
        with raises(*expected, **options) as found:
            yield found
        caught.append(found.value)

    monkeypatch.setattr(pytest, "raises", noting)
    with sentences(is_wanted=request.path.stem in RULED) as told:
        yield
    compare(request, SAID / f"{folder}-{request.path.stem}.txt", {line for one in caught if (line := line_of(one))})
    compare(request, SAID / "rules" / f"{folder}-{request.path.stem}.txt", told)


def compare(request: pytest.FixtureRequest, path: Path, found: set[str]) -> None:
    """What a test said against what is known of it, or instead of that."""
    name = request.node.originalname
    if os.environ.get("DRILL_SAID") == "write":
        write(path, name, found)
    elif known := read(path).get(name):
        assert not found - known, f"other words; DRILL_SAID=write pytest {request.path} writes them anew, read the diff"


@contextmanager
def sentences(*, is_wanted: bool) -> Iterator[set[str]]:
    """Findings and sentences of rules that functions of the core return meanwhile."""
    found: set[str] = set()

    def look(frame: FrameType, event: str, value: object) -> None:
        if event == "return" and value is not None and OURS[0] in frame.f_code.co_filename:
            found.update(_VARIES.sub("…", line) for line in sentences_in(value))

    if is_wanted:
        sys.setprofile(look)
    try:
        yield found
    finally:
        if is_wanted:
            sys.setprofile(None)


def sentences_in(value: object) -> Iterator[str]:
    """The findings in a value, and texts that begin with the id of a rule."""
    if isinstance(value, Finding):
        advice = "" if value.refuses else " | advice"
        yield f"{value.rule} | {value.kind} {value.name} | {value.problem} | {value.remedy}{advice}"
    elif isinstance(value, str):
        yield from [value] if _SENTENCE.match(value) else []
    elif isinstance(value, tuple | list):
        for one in value:
            yield from sentences_in(one)
    elif isinstance(rule := getattr(value, "rule", None), str):
        yield rule


def is_drawn(request: pytest.FixtureRequest) -> bool:
    """Whether Hypothesis draws the examples: they are others each time."""
    return getattr(request.function, "is_hypothesis_test", False) is True


def line_of(error: BaseException) -> str:
    """What an error says, and to do, where the core or the engine raised it; else empty."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None or not any(part in at.tb_frame.f_code.co_filename for part in OURS):
        return ""
    parts = [type(error).__name__, getattr(error, "rule", ""), str(error)]
    parts += [error.remedy] if isinstance(error, DrillError) else []
    return _VARIES.sub("…", " | ".join(part for part in parts if part)).replace("\n", " ")


@functools.cache
def read(path: Path) -> dict[str, set[str]]:
    """What a file says: lines by the name of the test."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.startswith("  "):
            found[name].add(line[2:])
        else:
            name = line
    return found


def write(path: Path, name: str, lines: set[str]) -> None:
    """Put lines into the file, for what a test said before where they are its first."""
    known = dict(read(path))
    before = known.get(name, set()) if (path, name) in _written else set()
    _written.add((path, name))
    known[name] = before | lines
    read.cache_clear()
    rows = (f"{one}\n" + "".join(f"  {line}\n" for line in sorted(known[one])) for one in sorted(known) if known[one])
    if text := "".join(rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
