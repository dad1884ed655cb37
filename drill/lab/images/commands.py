"""One external command with a deadline, its outcome as an error of the tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from drill.errors import Failed, Unknown, Unsupported

LAST_LINES = 6


def run(
    argv: Sequence[str],
    *,
    deadline_s: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run one command in a folder and return its standard output; `environment` is added to ours, messages in English.

    Raises Unsupported when the program is not there, Unknown when it did not end within `deadline_s` seconds (it is
    killed), Failed with the last lines of what it said otherwise.
    """
    words = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    action = " ".join(argv[:3])
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unsupported(argv[0], f"needed for `{action}`", "./run installs it") from error
    except subprocess.TimeoutExpired as error:
        raise Unknown(action, f"no end within {deadline_s:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        raise Failed(action, f"exit {done.returncode}: " + " / ".join(said[-LAST_LINES:]))
    return done.stdout.decode(errors="replace")
