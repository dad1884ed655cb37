"""What a cycle puts into its log, and what it says of itself afterwards."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest

from drill.model.point import DiskCarried, Way
from drill.replication.cyclelog import LogReader
from drill.replication.frame import Codec
from tests.contract.pair import ITEM, Pair

MIB = 1 << 20


def codecs(pair: Pair) -> list[Codec]:
    """How the frames of the last log are stored."""
    _, log = pair.link.logs[-1]
    return [Codec(frame.head[1]) for frame in LogReader(io.BytesIO(log).read).frames()]


@pytest.mark.parametrize(("compress", "codec"), [(True, Codec.ZSTD), (False, Codec.STORED)])
def test_frames_are_compressed_where_the_order_says_so(compress: bool, codec: Codec) -> None:
    pair = Pair({"vda": 2 * MIB})
    journal = pair.source.journal
    pair.source.save(replace(journal, order=replace(journal.order, compress=compress)))
    pair.host.write("vda", 0, b"text" * (2 * MIB // 4))
    point = pair.cycle()
    assert codecs(pair) == [codec, codec]
    assert (point.sent_bytes < MIB) is compress


def test_what_did_not_compress_eight_times_in_a_row_is_tried_every_eighth_time_until_it_does() -> None:
    pair = Pair({"vda": 20 * MIB})
    pair.link.fail = lambda step: pair.clock.sleep(1) if step == "write" else None  # a line where compressing pays
    pair.host.write("vda", 0, random.Random(1).randbytes(8 * MIB) + b"text" * (12 * MIB // 4))
    pair.cycle()
    assert codecs(pair) == [Codec.STORED] * 15 + [Codec.ZSTD] * 5


def test_a_cycle_says_what_it_took() -> None:
    pair = Pair({"vda": MIB, "vdb": MIB})
    pair.host.write("vda", 0, b"x" * 4096)
    pair.cycle()
    pair.host.write("vda", 0, b"y" * 4096)
    pair.host.write("vdb", 0, bytes(65536))
    ticks = {"machine": 100, "begin": 10, "read": 1000}
    pair.host.fail = lambda operation: pair.clock.sleep(ticks.get(operation, 0) * 1e-6)
    started = pair.clock.ticks
    point, record = pair.source.cycle(witness=False)
    assert (record.sequence, record.full, record.sent_bytes) == (2, False, point.sent_bytes)
    assert record.started_us == started + 1
    assert record.begin_seconds == 10
    assert record.transfer_seconds == 1001, "one look at the clock is the receiver's"
    assert record.total_seconds == 1111
    assert (record.dirty_bytes, record.zero_bytes, record.frozen_seconds) == (65536, 65536, 0.0)
    assert record.disks == (
        DiskCarried(target="vda", way=Way.TRACKED, reason=""),
        DiskCarried(target="vdb", way=Way.TRACKED, reason=""),
    )


def test_a_disk_whose_page_digests_rotted_on_the_source_is_compared_and_it_is_said_why() -> None:
    pair = Pair({"vda": MIB, "vdb": MIB})
    pair.cycle()
    pair.host.write("vda", 0, b"y" * 4096)
    pair.cycle()
    pair.cycle()  # changes nothing, so no staged digests are left that would mend the table
    pair.source_files.content[f"{ITEM}/digests/vda.chunks"][3] ^= 1
    _, record = pair.source.cycle(witness=False)
    assert [(one.target, one.way, one.reason) for one in record.disks] == [
        ("vda", Way.COMPARED, "its page digests are damaged"),
        ("vdb", Way.TRACKED, ""),
    ]
    assert pair.wrong_points_by_reader() == []


def test_while_a_cycle_runs_its_progress_is_told_and_afterwards_no_more() -> None:
    pair = Pair({"vda": 4 * MIB})
    pair.host.write("vda", 0, b"x" * 4 * MIB)
    seen = []

    def look(operation: str) -> None:
        if operation == "read" and pair.source.progress is not None:
            seen.append(pair.source.progress)

    pair.host.fail = look
    pair.cycle()
    assert len(seen) == 4
    assert seen == sorted(seen, key=lambda one: one.bytes_done)
    assert {one.bytes_total for one in seen} == {4 * MIB}
    assert pair.source.progress is None
    assert pair.source.ways == ()
