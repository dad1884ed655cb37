"""JSON from files and peers: one meaning or none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.model.point import DiskSeal, Point
from drill.replication import plainjson

seals = st.builds(
    DiskSeal,
    target=st.text(max_size=5),
    size_bytes=st.integers(0, 1 << 60),
    digest=st.text(max_size=5),
    witness=st.none() | st.text(max_size=5),
)


@dataclass(frozen=True)
class Plain:
    count: int
    names: tuple[str, ...] = ()


@given(st.lists(seals, max_size=3).map(tuple))
def test_what_was_encoded_is_decoded_to_the_same(found: tuple[DiskSeal, ...]) -> None:
    shape = tuple[DiskSeal, ...]
    assert plainjson.decode(shape, plainjson.encode(shape, found), where="x") == found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"count": 1, "count": 2}', id="a key twice"),
        pytest.param(b'{"count": NaN}', id="NaN"),
        pytest.param(b'{"count": Infinity}', id="Infinity"),
        pytest.param(b'{"count": "1"}', id="a number as text"),
        pytest.param(b'{"count": 1.0}', id="a float"),
        pytest.param(b'{"count": true}', id="a boolean"),
        pytest.param(b'{"names": ["a"]}', id="a missing field"),
        pytest.param(b'{"count": 1, "more": 1}', id="an unknown field"),
        pytest.param(b'{"count": 1, "names": "ab"}', id="text for a list"),
        pytest.param(b'{"count": 1', id="cut off"),
        pytest.param(b'{"count": 1} x', id="more behind it"),
        pytest.param(b'\xff{"count": 1}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"count": 1, "x": ' + b"[" * 40 + b"]" * 40 + b"}", id="nested too deep"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_not_plain_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput):
        plainjson.decode(Plain, text, where="a file")


def test_what_is_too_long_is_refused_unread() -> None:
    with pytest.raises(BadInput, match="at most"):
        plainjson.decode(Plain, b"[" * 100, where="a file", limit_bytes=99)


def test_the_error_names_the_place_and_the_field() -> None:
    with pytest.raises(BadInput, match=r"a file: names\.1"):
        plainjson.decode(Plain, b'{"count": 1, "names": ["a", 2]}', where="a file")


def test_a_field_that_nobody_knows_is_named_by_its_first_eighty_characters() -> None:
    with pytest.raises(BadInput) as refused:
        plainjson.decode(Plain, b'{"count": 1, "%s": 1}' % (b"k" * 100), where="a file")
    assert str(refused.value) == f"a file: {'k' * 80!r} is no field of it"


def test_what_has_just_the_length_or_the_depth_is_read() -> None:
    text = b'{"count": 1}'
    assert plainjson.decode(Plain, text, where="a file", limit_bytes=len(text)).count == 1
    deep = b"[" * (plainjson.DEPTH_MAX - 1) + b"]" * (plainjson.DEPTH_MAX - 1)
    with pytest.raises(BadInput, match="no field of it"):
        plainjson.decode(Plain, b'{"count": 1, "x": %s}' % deep, where="a file")
    with pytest.raises(BadInput, match=f"nested more than {plainjson.DEPTH_MAX} deep"):
        plainjson.decode(Plain, b'{"count": 1, "x": [%s]}' % deep, where="a file")


def test_a_point_survives_the_journey() -> None:
    point = Point(
        item="i",
        epoch="e",
        sequence=1,
        begun_us=1,
        taken_us=2,
        sealed_us=3,
        full=True,
        application_consistent=False,
        disks=(DiskSeal(target="vda", size_bytes=512, digest="d", witness="w"),),
        log_digest="l",
        parent_digest="",
        sent_bytes=9,
    )
    assert plainjson.decode(Point, plainjson.encode(Point, point), where="x") == point
