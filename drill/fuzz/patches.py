"""Unified diffs, applied to a scratch copy: no tool of the machine is needed, and a moved line does not matter.

A hunk belongs where its old lines stand, all of them, and nowhere else; line numbers are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drill.errors import BadInput


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of a file, and what they become."""

    file: str
    old: str
    new: str


def parse(text: str, where: str) -> tuple[str, tuple[Hunk, ...]]:
    """What a patch says of itself before its first file, and its hunks.  BadInput for text that is no patch."""
    head: list[str] = []
    hunks: list[Hunk] = []
    file, old, new = "", "", ""
    for line in text.splitlines(keepends=True):
        if line.startswith("--- "):
            hunks += [Hunk(file, old, new)] if old else []
            old = new = ""
        elif line.startswith("+++ "):
            file = line[4:].split("\t")[0].strip().removeprefix("b/")
        elif line.startswith("@@"):
            hunks += [Hunk(file, old, new)] if old else []
            old = new = ""
        elif not file:
            head.append(line)
        elif line[0] in "-+ ":
            old += line[1:] if line[0] in "- " else ""
            new += line[1:] if line[0] in "+ " else ""
    hunks += [Hunk(file, old, new)] if old else []
    if not hunks:
        raise BadInput(where, "it is no unified diff")
    return " ".join("".join(head).split()), tuple(hunks)


def apply(hunks: tuple[Hunk, ...], root: Path, where: str) -> None:
    """Change the files below `root`.  BadInput where a hunk's lines are not there, or twice."""
    for hunk in hunks:
        path = root / hunk.file
        if ".." in Path(hunk.file).parts or not path.is_file():
            raise BadInput(where, f"there is no file {hunk.file}")
        text = path.read_text(encoding="utf-8")
        if text.count(hunk.old) != 1:
            raise BadInput(where, f"its lines stand {text.count(hunk.old)} times in {hunk.file}")
        path.write_text(text.replace(hunk.old, hunk.new), encoding="utf-8")
