"""A controller in a process of its own, over a world on paper that lives in a file: for killing it.

    python -m tests.faults.controller_process FOLDER [--kill-at STEP before|after]

Starts the run `r1` in FOLDER, or goes on with it, and prints its outcome.  With `--kill-at` the process ends by
SIGKILL at that step of this process, before the step's effect or between the effect and its record.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from drill.core.failover_test import FailoverTest, failover_test
from drill.model.command import Command
from drill.orchestration.durable import DurableRuns
from drill.orchestration.perform import Performer
from drill.ports import StepJournal
from drill.reporting.record import RunWriter
from tests.paper import NOW, Paper, StandingClock, estate

ORDER: TypeAdapter[FailoverTest] = TypeAdapter(FailoverTest)


class Doomed(Paper):
    """Kills its own process at a step."""

    def __init__(self, folder: Path, step: int, when: str) -> None:
        super().__init__(folder)
        self.step, self.when = step, when

    def __call__(self, command: Command[object]) -> object:
        due = len(self.log) == self.step
        if due and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        reply = super().__call__(command)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply


class Record:
    """The run record as the port `Recorder` wants it."""

    def __init__(self, folder: Path) -> None:
        self.writer = RunWriter(folder)
        self.count = len(self.writer.record.facts)

    def written(self) -> int:
        return self.count

    def append(self, fact: object) -> None:
        self.writer.append(fact)  # type: ignore[arg-type]
        self.count += 1


def main(folder: Path, step: int, when: str) -> None:
    paper = Doomed(folder, step, when)

    def run(run_id: str, kind: str, order: str, journal: StepJournal) -> str:
        del run_id, kind
        return Performer(
            act=paper,
            journal=journal,
            recorder=Record(folder / "record"),
            clock=StandingClock(),
            cancel_asked=lambda: False,
        ).perform(failover_test(ORDER.validate_json(order)))

    with DurableRuns(folder / "controller", run) as runs:
        if "r1" not in dict(runs.all()):
            order = FailoverTest(
                run="r1",
                estate=estate(),
                plan="shop",
                point_choice="latest",
                network_choice="isolated",
                started_us=NOW,
                drill_version="0",
            )
            runs.start("r1", "failover_test", ORDER.dump_json(order).decode())
        sys.stdout.write(f"{runs.wait('r1')} {sorted(paper.made)}\n")


if __name__ == "__main__":
    at, moment = (int(sys.argv[3]), sys.argv[4]) if len(sys.argv) > 3 else (-1, "")
    main(Path(sys.argv[1]), at, moment)
