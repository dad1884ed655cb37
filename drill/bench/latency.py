"""How long a guest waits for its writes: measured inside the guest, with and without replication (I32).

A small program is run through the guest's agent: it overwrites a block of 4 KiB at changing places of one file, each
write followed by fdatasync and timed by the guest's own clock, one after another at an even pace.  That is what a
database's log does; a write that meets a backup job for the first time since its begin waits for the old content to be
copied to the scratch file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from drill.errors import Failed
from drill.ports import Guest

BLOCK_BYTES: Final = 4096
MARGIN_SECONDS: Final = 30.0

WRITER: Final = """
use strict; use warnings;
my ($path, $seconds, $pause, $blocks) = @ARGV;
sub now { my $b = "\\0" x 16; syscall(96, $b, 0); my ($s, $u) = unpack 'qq', $b; return $s * 1_000_000 + $u }
sysopen my $file, $path, 0102, 0600 or die "$path: $!\\n";
my ($count, $block) = (0, join '', map { chr($_ & 255) } 1 .. 4096);
my $begun = now();
do {
    my $at = now();
    sysseek $file, 4096 * (($count++ * 7919) % $blocks), 0;
    (syswrite $file, $block) == 4096 or die "write: $!\\n";
    syscall(75, fileno $file) == 0 or die "fdatasync: $!\\n";
    print now() - $at, "\\n";
    select undef, undef, undef, $pause;
} while now() - $begun < $seconds * 1e6;
unlink $path;
"""
"""Perl without a module: gettimeofday is call 96 of Linux on x86-64, fdatasync 75."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteLatency:
    """Quantiles of a guest's durable writes, in seconds; `writes` is how many there were."""

    writes: int
    median: float
    p95: float
    p99: float
    worst: float


def measure(
    guest: Guest,
    *,
    seconds: float,
    path: str = "/data/latency",
    pause_seconds: float = 0.01,
    span_bytes: int = 8 << 20,
) -> WriteLatency:
    """Write to `path` in the guest for so long, over a span of so many bytes; the file is removed at the end.

    Needs perl in the guest.  Failed with the program's words when it did not come to its end.
    """
    blocks = max(1, span_bytes // BLOCK_BYTES)
    arguments = [path, f"{seconds:g}", f"{pause_seconds:g}", str(blocks)]
    done = guest.run(["/usr/bin/perl", "-e", WRITER, *arguments], seconds + MARGIN_SECONDS)
    if done.exit_code != 0 or not done.output:
        raise Failed(
            "measuring a guest's writes", done.errors.decode(errors="replace").strip()[:200] or "no write ended"
        )
    return quantiles([int(line) / 1e6 for line in done.output.split()])


def quantiles(found: list[float]) -> WriteLatency:
    """The quantiles of at least one measurement: of each the smallest value that so many do not exceed."""
    ordered = sorted(found)

    def at(part: float) -> float:
        return ordered[max(0, ceil(part * len(ordered)) - 1)]

    return WriteLatency(writes=len(ordered), median=at(0.5), p95=at(0.95), p99=at(0.99), worst=ordered[-1])
