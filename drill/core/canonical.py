"""Canonical JSON, and JSON from a file that somebody may have forged: one spelling out, caps and refusals in.

What is read is an input like any other (guarantees § Security 11): length, depth and integers are capped; keys that
occur twice, NaN and infinities are refused.
"""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn

from drill.errors import BadInput

LINE_BYTES_MAX: Final = 8 * 2**20
DEPTH_MAX: Final = 32
INTEGER_DIGITS_MAX: Final = 18  # what fits 64 bits, whoever reads it


def canonical(value: object, where: str) -> bytes:
    """The one spelling of a value: keys sorted, no spaces, ASCII.  BadInput (at `where`) for what JSON cannot say."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(where, f"cannot be written as JSON: {error}") from None


def parse(line: bytes, where: str) -> object:
    """The value of a JSON document within the caps, in any spelling; BadInput (at `where`) otherwise."""
    if len(line) > LINE_BYTES_MAX:
        raise BadInput(where, f"longer than {LINE_BYTES_MAX} bytes")
    try:
        value: object = json.loads(
            line.decode("ascii"),
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_decimal,
        )
    except UnicodeDecodeError:
        raise BadInput(where, "not ASCII") from None
    except json.JSONDecodeError as error:
        raise BadInput(where, f"not JSON: {error.msg} at column {error.colno}") from None
    except _Unacceptable as error:
        raise BadInput(where, str(error)) from None
    except RecursionError:
        raise BadInput(where, f"nested deeper than {DEPTH_MAX}") from None
    if _depth(value) > DEPTH_MAX:
        raise BadInput(where, f"nested deeper than {DEPTH_MAX}")
    return value


class _Unacceptable(Exception):
    """What the parser's hooks say; it never leaves this module."""


def _pairs(items: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(items)
    if len(result) != len(items):
        raise _Unacceptable("a key occurs twice")
    return result


def _constant(text: str) -> NoReturn:
    raise _Unacceptable(f"{text} is not a number")


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > INTEGER_DIGITS_MAX:
        raise _Unacceptable(f"an integer of more than {INTEGER_DIGITS_MAX} digits")
    return int(text)


def _decimal(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Unacceptable(f"{text[:20]} is not a number")
    return value


def _depth(value: object) -> int:
    """How deeply arrays and objects nest; counted level by level, so that no depth exhausts the stack."""
    depth = 0
    level = [value]
    while level := [inner for outer in level for inner in _inside(outer)]:
        depth += 1
    return depth


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []
