"""Values as JSON and back: strict, bounded, without a second meaning (guarantees § Security 11).

What comes from a file or a peer is refused when it is too long, too deep, not UTF-8, has a key twice, or holds a
number JSON does not know (NaN, Infinity).  What passes has exactly the fields and types of the dataclass it is read
into.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import lru_cache
from typing import NoReturn, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from drill.errors import BadInput

T = TypeVar("T")
LIMIT_BYTES = 16 << 20
DEPTH_MAX = 32


@lru_cache(maxsize=256)
def _adapter(shape: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(cast("type[object]", shape))


@lru_cache(maxsize=256)
def _reader(shape: Hashable) -> TypeAdapter[tuple[object]]:
    """Of a list of one: a dataclass takes no configuration of its own, but has that of what it lies in."""
    return TypeAdapter(cast("type[tuple[object]]", tuple[shape]), config=ConfigDict(extra="forbid"))  # type: ignore[valid-type]


def encode(shape: object, value: object) -> bytes:
    """`value` as compact JSON, UTF-8; `shape` is its type, which need not be a class (`tuple[Point, ...]`)."""
    return _adapter(shape).dump_json(value)


def decode(shape: type[T], data: bytes | memoryview, *, where: str, limit_bytes: int = LIMIT_BYTES) -> T:
    """Read JSON into `shape`.  BadInput names `where` and the first thing that is wrong."""
    text = bytes(data)
    if len(text) > limit_bytes:
        raise BadInput(where, f"{len(text)} bytes of JSON, at most {limit_bytes} are read")
    try:
        found = _reader(cast("Hashable", shape)).validate_json(b"[%b]" % text, strict=True)[0]
    except ValidationError as error:
        _check_plain(text, where)
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"][1:])
        raise BadInput(where, f"{path or 'value'}: {first['msg']}") from error
    if encode(shape, found) != text:  # what we wrote ourselves has one meaning only, and that is quickly seen
        _check_plain(text, where)
    return cast("T", found)


def _check_plain(text: bytes, where: str) -> None:
    """Refuse what the typed reader would let pass: keys twice, NaN, depth."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadInput(where, "JSON nested too deep") from error
    except ValueError as error:
        raise BadInput(where, f"not plain JSON: {error}") from error
    if _depth(value) > DEPTH_MAX:
        raise BadInput(where, f"JSON nested more than {DEPTH_MAX} deep")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _depth(value: object) -> int:
    """Levels of nesting, counted without recursion; only containers are looked into one by one."""
    deepest, level, containers = 1, 1, [value]
    while containers:
        found: list[object] = []
        for current in containers:
            children = current.values() if isinstance(current, dict) else current if isinstance(current, list) else ()
            if children:
                deepest = level + 1
                found.extend(child for child in children if isinstance(child, (dict, list)))
        containers, level = found, level + 1
    return deepest
