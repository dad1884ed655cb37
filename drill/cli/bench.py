"""`drill bench`: what drill takes and gives, measured on this machine."""

from __future__ import annotations

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
