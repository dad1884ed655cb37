"""Compressing pays where the line is slower than the compressor, and nowhere else."""

from __future__ import annotations

from drill.replication.pace import FAST_BYTES_PER_SECOND, LOOK_BYTES, Pace
from drill.sim.clock import SimClock


def test_a_fast_line_gets_frames_as_they_are_until_it_is_slow() -> None:
    clock, sent = SimClock(), bytearray()
    pace, speed = Pace(clock), 2 * FAST_BYTES_PER_SECOND

    def write(data: bytes | memoryview) -> None:
        clock.sleep(len(data) / speed)
        sent.extend(data)

    timed = pace.timed(write)
    part = bytes(LOOK_BYTES // 4)
    for _ in range(3):
        timed(part)
    assert pace.compresses, "until something was seen, frames are compressed"
    timed(part)
    assert not pace.compresses
    speed = FAST_BYTES_PER_SECOND // 2
    for _ in range(3):
        timed(part)
    assert not pace.compresses, "a moment is no measurement"
    timed(part)
    assert pace.compresses
    assert len(sent) == 2 * LOOK_BYTES
