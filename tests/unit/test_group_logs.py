"""A consistency group in a cycle log: the version that may name one, and its limits."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from blake3 import blake3

from drill.errors import BadInput
from drill.model.cycle import LogHeader
from drill.model.point import GroupMark
from drill.replication import plainjson
from drill.replication.cyclelog import MAGIC, VERSION, LogReader, check_header
from drill.replication.frame import RECORD, Codec
from tests.unit.test_cyclelog import header, read, written

MARK = GroupMark(name="shop", instant="n0000001", members=16)


def text_of(head: LogHeader) -> bytes:
    return plainjson.encode(LogHeader, head)


def beginning(version: int, text: bytes) -> bytes:
    """Prologue and header record of a log."""
    record = RECORD.pack(1, Codec.STORED, 0, 0, len(text), len(text), blake3(text).digest())
    return struct.pack("<8sHH", MAGIC, version, 0) + record + text


def test_a_log_carries_the_instant_of_its_group() -> None:
    reader, _ = read(written(header(group=MARK), []))
    assert reader.header.group == MARK
    assert VERSION == 2


def test_a_log_of_the_first_version_is_read_as_one_without_a_group() -> None:
    text = text_of(header()).replace(b',"group":null', b"")
    assert b"group" not in text
    assert LogReader(io.BytesIO(beginning(1, text)).read).header == header()


def test_a_group_in_a_log_of_the_first_version_is_refused() -> None:
    with pytest.raises(BadInput, match="version 1 that names a consistency group"):
        LogReader(io.BytesIO(beginning(1, text_of(header(group=MARK)))).read)


def test_a_field_that_no_version_has_is_refused() -> None:
    text = text_of(header(group=MARK)).replace(b'"members":16', b'"members":16,"weight":1')
    with pytest.raises(BadInput, match="'weight' is no field"):
        LogReader(io.BytesIO(beginning(2, text)).read)


@pytest.mark.parametrize(
    "change", [{"members": 1}, {"members": 17}, {"instant": "../x"}, {"instant": ""}, {"name": "a/b"}, {"name": ""}]
)
def test_a_mark_beyond_its_limits_is_refused(change: dict[str, str | int]) -> None:
    with pytest.raises(BadInput):
        check_header(header(group=replace(MARK, **change)))  # type: ignore[arg-type]
