"""A hash chain of JSON lines, as the run record and the vault's audit log have it (docs/formats.md).

    {…, "hash": H1, "n": 1, "previous": H0}
    {…, "hash": H2, "n": 2, "previous": H1}

A line is canonical JSON (keys sorted, no spaces, ASCII); its hash is the SHA-256 of the same line without `hash`, and
H0 names the format and its version.  So a byte changed, a line taken out, put in or moved is found, and named by its
number.  Lines cut off at the end are not: whoever wants to know of them notes the last number and hash elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from drill.core.canonical import canonical, parse
from drill.errors import BadInput, Damaged

_CHAIN: Final = frozenset({"n", "previous", "hash"})


def genesis(format: str) -> str:
    """What the first line of a chain of this format and version follows."""
    return hashlib.sha256(format.encode("ascii")).hexdigest()


def sealed(body: Mapping[str, object], number: int, previous: str, where: str) -> tuple[bytes, str]:
    """The line of `body` (without a newline) and its hash; BadInput (at `where`) for what could not be read back."""
    told: dict[str, object] = {**body, "n": number, "previous": previous}
    digest = hashlib.sha256(canonical(told, where)).hexdigest()
    line = canonical({**told, "hash": digest}, where)
    parse(line, where)  # the caps hold for what is written too
    return line, digest


def opened(
    line: bytes, keys: frozenset[str], number: int, previous: str, where: str, kind: str
) -> tuple[dict[str, object], str]:
    """The body of a line with exactly `keys`, and its hash.

    Damaged (at `where`) for a line that is not the one written as `number` after `previous`, BadInput for one that is
    no line of a `kind`.
    """
    parsed = parse(line, where)
    if not isinstance(parsed, dict) or parsed.keys() != keys | _CHAIN:
        raise BadInput(where, f"not a line of {kind}")
    stated = parsed.pop("hash")
    digest = hashlib.sha256(canonical(parsed, where)).hexdigest()
    if stated != digest:
        raise Damaged(where, "the line does not match its hash")
    if parsed["previous"] != previous:
        raise Damaged(where, "it does not follow the line before it")
    if type(parsed["n"]) is not int or parsed["n"] != number:
        raise Damaged(where, "it does not carry its own number")
    if canonical({**parsed, "hash": stated}, where) != line:
        raise BadInput(where, "not in canonical form")
    return {key: parsed[key] for key in keys}, digest
