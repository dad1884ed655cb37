"""A test failover whose steps can be tampered with, run inside the lab's controller by tests/drills.

    python -m tests.drills.planting ESTATE RUN PAUSES SERVICE_SECONDS

The estate has one plan; PAUSES is a JSON list of ["before"|"after", command, vm].
At a pause it prints one JSON line and waits for a line on standard input: either nothing (go on), or JSON with
`replace`: fields of the command to change first, as a mistaken orchestration would.  The last line is the outcome.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, cast

from drill.core.failover_test import FailoverTest, failover_test
from drill.estate.load import load
from drill.host.clock import HostClock
from drill.model.command import Command, DefineMachine
from drill.model.machine import Nic
from drill.orchestration.actions import Actions
from drill.orchestration.perform import Performer
from drill.reporting.record import RunWriter
from drill.wiring.controller import actions
from tests.paper import MemoryJournal

TURN = threading.Lock()


class Record:
    """The run record as the port `Recorder` wants it."""

    def __init__(self, run: str) -> None:
        self.writer = RunWriter(Path(os.environ["DRILL_REPORTS_DIR"], run))
        self.count = 0

    def written(self) -> int:
        return self.count

    def append(self, fact: Any) -> None:
        self.writer.append(fact)
        self.count += 1


def say(document: dict[str, Any]) -> str:
    """One line out, one line in; one at a time."""
    with TURN:
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
        return sys.stdin.readline()


class Tampered:
    """Actions that stop at the pauses."""

    def __init__(self, actions: Actions, pauses: list[list[str]]) -> None:
        self.actions = actions
        self.pauses = pauses

    def __call__(self, command: Command[object]) -> object:
        name = [type(command).__name__, getattr(command, "check", "") or command.vm]
        if ["before", *name] in self.pauses:
            answer = say({"pause": ["before", *name], "command": dataclasses.asdict(command)}).strip()
            command = tampered(command, json.loads(answer)) if answer else command
        reply = self.actions(command)
        if ["after", *name] in self.pauses:
            say({"pause": ["after", *name], "command": dataclasses.asdict(command)})
        return reply


def tampered(command: Command[object], changes: dict[str, Any]) -> Command[object]:
    """The command with other cards."""
    if not isinstance(command, DefineMachine):
        raise TypeError(f"{type(command).__name__} cannot be tampered with")
    nics = tuple(Nic(**one) for one in changes["nics"])
    return cast(
        "Command[object]", dataclasses.replace(command, machine=dataclasses.replace(command.machine, nics=nics))
    )


def main(estate_file: str, run: str, pauses: list[list[str]], service_seconds: float) -> None:
    estate = load(Path(estate_file))
    order = FailoverTest(
        run=run,
        estate=estate,
        plan=next(iter(estate.plans)),
        point_choice="latest",
        network_choice="isolated",
        started_us=HostClock().now_us(),
        drill_version="test",
        service_seconds=service_seconds,
    )
    performer = Performer(
        act=Tampered(actions(estate, HostClock()), pauses),
        journal=MemoryJournal(),
        recorder=Record(run),
        clock=HostClock(),
        cancel_asked=lambda: False,
    )
    say({"outcome": performer.perform(failover_test(order))})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), float(sys.argv[4]))
