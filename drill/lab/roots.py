"""Where labs keep their state.  What they reuse between them lies in `drill.lab.images.cache_root()`."""

from __future__ import annotations

import os
from pathlib import Path

STATE_INSIDE = Path("/var/lib/drill")
"""Where every lab host finds its own state, whatever the state root outside is."""


def state_root() -> Path:
    """The folder of everything that must not be lost: `DRILL_STATE_DIR`, else /var/lib/drill."""
    return Path(os.environ.get("DRILL_STATE_DIR") or STATE_INSIDE)


def labs_root() -> Path:
    """The folder with one folder per lab that stands."""
    return state_root() / "labs"
