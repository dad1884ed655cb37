"""Bad inputs as files: one case, what it must be answered with, and how that is checked (README.md beside this)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from drill.errors import DrillError

HERE = Path(__file__).parent
GROUPS = {
    "tls-and-identity": 16,
    "frames-and-logs": 40,
    "images": 22,
    "agent-replies": 24,
    "archives": 18,
    "registration": 14,
    "yaml-and-plans": 26,
    "xml": 24,
    "names": 30,
}
"""How many cases a group has at least (guarantees § 6), for the groups that are files here."""
HASHED_BYTES_MAX = 256 << 20
MEMORY_MIB = 16
"""What refusing may take, where a case says nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file: `recipe` makes the input, `through` names the way it takes, the rest is the answer it must get."""

    group: str
    name: str
    what: str
    through: str
    recipe: Mapping[str, object]
    error: str
    exit_code: int
    text: str
    remedy: str
    memory_mib: int


def read(group: str) -> list[Case]:
    """The cases of a group, by name."""
    return [_case(group, file) for file in sorted((HERE / group).glob("*.json"))]


def parameters(group: str) -> pytest.MarkDecorator:
    """`@parameters("images")` runs a test once per case of the group."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in read(group)])


def check_refused(case: Case, act: Callable[[], object], state: Callable[[], object]) -> None:
    """`act` must raise what the case says, within its memory (as tracemalloc counts), and leave `state` as it was."""
    before = state()
    tracemalloc.start()
    try:
        with pytest.raises(DrillError) as found:
            act()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    error = found.value
    assert (error.id, error.exit_code) == (case.error, case.exit_code), str(error)
    assert case.text in str(error)
    assert case.remedy in error.remedy
    assert len(str(error)) < 2000
    assert peak < case.memory_mib << 20, f"{peak >> 10} KiB"
    after = state()
    assert after == before, f"the state has changed: {before} -> {after}"


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by path: what it is, and the digest of what it holds; empty folders are nothing.

    The first line of a state file counts its writings (docs/formats.md) and is left out: a manifest that is opened is
    written anew with the same content.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if path.lstat().st_size > HASHED_BYTES_MAX:
            shown = f"{path.lstat().st_size} bytes"
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
            if content.startswith(b"drill "):
                content = content.partition(b"\n")[2]
            shown = hashlib.sha256(content).hexdigest()
        else:
            shown = os.readlink(path) if stat.S_ISLNK(mode) else ""
        found[str(path.relative_to(folder))] = f"{stat.filemode(mode)} {shown}"
    return found


def _case(group: str, file: Path) -> Case:
    content = json.loads(file.read_text(encoding="utf-8"))
    expect = content.pop("expect")
    extra = content.keys() - {"what", "through", "recipe", "memory_mib"}
    assert not extra, f"{file}: {extra}"
    assert expect.keys() <= {"error", "exit_code", "text", "remedy"}, file
    assert expect["text"], f"{file}: an empty text is in every message"
    return Case(
        group=group,
        name=file.stem,
        what=content["what"],
        through=content["through"],
        recipe=content["recipe"],
        error=expect["error"],
        exit_code=expect["exit_code"],
        text=expect["text"],
        remedy=expect.get("remedy", ""),
        memory_mib=content.get("memory_mib", MEMORY_MIB),
    )
