"""`python -m drill.fuzz.hunt ENGINE SEED SECONDS`: walk until the first fall and say which; for scratch copies."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, TypeAlias

from drill.fuzz import crash
from drill.fuzz.oracle import INVARIANTS
from drill.fuzz.walk import Fall, Route, Tally, run

Found: TypeAlias = "tuple[tuple[Route, Fall] | None, int]"
"""The first route that fell and how, or None; how many walks it took."""


def _by_walks(seed: int, seconds: float) -> Found:
    tally, unforeseen = Tally(), None
    for _, route, fall in run(seed, seconds, tally):
        if fall.invariant in INVARIANTS:
            return (route, fall), tally.sequences
        unforeseen = unforeseen or (route, fall)  # a violation counts for more: another walk may show one
    return unforeseen, tally.sequences


def _by_hypothesis(seed: int, seconds: float) -> Found:
    from drill.fuzz.hypotheses import Hunt

    hunt = Hunt(seconds)
    return hunt.run(seed), hunt.walks


def _by_crashes(_: int, seconds: float) -> Found:
    count, until = crash.Count(), time.monotonic() + seconds
    for _name, trace in crash.every(count, crash.ENDLESS_STATES, lambda _: None):
        if trace is not None:
            return (trace.route, trace.fall), count.crashes
        if time.monotonic() > until:
            break
    return None, count.crashes


ENGINES: Final[Mapping[str, Callable[[int, float], Found]]] = {
    "walk": _by_walks,
    "hypothesis": _by_hypothesis,
    "crash": _by_crashes,
}


def main(engine: str, seed: int, seconds: float) -> None:
    """Print how many walks it took, the first fall or null, and how many steps it has."""
    begun = time.monotonic()
    found, walks = ENGINES[engine](seed, seconds)
    sys.stdout.write(
        json.dumps(
            {
                "sequences": walks,
                "first": asdict(found[1]) if found else None,
                "steps": len(found[0].steps) if found else 0,
                "seconds": round(time.monotonic() - begun, 2),
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
