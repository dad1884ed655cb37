"""What is wrong with a file: every mistake with its place, gathered so that one reading tells them all."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from drill.errors import BadInput
from drill.estate.yaml import Document, Path_

SHOWN_MAX = 10
TEXT_MAX = 300
CHOICES_MAX = 8
_SECRETS = frozenset({"password", "passphrase", "secret", "token", "private_key", "tsig_secret", "key"})


@dataclass(slots=True)
class Findings:
    """The mistakes of one file.  A resolver says `wrong` and goes on; `close` raises when there was any."""

    document: Document
    mistakes: list[tuple[str, str]] = field(default_factory=list)

    def wrong(self, path: Path_, problem: str) -> None:
        """A mistake at the value that `path` leads to."""
        self._add(self.document.where(path), path, problem)

    def known(self, path: Path_, name: str, names: Collection[str], what: str) -> bool:
        """Whether a name that the file uses is one of `names`; else a mistake that says which there are.

        `what` is the sentence's beginning: `there is no policy`, `cloud 'Gold' has no size`.
        """
        if name in names:
            return True
        self.wrong(path, f"{what} {name!r}{meant(name, names)}")
        return False

    def unique(self, path: Path_, names: Iterable[str], what: str, key: str | None = "name") -> None:
        """A mistake for each of the names of the list at `path` that stands in it twice."""
        first: dict[str, int] = {}
        for index, name in enumerate(names):
            at: Path_ = (*path, index) if key is None else (*path, index, key)
            if name in first:
                before: Path_ = (*path, first[name]) if key is None else (*path, first[name], key)
                self.wrong(at, f"{what} {name!r} is named twice; first at {self.document.where(before)}")
            first.setdefault(name, index)

    def shape(self, error: ValidationError) -> None:
        """The mistakes of shape that pydantic found, by line."""
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            self._shape_mistake(tuple(one["loc"]), one["type"], one["msg"])
        self.mistakes.sort(key=lambda one: _position(one[0]))

    def close(self) -> None:
        """BadInput with every mistake, in the order in which they were found: causes before what follows from them."""
        if not self.mistakes:
            return
        (where, text), more = self.mistakes[0], len(self.mistakes) - SHOWN_MAX
        if len(self.mistakes) == 1:
            raise BadInput(where=where, problem=text)
        lines = [f"{place}: {said}" for place, said in self.mistakes[:SHOWN_MAX]]
        rest = [f"and {more} more"] if more > 0 else []
        raise BadInput(where=where, problem="\n".join([f"{len(self.mistakes)} mistakes", *lines, *rest]))

    def _shape_mistake(self, loc: Path_, kind: str, said: str) -> None:
        path = self._walked(loc, extra=kind == "extra_forbidden")
        where, problem = self.document.where(path), said.removeprefix("Value error, ")
        if kind == "extra_forbidden":
            where = self.document.where_key(path)
            if str(path[-1]).lower() in _SECRETS:
                problem = "a secret does not belong in an estate; name a credential"
        elif kind == "missing":
            problem = f"lacks {loc[-1]!r}"
        self._add(where, path, problem)

    def _walked(self, loc: Path_, *, extra: bool) -> Path_:
        """The part of pydantic's location that the file has: without tags of unions and what is missing."""
        path: Path_ = ()
        for before, part in zip((None, *loc), loc, strict=False):
            if isinstance(before, int) and part == self.document.at((*path, "do")):
                continue  # the tag of a plan's action, which may be a key of it too
            if (*path, part) in self.document.marks or (extra and (*path, part) in self.document.keys):
                path = (*path, part)
        return path

    def _add(self, where: str, path: Path_, problem: str) -> None:
        shown = ".".join(_plain(str(part)[:80]) for part in path) or "file"
        self.mistakes.append((where, f"{shown}: {problem}"[:TEXT_MAX]))


def meant(name: str, names: Collection[str]) -> str:
    """`; did you mean 'gold'?`, or which there are where they are few, or nothing."""
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(sorted(names))}" if 0 < len(names) <= CHOICES_MAX else ""


def _plain(key: str) -> str:
    """A key as it stands, or spelled out where it would rule the terminal that it is shown on."""
    return key if key.isprintable() else ascii(key)


def _position(where: str) -> tuple[int, int]:
    line, _, column = where.rpartition(":")
    number = line.rpartition(":")[2]
    return (int(number), int(column)) if number.isdigit() and column.isdigit() else (0, 0)
