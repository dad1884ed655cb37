"""Planted bugs: patches applied to a scratch copy of the package, each to be found by the walker.

They prove that the walker can fail.  A patch is at most five lines of product code; its text before the first file says
what it breaks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Failed, Unknown
from drill.fuzz import patches

SECONDS = 60.0
"""Each must be found within this time."""

PACKAGE = Path(__file__).resolve().parents[1]
PLANTS = Path(__file__).resolve().parent / "plants"

NOT_YET = {
    "prune_locked": "retention",
    "prune_all": "retention",
    "retain_under_test_failover": "retention",
    "fold_inplace": "folding",
    "two_receivers": "terms",
    "stale_term_accepted": "terms",
    "plan_step_twice": "plans",
    "unknown_reported_pass": "plans",
    "reverse_without_fence": "reverse replication",
    "cancel_loses_point": "changing the recovery point",
}
"""Plants of the catalogue whose mechanism does not exist yet, and what it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one plant; `invariant` is empty when it was not found."""

    name: str
    says: str
    invariant: str
    detail: str
    seconds: float
    walks: int


def plants() -> tuple[Path, ...]:
    """The patches that ship, by name."""
    return tuple(sorted(PLANTS.glob("*.patch")))


def hunt(patch: Path, seed: int, seconds: float = SECONDS) -> Finding:
    """Plant a patch in a scratch copy and walk there until it is found.

    BadInput for a patch that does not fit, Failed when the copy cannot walk at all.
    """
    says, hunks = patches.parse(patch.read_text(encoding="utf-8"), str(patch))
    with _copy() as folder:
        patches.apply(hunks, folder, str(patch))
        begun = time.monotonic()
        found = _walk(folder, seed, seconds)
        took = time.monotonic() - begun
    fall = found["first"]
    return Finding(
        name=patch.stem,
        says=says,
        invariant=str(fall["invariant"]) if isinstance(fall, dict) else "",
        detail=str(fall["detail"]) if isinstance(fall, dict) else "",
        seconds=round(took, 2),
        walks=int(str(found["sequences"])),
    )


@contextmanager
def _copy() -> Iterator[Path]:
    """A folder that holds a copy of the package."""
    with tempfile.TemporaryDirectory(prefix="drill-planted-") as folder:
        ignored = shutil.ignore_patterns("__pycache__", "_data", "plants")
        shutil.copytree(PACKAGE, Path(folder, "drill"), ignore=ignored)
        yield Path(folder)


def _walk(folder: Path, seed: int, seconds: float) -> dict[str, object]:
    """Walk in the copy until the first fall; what the walker says, as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "drill.fuzz.hunt", str(seed), str(seconds)]
    try:
        ended = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unknown("walking in a scratch copy", f"no end after {seconds + 60:.0f} s") from error
    if ended.returncode != 0:
        raise Failed("walking in a scratch copy", ended.stderr.strip()[-500:])
    found: dict[str, object] = json.loads(ended.stdout)
    return found
