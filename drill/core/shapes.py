"""Reading the plain JSON of an observation: a shape that is not exactly the agreed one is no evidence.

`Unreadable` is caught by `drill.core.verdicts` alone and makes the check *unknown*.  Booleans are not numbers, text is
never converted, and a key too many is as unreadable as a key too few: it would be evidence that nobody judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from drill.model.fact import Json

Read = TypeVar("Read")

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Unreadable(Exception):
    """An observation does not have the shape that its check's rule knows; `str()` says where."""


def fields(value: Json, *names: str, where: str) -> tuple[Json, ...]:
    """The values of an object that has exactly these keys, in the order of `names`."""
    if not isinstance(value, dict):
        raise Unreadable(f"{where} is not an object")
    for name in names:
        if name not in value:
            raise Unreadable(f"{where} has no {name!r}")
    for key in value:
        if key not in names:
            raise Unreadable(f"{where} has an unknown {key[:40]!r}")
    return tuple(value[name] for name in names)


def text(value: Json, where: str) -> str:
    """A string, not an empty one."""
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{where} is not a text")
    return value


def text_or_none(value: Json, where: str) -> str | None:
    """A string that is not empty, or null."""
    return None if value is None else text(value, where)


def flag(value: Json, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Unreadable(f"{where} is not true or false")
    return value


def count(value: Json, where: str) -> int:
    """A whole number, zero or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unreadable(f"{where} is not a count")
    return value


def seconds(value: Json, where: str) -> float:
    """A number of seconds, zero or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise Unreadable(f"{where} is not a number of seconds")
    return float(value)


def rows(value: Json, where: str, read: Callable[[Json, str], Read]) -> list[Read]:
    """A list, each element read by `read`; it may be empty."""
    if not isinstance(value, list):
        raise Unreadable(f"{where} is not a list")
    return [read(element, f"{where}[{index}]") for index, element in enumerate(value)]


def some(value: Json, where: str, read: Callable[[Json, str], Read]) -> list[Read]:
    """A list with at least one element: an empty one proves nothing."""
    result = rows(value, where, read)
    if not result:
        raise Unreadable(f"{where} is empty")
    return result


def witnesses(value: Json, where: str) -> dict[str, str]:
    """SHA-256 in hex by disk target, at least one disk."""
    if not isinstance(value, dict) or not value:
        raise Unreadable(f"{where} names no disk")
    result: dict[str, str] = {}
    for target, digest in value.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise Unreadable(f"{where} has no witness for {target[:40]!r}")
        result[target] = digest
    return result


def by_key(items: list[tuple[str, Read]], where: str) -> dict[str, Read]:
    """A table from pairs; a key that occurs twice is unreadable, for one of the two would go unjudged."""
    result = dict(items)
    if len(result) != len(items):
        raise Unreadable(f"{where} names one thing twice")
    return result
