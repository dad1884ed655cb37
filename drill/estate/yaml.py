"""YAML as a person means it: the core-1.2 rules, no aliases, no second key, and a line for every value.

PyYAML's own resolver follows YAML 1.1, which reads the MAC address `52:54:00:12:34:56` as a number in base 60, `no`
as False and `010` as 8, and keeps the last of two equal keys.  Here only `true`/`false`, decimal integers and floats,
and `null` are anything but text (YAML 1.2 § 10.3), and no tag says otherwise; limits are those of docs/guarantees.md
§ Security.  Values are built from the parser's events, so that what is refused never becomes a tree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from drill.errors import BadInput

SIZE_MAX = 1 << 20
DEPTH_MAX = 32
DIGITS_MAX = 18
"""Of a whole number: what fits 64 bits, whoever reads it."""

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Path_ = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and where each of them, and each key, stands (line and column, 1-based)."""

    file: str
    value: Plain
    marks: dict[Path_, tuple[int, int]]
    keys: dict[Path_, tuple[int, int]]

    def where(self, path: Path_) -> str:
        """`file:line:column` of the value at `path`, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return self._place(self.marks[path[:length]])
        return self.file

    def at(self, path: Path_) -> Plain:
        """The value at `path`; None where there is none."""
        value = self.value
        for part in path:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
                value = value[part]
            else:
                return None
        return value

    def where_key(self, path: Path_) -> str:
        """`file:line:column` of the key that leads to `path`; of the value where it is no key."""
        return self._place(self.keys[path]) if path in self.keys else self.where(path)

    def _place(self, mark: tuple[int, int]) -> str:
        return f"{self.file}:{mark[0]}:{mark[1]}"


def read(path: Path) -> Document:
    """Parse a file.  BadInput with file, line and column for everything that is not plain, single-valued YAML."""
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise BadInput(where=str(path), problem=f"cannot be read: {error.strerror}") from error
    if len(raw) > SIZE_MAX:
        raise BadInput(where=str(path), problem=f"is longer than {SIZE_MAX} bytes")
    return parse(raw, str(path))


def parse(raw: bytes, file: str) -> Document:
    """Parse bytes; `file` is the name that errors carry."""
    text = _text(raw, file)
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        mark: _Mark | None = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        place = _place(file, mark) if mark else _offset_place(file, raw, getattr(error, "position", 0))
        raise BadInput(where=place, problem=f"not YAML: {problem}") from error
    return Document(file=file, value=builder.value, marks=builder.marks, keys=builder.keys)


def reads_as_text(text: str) -> bool:
    """Whether a plain scalar of this text is read as text, so that a writer need not quote it for its kind."""
    return text not in _WORDS and not _INTEGER.match(text) and not _FLOAT.match(text)


class _Mark(Protocol):
    """A position as either of PyYAML's parsers gives it, 0-based."""

    line: int
    column: int


def _text(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(where=_offset_place(file, raw, error.start), problem="not YAML: not UTF-8") from error


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=yaml.CSafeLoader)


def _numbers(mark: _Mark | None) -> tuple[int, int]:
    """Line and column from 1; every event that either parser gives has its mark."""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place(file: str, mark: _Mark | None) -> str:
    line, column = _numbers(mark)
    return f"{file}:{line}:{column}"


def _offset_place(file: str, raw: bytes, offset: int) -> str:
    before = raw[:offset]
    line = before.decode("utf-8", "replace").rpartition("\n")[2]
    return f"{file}:{before.count(10) + 1}:{len(line) + 1}"


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come; `key` is the one whose value is awaited, None between entries."""

    path: Path_
    into: list[Plain] | dict[str, Plain]
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Takes events in their order and builds one value of them; raises BadInput at the event that is refused."""

    file: str
    value: Plain = None
    marks: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    _stack: list[_Open] = field(default_factory=list)
    _documents: int = 0

    def take(self, event: yaml.Event) -> None:
        """One event."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise self._wrong(event, f"alias *{event.anchor} is not accepted; write the value out")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._document(event)

    def _wrong(self, event: yaml.Event, problem: str) -> BadInput:
        return BadInput(where=_place(self.file, event.start_mark), problem=problem)

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._wrong(event, "a second document begins; one file holds one")
        if event.version not in (None, (1, 2)):
            raise self._wrong(event, "%YAML says another version than 1.2")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag is not None:
            raise self._wrong(event, f"tag {event.tag} is not accepted")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.into, dict) and top.key is None:
            self._key(event, top, top.into)
            return
        # the C parser says "" and the Python one None of a plain scalar
        self._put(event, str(event.value) if event.style else self._plain(event))

    def _key(self, event: yaml.ScalarEvent, top: _Open, into: dict[str, Plain]) -> None:
        key = str(event.value)
        if key in into:
            raise self._wrong(event, f"key {key[:80]!r} stands twice")
        top.key = key
        self.keys[(*top.path, key)] = _numbers(event.start_mark)

    def _plain(self, event: yaml.ScalarEvent) -> Plain:
        text = str(event.value)
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.match(text):
            if len(text.lstrip("+-")) > DIGITS_MAX:
                raise self._wrong(event, f"a number of more than {DIGITS_MAX} digits")
            return int(text)
        if _FLOAT.match(text):
            number = float(text)
            if not math.isfinite(number):
                raise self._wrong(event, "a number that is too large")
            return number
        return text

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise self._wrong(event, f"tag {event.tag} is not accepted")
        if len(self._stack) >= DEPTH_MAX:
            raise self._wrong(event, f"nested deeper than {DEPTH_MAX}")
        if self._stack and isinstance(self._stack[-1].into, dict) and self._stack[-1].key is None:
            raise self._wrong(event, "a key must be plain text")
        into: list[Plain] | dict[str, Plain] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        path = self._put(event, into)
        self._stack.append(_Open(path=path, into=into))

    def _put(self, event: yaml.Event, value: Plain) -> Path_:
        """Set a value where it belongs; its path."""
        path: Path_ = ()
        if not self._stack:
            self.value = value
        else:
            top = self._stack[-1]
            if isinstance(top.into, list):
                path = (*top.path, len(top.into))
                top.into.append(value)
            elif top.key is not None:
                path = (*top.path, top.key)
                top.into[top.key] = value
                top.key = None
        self.marks[path] = _numbers(event.start_mark)
        return path
