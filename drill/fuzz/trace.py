"""Walks that failed, written down: a JSON file that `drill fuzz replay` walks again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drill.errors import BadInput
from drill.fuzz.deeds import DEEDS
from drill.fuzz.steps import Step
from drill.fuzz.walk import Fall, Route
from drill.fuzz.world import DiskPlan

FORMAT = "drill walk 1"


@dataclass(frozen=True, slots=True)
class Trace:
    """A route, where it came from, and how it fell when it was written down."""

    seed: int
    number: int
    route: Route
    fall: Fall


def write(trace: Trace, path: Path) -> None:
    """Write a trace to `path`."""
    document = {
        "format": FORMAT,
        "seed": trace.seed,
        "number": trace.number,
        "fall": asdict(trace.fall),
        "disks": [asdict(disk) for disk in trace.route.disks],
        "steps": [[step.kind, dict(step.args)] for step in trace.route.steps],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Trace:
    """Read a trace.  BadInput for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        steps = tuple(Step(str(kind), dict(args)) for kind, args in found["steps"])
        disks = tuple(DiskPlan(**disk) for disk in found["disks"])
        trace = Trace(int(found["seed"]), int(found["number"]), Route(disks, steps), Fall(**found["fall"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(str(path), f"no walk that can be read: {error}") from error
    strangers = {step.kind for step in trace.route.steps} - DEEDS.keys()
    if found["format"] != FORMAT or strangers:
        raise BadInput(str(path), f"not of the form {FORMAT!r}, or steps {sorted(strangers)} are not known")
    return trace
