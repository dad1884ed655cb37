"""`drill fuzz`: random walks over the replication engine in a simulated world, and bugs that prove they can fail."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drill.cli.output import Output, spoken
from drill.errors import Failed

if TYPE_CHECKING:
    from drill.fuzz.planted import Finding
    from drill.fuzz.walk import Tally

REACHABLE_FROM = 2000
"""After so many walks every fault and invariant has had its chance: one that never came is an error."""


@click.group()
def command() -> None:
    """Walk the replication engine through a simulated world, and prove that the walk can fail."""


@command.command("walk")
@click.option("--seconds", type=click.FloatRange(min=0), default=60.0, show_default=True, help="How long to walk.")
@click.option("--seed", type=int, default=1, show_default=True, help="Where to begin; the same seed walks the same.")
@click.option(
    "--traces",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("walks"),
    show_default=True,
    help="Where to keep walks that fell.",
)
@click.option(
    "--tier", type=click.Choice(["simulated", "files"]), default="simulated", help="What the receiver stands on."
)
@spoken
def fuzz_walk(out: Output, seconds: float, seed: int, traces: Path, tier: str) -> None:
    """Walk at random, with faults, and check every invariant after every step.

    A walk that falls is shrunk and kept as a trace for `drill fuzz replay`.
    """
    from drill.fuzz import real_ground, shrink, trace, walk

    fall = walk.canary()
    if fall is None:
        raise Failed("drill fuzz walk", "the canary did not fall: the oracle is blind")
    tally, falls = walk.Tally(), []
    on_files = tier == "files"
    walks = real_ground.run(seed, seconds, tally) if on_files else walk.run(seed, seconds, tally, progress=out.progress)
    for number, route, fell in walks:
        out.progress(f"walk {number} fell, {fell.invariant}: {fell.detail}")
        smaller, last = (route, fell) if on_files else shrink.shrink(route, fell)
        path = traces / f"walk-{seed}-{number}.json"
        trace.write(trace.Trace(seed, number, smaller, last), path)
        falls.append({"number": number, "trace": str(path), "steps": len(smaller.steps), **asdict(last)})
    missing = _missing(tally)
    out.result(
        {
            "seed": seed,
            "sequences": tally.sequences,
            "steps": tally.steps,
            "mean_steps": round(tally.steps / max(tally.sequences, 1), 1),
            "mean_faults": round(sum(tally.faults.values()) / max(tally.sequences, 1), 1),
            "sequences_per_cpu_second": round(tally.rate, 1),
            "repeated": tally.repeated,
            "failures": len(falls),
            "falls": falls,
            "faults": dict(tally.faults),
            "invariants": dict(tally.invariants),
            "canary": fall.invariant,
        },
        *(f"{one['invariant']:4} {one['detail']}  ({one['trace']})" for one in falls),
        f"{tally.sequences} walks, {tally.steps} steps, {sum(tally.faults.values())} faults, {len(falls)} fell; "
        f"{tally.rate:.0f} walks per second of processor time",
    )
    if falls:
        raise Failed("drill fuzz walk", f"{len(falls)} walks fell", f"drill fuzz replay {falls[0]['trace']}")
    if missing and not on_files and tally.sequences >= REACHABLE_FROM:
        raise Failed("drill fuzz walk", f"never came: {', '.join(missing)}")


@command.command("crash")
@click.option(
    "--states", type=click.IntRange(min=1), default=100_000, show_default=True, help="So many must be reached."
)
@click.option("--seconds", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Stop after so long.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Processes that share the work.  [default: one per core]")
@click.option(
    "--traces",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("walks"),
    show_default=True,
    help="Where to keep what went wrong.",
)
@spoken
def fuzz_crash(out: Output, states: int, seconds: float, jobs: int | None, traces: Path) -> None:
    """Crash fixed scripts at every operation, and recover from every state that is left.

    States count once however often they come; each is recovered from, checked, and replicated on from.
    """
    from drill.fuzz import crash_jobs, trace

    begun = time.monotonic()
    shared = jobs or len(os.sched_getaffinity(0))
    count = crash_jobs.run(states, seconds, shared, out.progress)
    bad: list[dict[str, object]] = []
    for name, found in count.bad:
        path = traces / f"crash-{len(bad)}.json"
        trace.write(found, path)
        bad.append({"script": name, "trace": str(path), **asdict(found.fall)})
        out.progress(f"{name}: {found.fall.invariant}: {found.fall.detail}")
    out.result(
        {
            "scripts": len(count.scripts),
            "crashes": count.crashes,
            "states": count.states,
            "checked_from_the_beginning": count.checked,
            "jobs": shared,
            "seconds": round(time.monotonic() - begun, 1),
            "bad": len(bad),
            "falls": bad,
        },
        f"{len(count.scripts)} scripts, {count.crashes} crashes, {count.states} distinct states, {len(bad)} bad",
    )
    if bad:
        raise Failed("drill fuzz crash", f"{len(bad)} states are bad", f"drill fuzz replay {bad[0]['trace']}")
    if count.states < states:
        raise Failed(
            "drill fuzz crash",
            f"{count.states} states were reached, not {states}",
            "give it more --seconds; where it ended before them it found nothing new, and needs more scripts",
        )


@command.command("planted")
@click.option(
    "--patch",
    "own",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Plant this patch instead of those that ship.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Where the walks begin.")
@click.option(
    "--engine", type=click.Choice(["walk", "hypothesis", "crash"]), default="walk", show_default=True, help="Who hunts."
)
@click.option("--seconds", type=click.FloatRange(min=1), help="For each plant.  [default: 60; 120 for the others]")
@click.option(
    "--campaigns", type=click.IntRange(min=1), default=1, show_default=True, help="Every plant so many times."
)
@spoken
def fuzz_planted(out: Output, own: Path | None, seed: int, engine: str, seconds: float | None, campaigns: int) -> None:
    """Plant bugs in a scratch copy of drill, one at a time, and walk until each is found.

    A plant counts as found when every campaign found it; each campaign walks from another seed.
    """
    from drill.fuzz import planted

    found: list[Finding] = []
    patches = planted.plants() if own is None else (own,)
    for campaign, patch in product(range(1, campaigns + 1), patches):
        each = seconds or planted.ENGINES[engine]
        finding = planted.hunt(patch, seed + campaign - 1, each, engine=engine, campaign=campaign)
        found.append(finding)
        out.progress(_line(finding))
    names = {path.stem for path in patches}
    missed = sorted({one.name for one in found if not one.is_found})
    out.result(
        {
            "planted": len(patches),
            "found": len(patches) - len(missed),
            "missed": missed,
            "found_of_the_catalogue": sum(name in planted.CATALOGUE for name in names - set(missed)),
            "engine": engine,
            "campaigns": campaigns,
            "worst_seconds": max((one.seconds for one in found), default=0.0),
            "not_yet_plantable": planted.NOT_YET if own is None else {},
            "plants": [asdict(one) for one in found],
        },
        *(_line(one) for one in found),
        f"{len(patches) - len(missed)} of {len(patches)} found",
    )
    if missed:
        raise Failed("drill fuzz planted", f"not found: {', '.join(missed)}")


@command.command("replay")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@spoken
def fuzz_replay(out: Output, file: Path) -> None:
    """Walk a trace again, step by step."""
    from drill.fuzz import trace
    from drill.fuzz.walk import walk

    kept = trace.read(file)
    fall, outcomes = walk(kept.route, Counter(), Counter())
    walked = (*outcomes[: fall.step if fall else len(outcomes)], "fell")
    rows = [
        {"step": step.kind, "args": dict(step.args), "outcome": outcome}
        for step, outcome in zip(kept.route.steps, walked, strict=False)
    ]
    out.result(
        {"file": str(file), "seed": kept.seed, "number": kept.number, "steps": rows, "fall": fall and asdict(fall)},
        *(f"{row['step']:10} {row['outcome']:24} {row['args'] or ''}" for row in rows),
        f"{fall.invariant}: {fall.detail}" if fall else "it does not fall",
    )
    if fall:
        raise Failed("drill fuzz replay", f"{fall.invariant}: {fall.detail}")


def _missing(tally: Tally) -> list[str]:
    """Faults that never happened and invariants that were never evaluated."""
    counts = {**tally.faults, **tally.invariants}
    return [name for name, count in counts.items() if not count]


def _line(found: Finding) -> str:
    judged = f"{found.invariant:10} after {found.seconds:5.1f} s, {found.walks} walks: {found.detail}"
    return f"{found.name:28} {judged if found.is_found else f'NOT FOUND {found.detail}'}"
