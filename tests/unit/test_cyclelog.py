"""The cycle log: what goes in comes out, and nothing else does."""

from __future__ import annotations

import io
import random
import struct
from dataclasses import replace

import pytest
import zstandard
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drill.errors import BadInput, Damaged, DrillError
from drill.model.cycle import LogDisk, LogHeader, LogTrailer
from drill.model.extent import Extent, ExtentKind
from drill.model.machine import Machine
from drill.model.point import DiskSeal
from drill.replication import cyclelog, pages
from drill.replication import frame as frame_
from drill.replication.cyclelog import LogReader, LogWriter, Order
from drill.replication.frame import CONTENT_MAX, Frame, Packed, piece, trim, unpack

D, Z = ExtentKind.DATA, ExtentKind.ZERO
MACHINE = Machine(name="vm", uuid="u", memory_mib=64, vcpus=1, disks=(), nics=())
PAGE = 4096
Content = list[tuple[Extent, memoryview]]


def pack(index: int, content: Content, *, compress: bool = True) -> Packed:
    return frame_.pack(index, [piece(extent, body) for extent, body in content], compress=compress)


def header(*disks: LogDisk, **changes: object) -> LogHeader:
    found = LogHeader(
        item="item-1",
        epoch="epoch1",
        sequence=2,
        parent_digest="a" * 64,
        supersedes="",
        begun_us=1,
        taken_us=2,
        application_consistent=False,
        machine=MACHINE,
        disks=disks or (LogDisk(target="vda", size_bytes=64 * PAGE, full=False),),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def written(head: LogHeader, frames: list[Packed]) -> bytes:
    out = io.BytesIO()
    writer = LogWriter(out.write, head)  # type: ignore[arg-type]
    for frame in frames:
        writer.frame(frame)
    seals = tuple(DiskSeal(target=d.target, size_bytes=d.size_bytes, digest="d" * 64) for d in head.disks)
    digest = writer.trailer(LogTrailer(disks=seals))
    writer.finish()
    assert writer.sent_bytes == len(out.getvalue())
    assert out.getvalue()[-32:].hex() == digest
    return out.getvalue()


def read(log: bytes) -> tuple[LogReader, list[Frame]]:
    reader = LogReader(io.BytesIO(log).read)
    order = Order(reader.header)
    frames = []
    for packed in reader.frames():
        frame = unpack(packed)
        order.check(frame)
        frames.append(frame)
    order.close()
    return reader, frames


def data(offset: int, content: bytes) -> tuple[Extent, memoryview]:
    return Extent(offset, len(content), D), memoryview(content)


def zero(offset: int, length: int) -> tuple[Extent, memoryview]:
    return Extent(offset, length, Z), memoryview(b"")


def laid_out(steps: list[tuple[int, int, str]], seed: int) -> Content:
    """Sorted pages of a disk of 64 pages, compressible or not, some of them zeros that claim to be data."""
    at, found = 0, []
    for gap, count, kind in steps:
        offset, length = (at + gap) * PAGE, count * PAGE
        filler = {"r": random.Random(seed).randbytes(length), "c": b"ab" * (length // 2), "n": bytes(length)}
        found.append(zero(offset, length) if kind == "z" else data(offset, filler[kind]))
        at += gap + count
    return found


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from("zrcn")), max_size=8)
contents = st.builds(laid_out, steps, st.integers(0, 9))


@given(contents, contents)
@settings(max_examples=60)
@example([], [])
def test_what_was_packed_comes_back(one: Content, two: Content) -> None:
    disks = (
        LogDisk(target="vda", size_bytes=64 * PAGE, full=False),
        LogDisk(target="vdb", size_bytes=64 * PAGE, full=False),
    )
    packed = [pack(index, content) for index, content in enumerate((one, two)) if content]
    reader, frames = read(written(header(*disks), packed))
    assert reader.header == header(*disks)
    for index, content in enumerate((one, two)):
        pieces = [part for frame in frames if frame.index == index for part in frame.pieces]
        assert [(p.extent.offset, p.extent.length) for p in pieces] == [(e.offset, e.length) for e, _ in content]
        for part, (extent, body) in zip(pieces, content, strict=True):
            assert bytes(part.data) == (bytes(body) if any(body) else b"")
            assert part.extent.kind is (D if any(body) else Z)
            assert extent.length == part.extent.length


@given(st.integers(0, 1 << 20), contents.filter(bool))
@settings(max_examples=60)
def test_a_flipped_bit_is_found_wherever_it_is(seed: int, content: Content) -> None:
    log, rng = written(header(), [pack(0, content)]), random.Random(seed)
    for _ in range(20):
        bad = bytearray(log)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        with pytest.raises(DrillError):
            read(bytes(bad))


@given(st.data())
@settings(max_examples=40)
def test_a_log_cut_anywhere_is_refused(draw: st.DataObject) -> None:
    log = written(header(), [pack(0, [data(0, b"x" * PAGE), zero(PAGE, PAGE)])])
    with pytest.raises(DrillError):
        read(log[: draw.draw(st.integers(0, len(log) - 1))])


def test_content_that_was_changed_and_compressed_again_does_not_match_its_frame() -> None:
    """The log's own digest is made right again: only the frame's digest can tell."""
    packed = pack(0, [data(0, b"ab" * (PAGE // 2))])
    other = zstandard.ZstdCompressor(level=1).compress(b"ac" * (PAGE // 2))
    head = struct.pack("<BBHIII32s", *struct.unpack("<BBHIII32s", packed.head)[:5], len(other), packed.head[-32:])
    with pytest.raises(Damaged, match="digest"):
        unpack(replace(packed, head=head, payload=other))


def sealed(packed: Packed) -> Packed:
    """The same frame with a digest that is right for what it holds."""
    fields = bytes(packed.head[:-32])
    digest: bytes = blake3(b"".join([fields, packed.table, packed.leaves, packed.payload])).digest()
    return replace(packed, head=fields + digest)


def test_a_frame_is_checked_before_it_is_decompressed() -> None:
    packed = pack(0, [data(0, b"ab" * (PAGE // 2))])
    with pytest.raises(Damaged, match="does not match its digest"):
        unpack(replace(packed, payload=b"no zstd at all"))


def test_a_page_that_is_not_what_its_leaf_says_is_found_where_the_frame_is_looked_at() -> None:
    """One page of each frame is recomputed, another in each: sixteen frames with one wrong leaf in four are enough."""
    found = 0
    for number in range(16):
        packed = pack(0, [data(0, random.Random(number).randbytes(4 * PAGE))])
        wrong = bytes(packed.leaves[:16]) + bytes(16) + bytes(packed.leaves[32:])
        try:
            unpack(sealed(replace(packed, leaves=wrong)))
        except Damaged:
            found += 1
    assert 0 < found < 16


def test_a_disk_of_one_page_cannot_have_a_wrong_leaf() -> None:
    packed = pack(0, [data(0, b"x" * PAGE)])
    with pytest.raises(Damaged, match="another digest"):
        unpack(sealed(replace(packed, leaves=b"y" * 16)))


def test_nothing_is_sent_that_does_not_decompress_to_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = zstandard.ZstdCompressor(level=1)

    class Lies:
        def __init__(self, **_: object) -> None:
            pass

        def compress(self, data: memoryview) -> bytes:
            return sound.compress(b"c" * len(data))

    monkeypatch.setattr(zstandard, "ZstdCompressor", Lies)
    with pytest.raises(RuntimeError, match="does not decompress"):
        pack(0, [data(0, b"ab" * (PAGE // 2))])


def test_a_log_is_named_by_what_it_holds() -> None:
    """Its digest does not cover the payloads themselves: those of their frames do, and it covers these."""
    one, other = (written(header(), [pack(0, [data(0, letter * PAGE)])]) for letter in (b"x", b"y"))
    assert one[-32:] != other[-32:]


def test_an_extent_that_was_moved_does_not_match_its_frame() -> None:
    packed = pack(0, [data(0, b"ab" * (PAGE // 2))])
    table = struct.pack("<QQB", PAGE, PAGE, 0)
    with pytest.raises(Damaged, match="digest"):
        unpack(replace(packed, table=table))


def test_a_log_whose_last_digest_is_wrong_is_damaged() -> None:
    log = bytearray(written(header(), []))
    log[-1] ^= 1
    with pytest.raises(Damaged, match="log does not match"):
        read(bytes(log))


def test_a_payload_that_claims_to_hold_gigabytes_takes_no_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(64 << 20))
    packed = pack(0, [data(0, b"ab" * (PAGE // 2))])
    head = struct.pack("<BBHIII32s", 2, 1, 0, 1, PAGE, len(bomb), packed.head[-32:])
    with pytest.raises(DrillError):
        unpack(sealed(replace(packed, head=head, payload=bomb)))


def test_a_stored_frame_of_another_length_than_its_content_is_refused() -> None:
    packed = pack(0, [data(0, bytes(range(256)) * 16)], compress=False)
    head = struct.pack("<BBHIII32s", 2, 0, 0, 1, PAGE, 512, packed.head[-32:])
    with pytest.raises(BadInput, match="another length"):
        unpack(sealed(replace(packed, head=head, payload=packed.payload[:512])))


@pytest.mark.parametrize(("content", "said"), [(PAGE - 512, "beyond"), (PAGE + 512, "do not add up")])
def test_a_frame_holds_what_its_extents_say_and_no_other_amount(content: int, said: str) -> None:
    table = struct.pack("<QQB", 0, PAGE, 0) + struct.pack("<QQB", PAGE, PAGE, 1)
    assert frame_.leaf_bytes_of(table, PAGE) == 16
    with pytest.raises(BadInput, match=said):
        frame_.leaf_bytes_of(table, content)


def test_an_extent_that_is_neither_data_nor_zeros_is_refused() -> None:
    with pytest.raises(BadInput, match="kind 2"):
        frame_.leaf_bytes_of(struct.pack("<QQB", 0, PAGE, 2), 0)


def longer(stream: bytes) -> bytes:
    """The same zstd stream, whose header claims a page where it holds 3,000 bytes."""
    at = stream.index(struct.pack("<H", 3000 - 256))
    return stream[:at] + struct.pack("<H", PAGE - 256) + stream[at + 2 :]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(longer(zstandard.ZstdCompressor(level=1).compress(b"ab" * 1500)), id="shorter than it says"),
        pytest.param(zstandard.ZstdCompressor(level=1).compress(b"ab" * (PAGE // 2))[:-1], id="cut"),
        pytest.param(zstandard.ZstdCompressor(level=1).compress(b"ab" * (PAGE // 2)) + b"x", id="with a tail"),
    ],
)
def test_a_compressed_frame_that_is_not_its_content_exactly_is_damaged(payload: bytes) -> None:
    packed = pack(0, [data(0, b"ab" * (PAGE // 2))])
    head = struct.pack("<BBHIII32s", 2, 1, 0, 1, PAGE, len(payload), packed.head[-32:])
    with pytest.raises(Damaged, match="cannot be read"):
        unpack(sealed(replace(packed, head=head, payload=payload)))


def test_nothing_is_believed_of_a_log_before_its_end_was_read() -> None:
    reader = LogReader(io.BytesIO(written(header(), [])).read)
    with pytest.raises(RuntimeError):
        _ = reader.trailer
    with pytest.raises(RuntimeError):
        _ = reader.log_digest


def record(
    *, kind: int = 2, codec: int = 0, index: int = 0, count: int = 1, content: int = 0, stored: int = 0
) -> bytes:
    return struct.pack("<BBHIII32s", kind, codec, index, count, content, stored, bytes(32))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(record(content=CONTENT_MAX + 1), id="content beyond a frame"),
        pytest.param(record(stored=CONTENT_MAX), id="stored more than its content"),
        pytest.param(record(count=0), id="no extents"),
        pytest.param(record(count=1 << 31), id="extents beyond a frame"),
        pytest.param(record(index=1), id="a disk that is not in the header"),
        pytest.param(record(codec=9), id="an unknown codec"),
        pytest.param(record(kind=1), id="a second header"),
        pytest.param(record(kind=77), id="an unknown record"),
        pytest.param(record(kind=3, content=1 << 30, stored=1 << 30), id="a trailer of a gigabyte"),
    ],
)
def test_a_record_beyond_its_limits_is_refused_before_it_is_read(tail: bytes) -> None:
    start = written(header(), [])
    prefix = start[: start.index(b'{"item"')]
    body = start[len(prefix) :]
    text = body[: struct.unpack("<BBHIII32s", prefix[12:])[4]]
    asked: list[int] = []
    source = io.BytesIO(prefix + text + tail)

    def take(length: int) -> bytes:
        asked.append(length)
        return source.read(length)

    reader = LogReader(take)
    with pytest.raises(BadInput):
        list(reader.frames())
    assert max(asked) <= CONTENT_MAX


@pytest.mark.parametrize("start", [b"", b"QFI\xfb" + bytes(8), b"DRILLCYC\0\0\0\0", b"DRILLCYC\x01\0\x01\0"])
def test_what_is_no_log_of_this_version_is_refused(start: bytes) -> None:
    with pytest.raises(BadInput):
        LogReader(io.BytesIO(start + bytes(100)).read)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"disks": ()}, id="no disks"),
        pytest.param({"disks": (LogDisk(target="vda", size_bytes=512, full=False),) * 2}, id="a disk twice"),
        pytest.param({"disks": (LogDisk(target="vda", size_bytes=0, full=False),)}, id="an empty disk"),
        pytest.param({"disks": (LogDisk(target="vda", size_bytes=513, full=False),)}, id="half a sector"),
        pytest.param({"disks": (LogDisk(target="vda", size_bytes=1 << 60, full=False),)}, id="a disk too large"),
        pytest.param({"sequence": 0}, id="sequence zero"),
        pytest.param({"sequence": 1}, id="a first log with a parent"),
        pytest.param({"parent_digest": ""}, id="a later log without"),
        pytest.param({"sequence": 1, "parent_digest": ""}, id="a first log that is not full"),
        pytest.param({"supersedes": "b" * 64}, id="a later log that supersedes"),
        pytest.param(
            {"disks": (LogDisk(target="vda", size_bytes=512, full=True, compared=True),)},
            id="a disk whole and compared",
        ),
        pytest.param(
            {
                "sequence": 1,
                "parent_digest": "",
                "disks": (LogDisk(target="vda", size_bytes=512, full=False, compared=True),),
            },
            id="a disk compared with no head",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        cyclelog.check_header(replace(header(), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("full", "contents_"),
    [
        pytest.param(False, [[data(PAGE, b"x" * PAGE)], [data(0, b"x" * PAGE)]], id="not sorted"),
        pytest.param(False, [[zero(0, 2 * PAGE)], [zero(PAGE, PAGE)]], id="overlapping"),
        pytest.param(False, [[zero(0, 65 * PAGE)]], id="beyond the disk"),
        pytest.param(False, [[zero(0, (1 << 63) - 512)]], id="length that overflows"),
        pytest.param(False, [[zero(512, PAGE)]], id="off the page"),
        pytest.param(False, [[zero(0, 512)]], id="a part of a page"),
        pytest.param(True, [[zero(0, 63 * PAGE)]], id="a full copy that ends early"),
        pytest.param(True, [[zero(0, PAGE), zero(2 * PAGE, 62 * PAGE)]], id="a full copy with a gap"),
        pytest.param(True, [], id="a full copy of nothing"),
    ],
)
def test_extents_that_are_out_of_place_are_refused(full: bool, contents_: list[Content]) -> None:
    head = header(LogDisk(target="vda", size_bytes=64 * PAGE, full=full))
    log = written(head, [pack(0, content) for content in contents_])
    with pytest.raises(BadInput):
        read(log)


def test_disks_out_of_the_headers_order_are_refused() -> None:
    disks = tuple(LogDisk(target=target, size_bytes=64 * PAGE, full=False) for target in ("vda", "vdb"))
    with pytest.raises(BadInput):
        read(written(header(*disks), [pack(1, [zero(0, PAGE)]), pack(0, [zero(0, PAGE)])]))


def test_a_trailer_for_other_disks_is_refused() -> None:
    out = io.BytesIO()
    writer = LogWriter(out.write, header())  # type: ignore[arg-type]
    writer.trailer(LogTrailer(disks=(DiskSeal(target="vdb", size_bytes=64 * PAGE, digest=""),)))
    writer.finish()
    with pytest.raises(BadInput):
        read(out.getvalue())


def test_what_does_not_compress_is_stored_as_it_is() -> None:
    packed = pack(0, [data(0, bytes(range(256)) * 16)], compress=False)
    assert len(packed.payload) == PAGE
    assert bytes(unpack(packed).pieces[0].data) == bytes(range(256)) * 16


letters = st.lists(st.sampled_from("abz"), min_size=12, max_size=12)


@given(letters.filter(lambda now: set(now) != {"z"}), letters)
def test_trimming_leaves_exactly_the_pages_that_changed(now: list[str], before: list[str]) -> None:
    def disk(letters: list[str]) -> bytes:
        return b"".join(bytes(PAGE) if letter == "z" else letter.encode() * PAGE for letter in letters)

    parts = list(trim(piece(*data(5 * PAGE, disk(now))), pages.leaves(memoryview(disk(before)))))
    starts = [part.extent.offset - 5 * PAGE for part in parts]
    touched = [
        at // PAGE for part, at in zip(parts, starts, strict=True) for at in range(at, at + len(part.data), PAGE)
    ]
    assert touched == [i for i, (one, other) in enumerate(zip(now, before, strict=True)) if one != other]
    for part, at in zip(parts, starts, strict=True):
        assert bytes(part.data) == disk(now)[at : at + part.extent.length]
        assert part.leaves == pages.leaves(part.data)


@pytest.mark.parametrize(("before", "kept"), [(bytes(16 * 3), 0), (bytes(16) + b"x" * 32, 1)])
def test_zeros_are_left_out_only_where_all_was_zero_before(before: bytes, kept: int) -> None:
    assert len(list(trim(piece(*zero(0, 3 * PAGE)), before))) == kept


def test_a_short_last_page_is_trimmed_as_a_page() -> None:
    body = b"x" * PAGE + b"y" * 512
    known = pages.leaves(memoryview(b"x" * PAGE + b"z" * 512))
    parts = list(trim(piece(*data(0, body)), known))
    assert [(part.extent.offset, bytes(part.data)) for part in parts] == [(PAGE, b"y" * 512)]
