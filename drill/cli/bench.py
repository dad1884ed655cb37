"""`drill bench`: what drill takes and gives, measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from drill.cli.output import Output, spoken
from drill.errors import Failed


@click.group()
def command() -> None:
    """Measure drill on this machine, in labs of its own."""


@command.command("cycles")
@click.option("--machines", type=click.IntRange(1, 64), default=16, show_default=True, help="Micro guests.")
@click.option("--seconds", type=click.IntRange(min=30), default=600, show_default=True, help="How long to measure.")
@click.option("--interval", type=click.Choice(["30", "300", "900"]), default="30", show_default=True, help="Seconds.")
@click.option("--kib-per-second", type=click.IntRange(1), default=1024, show_default=True, help="Change per machine.")
@spoken
def bench_cycles(out: Output, machines: int, seconds: int, interval: str, kib_per_second: int) -> None:
    """Replicate many machines that change all the time, and see whether all cycles are on time.

    The exit code is 0 only when no cycle was missed, late or failed.
    """
    from drill.bench import cycles

    order = cycles.Order(
        machines=machines, seconds=seconds, interval_seconds=int(interval), kib_per_second=kib_per_second
    )
    found = cycles.run(order, out.progress)
    lines = [f"{name}: {value}" for name, value in found.items()]
    out.result(found, *lines)
    if found["missed"] or found["late"] or found["errors"]:
        raise Failed("drill bench cycles", f"{found['missed']} cycles missed, {found['late']} late: {found['errors']}")


@command.command("groups")
@click.option("--machines", type=click.IntRange(2, 16), default=16, show_default=True, help="The largest group.")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Instants of each group.")
@spoken
def bench_groups(out: Output, machines: int, rounds: int) -> None:
    """Take instants of consistency groups of 2, 8 and 16 guests, and see how long the guests stand still."""
    from drill.bench import groups

    sizes = sorted({size for size in (2, 8) if size < machines} | {machines})
    found = groups.run(groups.Order(sizes=sizes, rounds=rounds), out.progress)
    lines = [f"{row['items']:2} guests paused for {row['paused_seconds']} s" for row in found["rows"]]
    out.result(found, *lines)


@command.command("stream")
@click.option("--mib", type=click.IntRange(1), default=2048, show_default=True, help="Size of the log.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each kind.")
@spoken
def bench_stream(out: Output, mib: int, rounds: int) -> None:
    """Send a log between two processes over loopback, plain and under mutual TLS, and take the medians."""
    from drill.bench import stream

    rows = stream.measure(mib, rounds, out.progress)
    lines = [
        f"{row.kind:5}  {row.gb_per_second:.2f} GB/s  sender {row.sender_cpu_seconds_per_gb:.2f}, "
        f"receiver {row.receiver_cpu_seconds_per_gb:.2f} CPU s/GB"
        for row in rows
    ]
    out.result(stream.document(mib, rows), *lines)


@command.command("replication")
@click.option("--disk-seed", type=int, default=1, show_default=True, help="What the disk holds.")
@click.option("--write-seed", type=int, default=1, show_default=True, help="What is written between the two copies.")
@click.option("--rounds", type=click.IntRange(1, 99), default=3, show_default=True, help="The figures are medians.")
@click.option(
    "--size",
    type=click.Choice(["full", "tiny"]),
    default="full",
    show_default=True,
    help="2 GiB with 1 GiB allocated and 64 MiB written; or a sixty-fourth of it, whose figures mean nothing.",
)
@click.option("--peers/--no-peers", "with_peers", default=True, show_default=True, help="Run the other tools too.")
@click.option(
    "--guest-writes/--no-guest-writes",
    "with_guest",
    default=True,
    show_default=True,
    help="Measure how long a guest waits for its writes, too; it takes a minute and a half.",
)
@spoken
def bench_replication(
    out: Output, disk_seed: int, write_seed: int, rounds: int, size: str, *, with_peers: bool, with_guest: bool
) -> None:
    """Copy a disk, change it, copy again, restore: drill beside the tools that are on this machine.

    Every tool gets the same disk and the same writes in the same run, and every timing ends with the data synced.
    """
    from drill.bench import guest_writes, replication
    from drill.bench.workload import Shape

    tiny = Shape(disk_bytes=32 << 20, allocated_bytes=16 << 20, changed_bytes=1 << 20)
    guest = guest_writes.Order()
    if size == "tiny":
        guest = guest_writes.Order(seconds=1, interval_seconds=1, copied_bytes=4 << 20)
    plan = replication.Plan(
        shape=Shape() if size == "full" else tiny,
        disk_seed=disk_seed,
        write_seed=write_seed,
        rounds=rounds,
        with_peers=with_peers,
        guest_writes=guest if with_guest else None,
        large_disk_bytes=replication.LARGE_DISK_BYTES if size == "full" else 1 << 30,
    )
    found = replication.run(plan, out.progress)
    out.result(found, *_table(found))


def _table(found: Mapping[str, Any]) -> list[str]:
    """The rows as a table, then what stands beside them."""
    import io

    from rich.console import Console
    from rich.table import Table

    columns = ("full_seconds", "incremental_seconds", "incremental_stored_mib", "cpu_seconds", "peak_rss_mib")
    table = Table("tool", "full s", "increment s", "stored MiB", "CPU s", "peak MiB", "restore s", "exact")
    for row in found["rows"]:
        cells = [f"{row[column]:.2f}" for column in (*columns, "restore_seconds")]
        table.add_row(row["tool"], *cells, "yes" if row["exact"] else "NO")
    text = io.StringIO()
    Console(file=text, width=110).print(table)
    large, resync = found["large_disk"], found["resync_ratio"]
    beside = [f"a resync sends {resync} of the bytes that differ"] if resync is not None else []
    if large is not None:
        said = f"{large['full_seconds']} s, {large['peak_rss_mib']} MiB"
        beside.append(f"a sparse disk of {large['gib']} GiB: {said}")
    for when, one in (found["guest_write_latency_ms"] or {}).items():
        said = f"median {one['median']} ms, 99 of 100 within {one['p99']} ms, worst {one['worst']} ms"
        beside.append(f"a guest's write, {when.replace('_', ' ')}: {said}")
    return [
        *text.getvalue().splitlines(),
        *(f"{name}: {value}" for name, value in found["ratios"].items()),
        f"an empty cycle: {found['empty_cycle_ms']} ms",
        *beside,
        *(f"left out: {name}: {reason}" for name, reason in found["left_out"].items()),
    ]
