"""junit.xml from facts alone: a suite per machine, a test case per check, the run's own checks in a suite of their own.

A check that failed is a *failure*, one that is unknown an *error*: CI systems show both as red and keep them apart.
"""

from __future__ import annotations

import json
from typing import Final
from xml.etree import ElementTree as ET

from drill.core.verdicts import judge
from drill.model.fact import Fact, Observed, RunEnded, RunStarted
from drill.model.verdict import CheckResult, Outcome, Verdict
from drill.reporting import figures, plain

FILE: Final = "junit.xml"
RUN_SUITE: Final = "run"
_ELEMENTS: Final = {Outcome.FAIL: "failure", Outcome.UNKNOWN: "error"}


def render(facts: tuple[Fact, ...], last_hash: str) -> str:
    """The document; every text in it is spelled out so that XML can hold it and a terminal show it."""
    verdict = judge(facts)
    started = next((fact for fact in facts if isinstance(fact, RunStarted)), None)
    ended = next((fact for fact in reversed(facts) if isinstance(fact, RunEnded)), None)
    plan = plain.line(started.plan) if started else "unknown"
    root = ET.Element("testsuites", {"name": f"drill {plan}", **_counts(verdict.checks)})
    if started and ended:
        root.set("time", f"{(ended.at_us - started.at_us) / 1e6:.3f}")
    for vm in dict.fromkeys(one.vm for one in verdict.checks):
        own = tuple(one for one in verdict.checks if one.vm == vm)
        name = plain.line(vm) or RUN_SUITE
        suite = ET.SubElement(root, "testsuite", {"name": name, **_counts(own)})
        if started:
            suite.set("timestamp", figures.instant(started.at_us))
        if not vm:
            _properties(suite, verdict, started, last_hash)
        for one in own:
            _case(suite, one, f"drill.{plan}.{name}", facts)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(checks: tuple[CheckResult, ...]) -> dict[str, str]:
    return {
        "tests": str(len(checks)),
        "failures": str(sum(one.outcome is Outcome.FAIL for one in checks)),
        "errors": str(sum(one.outcome is Outcome.UNKNOWN for one in checks)),
    }


def _properties(suite: ET.Element, verdict: Verdict, started: RunStarted | None, last_hash: str) -> None:
    values = {
        "verdict": verdict.outcome.value,
        "rpo_seconds": verdict.rpo_seconds,
        "rpo_records": verdict.rpo_records,
        "rto_seconds": verdict.rto_seconds,
        "run": started.run if started else None,
        "last_hash": last_hash,
    }
    holder = ET.SubElement(suite, "properties")
    for name, value in values.items():
        shown = "unknown" if value is None else plain.line(str(value))
        ET.SubElement(holder, "property", name=name, value=shown)


def _case(suite: ET.Element, one: CheckResult, classname: str, facts: tuple[Fact, ...]) -> None:
    case = ET.SubElement(suite, "testcase", classname=classname, name=plain.line(one.check))
    if one.outcome is Outcome.PASS:
        return
    reason = plain.line(one.reason)
    problem = ET.SubElement(case, _ELEMENTS[one.outcome], type=one.outcome.value, message=reason)
    seen = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == (one.check, one.vm)]
    problem.text = "\n".join(_shown(fact) for fact in seen) or reason


def _shown(fact: Observed) -> str:
    parts = {"expected": fact.expected, "observed": fact.observed, "evidence": fact.evidence, "error": fact.error}
    return "\n".join(
        plain.block(f"{name}: {json.dumps(value, ensure_ascii=False)}", 4000)
        for name, value in parts.items()
        if value not in (None, "")
    )
