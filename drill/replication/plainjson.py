"""Values as JSON and back: strict, bounded, without a second meaning (guarantees § Security 11).

What comes from a file or a peer is refused when it is too long, too deep, not UTF-8, has a key twice, or holds a
number JSON does not know (NaN, Infinity).  What passes has exactly the fields and types of the dataclass it is read
into.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from copy import deepcopy
from functools import lru_cache
from typing import NoReturn, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from drill.errors import BadInput

T = TypeVar("T")
LIMIT_BYTES = 16 << 20
DEPTH_MAX = 32


class Validator(Protocol):
    """What reads JSON into a shape."""

    def validate_json(self, text: bytes, *, strict: bool) -> object:
        """The value, or ValidationError."""
        ...


@lru_cache(maxsize=256)
def _adapter(shape: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(cast("type[object]", shape))


@lru_cache(maxsize=256)
def _reader(shape: Hashable) -> Validator:
    """Of the same shape, but that it stops at the first wrong member of a list: pydantic keeps an error for each, 600
    bytes for one that takes two in the text."""
    adapter = _adapter(shape)
    schema = deepcopy(adapter.core_schema)
    rest: list[object] = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            rest.extend(node.values())
            if node.get("type") in ("list", "tuple"):
                node["fail_fast"] = True
        elif isinstance(node, list):
            rest.extend(node)
    return cast("Callable[[object], Validator]", type(adapter.validator))(schema)


def encode(shape: object, value: object) -> bytes:
    """`value` as compact JSON, UTF-8; `shape` is its type, which need not be a class (`tuple[Point, ...]`)."""
    return _adapter(shape).dump_json(value)


def decode(shape: type[T], data: bytes | memoryview, *, where: str, limit_bytes: int = LIMIT_BYTES) -> T:
    """Read JSON into `shape`.  BadInput names `where` and the first thing that is wrong."""
    text = bytes(data)
    if len(text) > limit_bytes:
        raise BadInput(where, f"{len(text)} bytes of JSON, at most {limit_bytes} are read")
    try:
        found = _reader(cast("Hashable", shape)).validate_json(text, strict=True)
    except ValidationError as error:
        _check_plain(text, where)
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise BadInput(where, f"{path or 'value'}: {first['msg']}") from error
    if encode(shape, found) != text:  # what we wrote ourselves has one meaning only, and that is quickly seen
        plain = _check_plain(text, where)
        _check_known(plain, _adapter(cast("Hashable", shape)).dump_python(found, mode="json"), where)
    return cast("T", found)


def _check_plain(text: bytes, where: str) -> object:
    """Refuse what the typed reader would let pass: keys twice, NaN, depth; the value, untyped."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadInput(where, "JSON nested too deep") from error
    except ValueError as error:
        raise BadInput(where, f"not plain JSON: {error}") from error
    if _depth(value) > DEPTH_MAX:
        raise BadInput(where, f"JSON nested more than {DEPTH_MAX} deep")
    return value


def _check_known(value: object, known: object, where: str) -> None:
    """Refuse a field that the shape does not have; `known` is the same value as the shape would write it."""
    if isinstance(value, dict) and isinstance(known, dict):
        for key, inner in value.items():
            if key not in known:
                raise BadInput(where, f"{key[:80]!r} is no field of it")
            _check_known(inner, known[key], where)
    elif isinstance(value, list) and isinstance(known, list):
        for inner, shaped in zip(value, known, strict=True):
            _check_known(inner, shaped, where)


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
