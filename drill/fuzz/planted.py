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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Failed, Unknown
from drill.fuzz import patches
from drill.fuzz.oracle import INVARIANTS

SECONDS = 60.0
"""Each must be found by the walker within this time."""

HYPOTHESIS_SECONDS = 120.0
"""Hypothesis has twice the time, and makes what it finds small in it."""

ENGINES = {"walk": SECONDS, "hypothesis": HYPOTHESIS_SECONDS, "crash": HYPOTHESIS_SECONDS}
"""Who may hunt, and for how many seconds at most."""

DURABILITY = ("no_fsync_log", "no_fsync_manifest", "no_dirsync", "ack_early", "enospc_ack")
"""Plants that break what must survive a crash."""
SHRINKING = 120.0

PACKAGE = Path(__file__).resolve().parents[1]
PLANTS = Path(__file__).resolve().parent / "plants"

CATALOGUE = frozenset(
    (
        *("no_fsync_log", "no_fsync_manifest", "no_dirsync", "ack_early"),
        *("no_crc", "no_read_crc", "no_epoch", "gap_ok"),
        *("dup_reapply", "partial_disk", "skip_zero", "last_block"),
        *("enospc_ack", "eio_retry", "prune_locked", "fold_inplace"),
        *("unlink_first", "prune_all", "test_writes_base", "clear_early"),
        *("nak_acks", "ignore_bitmap", "lose_dirty", "torn_instant"),
        *("base_is_newest_checkpoint", "thaw_skipped_on_exception", "stale_term_accepted", "writes_during_resync_lost"),
        *("per_disk_mixed_instant", "retain_under_test_failover", "manifest_rollback_accepted", "two_receivers"),
        *("order_by_wall_clock", "len_overflow_4GiB", "overlapping_extents", "short_read_as_zero"),
    )
)
"""Plants of the catalogue that concern the engine; the others of those that ship are ours."""

NOT_YET = {
    "plan_step_twice": "plans",
    "unknown_reported_pass": "plans",
    "reverse_without_fence": "reverse replication",
    "cancel_loses_point": "changing the recovery point",
}
"""Plants of the catalogue whose mechanism does not exist yet, and what it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one plant; `invariant` is empty when it was not found.

    A walk that fell over the patch itself, and violated nothing, has not found it.
    """

    name: str
    says: str
    invariant: str
    detail: str
    seconds: float
    walks: int
    steps: int = 0
    campaign: int = 1

    @property
    def is_found(self) -> bool:
        """Whether an invariant was seen violated."""
        return self.invariant in INVARIANTS


def plants() -> tuple[Path, ...]:
    """The patches that ship, by name."""
    return tuple(sorted(PLANTS.glob("*.patch")))


def hunt(patch: Path, seed: int, seconds: float = SECONDS, *, engine: str = "walk", campaign: int = 1) -> Finding:
    """Plant a patch in a scratch copy and let an engine walk there until it is found; `campaign` is only a label.

    BadInput for a patch that does not fit, Failed when the copy cannot walk at all.
    """
    says, hunks = patches.parse(patch.read_text(encoding="utf-8"), str(patch))
    with _copy() as folder:
        patches.apply(hunks, folder, str(patch))
        found = _walk(folder, engine, seed, seconds)
    fall = found["first"]
    return Finding(
        name=patch.stem,
        says=says,
        invariant=str(fall["invariant"]) if isinstance(fall, dict) else "",
        detail=str(fall["detail"]) if isinstance(fall, dict) else "",
        seconds=float(str(found["seconds"])),
        walks=int(str(found["sequences"])),
        steps=int(str(found["steps"])),
        campaign=campaign,
    )


@contextmanager
def _copy() -> Iterator[Path]:
    """A folder that holds a copy of the package."""
    with tempfile.TemporaryDirectory(prefix="drill-planted-") as folder:
        ignored = shutil.ignore_patterns("__pycache__", "_data", "plants")
        shutil.copytree(PACKAGE, Path(folder, "drill"), ignore=ignored)
        yield Path(folder)


def _walk(folder: Path, engine: str, seed: int, seconds: float) -> dict[str, object]:
    """Walk in the copy until the first fall; what the walker says, as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "drill.fuzz.hunt", engine, str(seed), str(seconds)]
    try:
        ended = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds + SHRINKING, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unknown("walking in a scratch copy", f"no end after {seconds + SHRINKING:.0f} s") from error
    if ended.returncode != 0:
        raise Failed("walking in a scratch copy", ended.stderr.strip()[-500:])
    found: dict[str, object] = json.loads(ended.stdout)
    return found
