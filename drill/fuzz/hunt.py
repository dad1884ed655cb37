"""`python -m drill.fuzz.hunt SEED SECONDS`: walk until the first fall and say which; for scratch copies."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from drill.fuzz.walk import Tally, run


def main(seed: int, seconds: float) -> None:
    """Print how many walks it took, and the first fall or null."""
    tally = Tally()
    first = next((fall for _, _, fall in run(seed, seconds, tally)), None)
    sys.stdout.write(json.dumps({"sequences": tally.sequences, "first": asdict(first) if first else None}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
