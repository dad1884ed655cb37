"""Whatever is done to a sound estate file: it is refused, or it is taken apart and put together exactly."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drill import data
from drill.core import readiness
from drill.errors import BadInput
from drill.estate.load import load_document
from drill.estate.objects import join, split
from drill.estate.writing import write
from drill.estate.yaml import Path_, Plain, parse

TEXT = data.path("fixtures", "new-york-chicago.yaml").read_text(encoding="utf-8")
DOCUMENT = parse(TEXT.encode(), "base")
BASE = DOCUMENT.value
HERE = Path("/estate")
ODD: list[Plain] = [
    None,
    True,
    0,
    -1,
    2**62,
    1.5,
    "",
    "VM1",
    "gold",
    "10.1.1.1",
    "10.1.1.1/24",
    "fd00::/8",
    [],
    {},
    ["a"],
]
MUTATIONS = 60
Change = Callable[[random.Random], bytes]


def places(value: Plain, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every value below a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


def values_changed(chance: random.Random) -> bytes:
    """The worked examples with one to three values gone, or replaced by an odd one or one from elsewhere in them."""
    value, known = copy.deepcopy(BASE), list(places(BASE))
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice(list(places(value)))
        inside: object = value
        for key in way:
            inside = inside[key]  # type: ignore[index]
        if chance.random() < 0.3:
            del inside[last]  # type: ignore[attr-defined]
            continue
        other = chance.choice(ODD) if chance.random() < 0.5 else DOCUMENT.at(chance.choice(known))
        inside[last] = copy.deepcopy(other)  # type: ignore[index]
    return write(value).encode()


def bytes_changed(chance: random.Random) -> bytes:
    """The worked examples with one to four bytes changed, cut out or put in."""
    raw = bytearray(TEXT.encode())
    for _ in range(chance.randint(1, 4)):
        at, kind = chance.randrange(len(raw)), chance.random()
        if kind < 0.4:
            raw[at] = chance.randrange(256)
        elif kind < 0.7:
            del raw[at : at + chance.randint(1, 20)]
        else:
            raw[at:at] = bytes(chance.choices(b"{}[]:,-#&*!|>'\"%@` \n\tab01", k=chance.randint(1, 6)))
    return bytes(raw)


def taken(raw: bytes) -> bool:
    """Whether a file is sound; then it is the same after a way through objects and back."""
    try:
        loaded = load_document(parse(raw, "changed"), HERE)
    except BadInput:
        return False
    readiness.declared(loaded.estate)
    objects = split(loaded, HERE)
    again = load_document(parse(write(join(objects)).encode(), "again"), HERE)
    assert split(again, HERE) == objects
    return True


@pytest.mark.parametrize("change", [values_changed, bytes_changed])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_file_is_refused_or_means_the_same_after_a_way_there_and_back(change: Change, seed: int) -> None:
    chance = random.Random(seed)
    found = [taken(change(chance)) for _ in range(MUTATIONS)]
    assert False in found


def test_an_unchanged_file_is_taken() -> None:
    assert taken(TEXT.encode())
