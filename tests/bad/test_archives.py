"""First copies on a medium that should not be imported (tests/bad/README.md): in whatever state it was handed over.

`recipe` starts from a sound seed of two disks in parts of 96 KiB:
seed      changes to what `seed.json` says      parts     {number: changes to that part}
text      `seed.json`'s JSON as it stands       head      [kind, generation] of its first line
log       a recipe of the log (logs.py)         append    hex after the log's end, told of rightly
files     {name: what it is}: "folder", "pipe", "device", a path (a link), or {"hard", "cut", "flip", "mode", "hole",
          "bytes", "gone"}
folder    what the item's folder is             location  what is given as the location, {} being where the seed is
import    the way: the receiver role's          loopback  the same, where the location is on the host's own file system
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from drill.host import medium
from drill.host.files import LocalFiles
from drill.model.point import Point
from drill.replication.store import Store
from drill.wiring import seeding
from drill.wiring.seeding import Copies
from tests.bad import logs
from tests.bad.cases import Case, check_refused, parameters, read, tree
from tests.bad.test_frames_and_logs import ITEM, MACHINE, SIZES, WHOLE, flip_bit
from tests.contract.pair import OneLane, StillClock

PART = 96 << 10
HEADER: dict[str, Any] = {
    "item": ITEM, "epoch": "epoch1", "sequence": 1, "parent_digest": "", "supersedes": "", "begun_us": 1, "taken_us": 1,
    "application_consistent": False, "machine": MACHINE,
    "disks": [{"target": target, "size_bytes": size, "full": True} for target, size in SIZES.items()],
}  # fmt: skip


class Handed:
    """A medium as a recipe has it, a receiver without a point, and a file that is none of its business."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], way: str) -> None:
        self.folder = folder
        self.medium = folder / "medium"
        self.place = self.medium / ITEM
        (folder / "secret").write_text("secret")
        self.store = Store(LocalFiles(folder / "store"), StillClock(), OneLane())
        self.own = (str(folder / "store"),) if way == "loopback" else ()
        self.location = recipe.get("location", "{}").replace("{}", str(self.medium))
        self.place.mkdir(parents=True)
        written(self.place, recipe)
        for name, what in recipe.get("files", {}).items():
            spoil(self.place / name, what)
        if "folder" in recipe:
            self.place.rename(self.medium / "elsewhere")
            spoil(self.place, recipe["folder"])
        for name, what in recipe.get("beside", {}).items():
            spoil(self.medium / name, what)

    def take_in(self) -> Point:
        return seeding.take_in(self.store, self.own, Copies(), ITEM, self.location, term=1)


def written(place: Path, recipe: Mapping[str, Any]) -> None:
    content = {target: bytearray(size) for target, size in SIZES.items()}
    log = logs.made({"frames": WHOLE, **recipe.get("log", {})}, HEADER, content) + bytes.fromhex(
        recipe.get("append", "")
    )
    parts = []
    for number, start in enumerate(range(0, len(log), PART)):
        data = log[start : start + PART]
        (place / f"part-{number:04}").write_bytes(data)
        parts.append({"name": f"part-{number:04}", "size_bytes": len(data), "digest": blake3(data).hexdigest()})
    for number, changes in recipe.get("parts", {}).items():
        parts[int(number)].update(changes)
    seals = [{"target": t, "size_bytes": len(data), "digest": logs.root(data)} for t, data in content.items()]
    seed: dict[str, Any] = {
        "item": ITEM, "domain": "vm", "epoch": "epoch1", "sequence": 1, "supersedes": "", "begun_us": 1, "taken_us": 1,
        "disks": seals, "log_digest": log[-32:].hex() if "append" not in recipe else blake3(log[:-36]).hexdigest(),
        "parts": parts,
    }  # fmt: skip
    seed.update(recipe.get("seed", {}))
    text = logs.text_of(recipe["text"]) if "text" in recipe else json.dumps(seed).encode()
    kind, generation = recipe.get("head", ["seed-0", 1])
    digest = blake3(f"{kind} {generation}\n".encode() + text).hexdigest()
    head = f"drill {kind} {generation} {digest}\n".encode()
    (place / "seed.json").write_bytes(head + text)


def spoil(path: Path, what: str | Mapping[str, Any]) -> None:
    """Make a file something else."""
    if isinstance(what, Mapping):
        ((how, value),) = what.items()
        _CHANGES[how](path, value)
        return
    path.unlink(missing_ok=True)
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    else:
        path.symlink_to(what)


def _second_name(path: Path, target: str) -> None:
    path.unlink()
    os.link(path.parent / target, path)


def _hole(path: Path, size: int) -> None:
    path.unlink()
    path.touch()
    os.truncate(path, size)


_CHANGES: dict[str, Callable[[Path, Any], object]] = {
    "hard": _second_name,
    "hole": _hole,
    "bytes": lambda path, text: path.write_bytes(bytes.fromhex(text)),
    "cut": os.truncate,
    "flip": flip_bit,
    "mode": lambda path, mode: path.chmod(int(mode, 8)),
    "gone": lambda path, _: path.unlink(missing_ok=True),
}


@parameters("archives")
def test_a_medium_that_was_tampered_with_is_not_imported(case: Case, tmp_path: Path) -> None:
    handed = Handed(tmp_path, case.recipe, case.through)
    check_refused(case, handed.take_in, lambda: tree(tmp_path))


def test_a_sound_medium_is_imported(tmp_path: Path) -> None:
    assert Handed(tmp_path, {}, "import").take_in().sequence == 1


def test_a_case_is_red_when_nothing_looks_at_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in read("archives") if case.name == "part-with-its-owners-rights")
    handed = Handed(tmp_path, case.recipe, case.through)
    monkeypatch.setattr(medium, "check_plain", lambda folder, item: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, handed.take_in, lambda: tree(tmp_path))
