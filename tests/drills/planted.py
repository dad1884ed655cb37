"""Drills with defects planted in their course, and the verdict on what they wrote down."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drill.core.verdicts import judge
from drill.model.fact import Fact, Observed
from drill.model.verdict import Outcome, Verdict
from drill.reporting.record import read
from fixtures.shop import Shop

Pause = tuple[str, str, str]  # (before | after, command, check or machine)
Plant = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass
class Planted:
    """A drill with defects: its facts and the verdict on them."""

    run: str
    facts: tuple[Fact, ...]
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        self.verdict = judge(self.facts)

    def outcome(self, check: str, vm: str) -> tuple[Outcome, str]:
        return next((one.outcome, one.reason) for one in self.verdict.checks if (one.check, one.vm) == (check, vm))

    def observed(self, check: str, vm: str) -> Observed:
        found = (one for one in self.facts if isinstance(one, Observed))
        return next(one for one in found if (one.check, one.vm) == (check, vm))

    def red(self) -> set[tuple[str, str]]:
        return {(one.check, one.vm) for one in self.verdict.checks if one.outcome is not Outcome.PASS}


def drilled(shop: Shop, plants: dict[Pause, Plant], service_seconds: float = 30.0) -> Planted:
    """Run the estate's plan and plant each defect at its pause."""
    run = f"planted-{secrets.token_hex(4)}"
    pauses = json.dumps([list(one) for one in plants])
    with shop.start("tests.drills.planting", str(shop.estate), run, pauses, str(service_seconds)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "outcome" in said:
                process.stdin.write("\n")
                break
            first, command, name = said["pause"]
            answer = plants[first, command, name](said["command"])
            process.stdin.write(f"{json.dumps(answer) if answer else ''}\n")
            process.stdin.flush()
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return Planted(run, read(shop.reports / run / "run.jsonl"))


def target(shop: Shop, script: str, *arguments: str) -> str:
    """Run sh on the target host."""
    return shop.lab.host("chi1").run(["sh", "-euc", script, "plant", *arguments]).stdout
