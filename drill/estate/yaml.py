"""YAML as a person means it: the core-1.2 rules, no aliases, no second key, and a line for every value.

PyYAML's own resolver follows YAML 1.1, which reads the MAC address `52:54:00:12:34:56` as a number in base 60, `no`
as False and `010` as 8, and keeps the last of two equal keys.  Here only `true`/`false`, decimal integers and floats,
and `null` are anything but text (YAML 1.2 § 10.3); limits are those of docs/guarantees.md § Security.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from drill.errors import BadInput

SIZE_MAX = 1 << 20
DEPTH_MAX = 32

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Path_ = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and where each of them stands (`file:line:column`, 1-based)."""

    file: str
    value: Plain
    marks: dict[Path_, str]

    def where(self, path: Path_) -> str:
        """`file:line:column` of the value at `path`, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return self.marks[path[:length]]
        return self.file


def read(path: Path) -> Document:
    """Parse a file.  BadInput with file, line and column for everything that is not plain, single-valued YAML."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(where=str(path), problem=f"cannot be read: {error.strerror}") from error
    if len(raw) > SIZE_MAX:
        raise BadInput(where=str(path), problem=f"is longer than {SIZE_MAX} bytes")
    return parse(raw, str(path))


def parse(raw: bytes, file: str) -> Document:
    """Parse bytes; `file` is the name that errors carry."""
    marks: dict[Path_, str] = {}
    try:
        _refuse_aliases(raw, file)
        node = yaml.compose(raw, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark: _Mark | None = getattr(error, "problem_mark", None)
        place = _place(file, mark)
        raise BadInput(where=place, problem=f"not YAML: {getattr(error, 'problem', None) or error}") from error
    value = None if node is None else _plain(node, (), marks, file)
    return Document(file=file, value=value, marks=marks)


class _Mark(Protocol):
    """A position as either of PyYAML's parsers gives it, 0-based."""

    line: int
    column: int


def _place(file: str, mark: _Mark | None) -> str:
    return file if mark is None else f"{file}:{mark.line + 1}:{mark.column + 1}"


def _refuse_aliases(raw: bytes, file: str) -> None:
    """Aliases are refused and depth is bounded on the event stream, before any tree is built."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        place = _place(file, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise BadInput(where=place, problem=f"alias *{event.anchor} is not accepted; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise BadInput(where=place, problem=f"nested deeper than {DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(node: yaml.Node, path: Path_, marks: dict[Path_, str], file: str) -> Plain:
    place = _place(file, node.start_mark)
    marks[path] = place
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), marks, file) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Plain] = {}
        for key_node, child in node.value:
            place = _place(file, key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadInput(where=place, problem="a key must be plain text")
            if key_node.value in mapping:
                raise BadInput(where=place, problem=f"key {key_node.value!r} stands twice")
            mapping[key_node.value] = _plain(child, (*path, key_node.value), marks, file)
        return mapping
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _TAGS:
        raise BadInput(where=place, problem=f"tag {node.tag} is not accepted")
    plain = not node.style  # the C parser says "" and the Python one None
    return _scalar(str(node.value)) if plain else str(node.value)


# Every tag that PyYAML's implicit resolver may put on a scalar; an explicit foreign tag is none of these.
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)


def _scalar(text: str) -> Plain:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
