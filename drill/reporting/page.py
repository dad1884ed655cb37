"""A report's content, computed from a run's facts alone: plain values that the template only has to lay out.

Nothing here is markup, and nothing is made safe: the template's environment does that to every text (drill.reporting.
html).  Everything is derived from facts and the verdict on them; there is no time of drawing, so that the same record
gives the same page, byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Final

from drill.core import objectives, verdicts
from drill.model.fact import Fact, HostSeen, Json, Observed, PictureTaken, RunEnded, RunStarted, ScreenSeen
from drill.model.point import HostPicture
from drill.model.verdict import CheckResult, Outcome, Verdict
from drill.reporting import cards, figures, timeline
from drill.reporting.points import Point, points
from drill.reporting.tiles import Tile, tiles

SCREEN_BYTES_MAX: Final = 2 * 2**20
EVIDENCE_WIDTH: Final = 78  # letters in a line of evidence
TITLES: Final = {
    "run": "Record",
    "isolation": "Isolation",
    "leftovers": "Nothing left behind",
    "rpo": "RPO",
    "rto": "RTO",
    "boot": "Starts",
    "heartbeat": "Console heartbeat",
    "disk_content": "Disk content",
    "point_digest": "Point proven",
    "primary": "Primary undisturbed",
    "agent": "Guest agent",
    "nic_count": "Network cards",
    "subnet": "Subnets",
    "address": "Addresses",
    "prediction": "As predicted",
    "ledger": "Ledger",
    "one_instant": "Disks of one instant",
    "service": "Services",
    "database": "Database sound",
    "database_rows": "Database rows",
}
WORDS: Final = {Outcome.PASS: "Passed", Outcome.FAIL: "Failed", Outcome.UNKNOWN: "Not proven"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One observation, each part as indented JSON."""

    at: str
    expected: str
    observed: str
    evidence: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A judged check; `anchor` is its place in the page."""

    anchor: str
    check: str
    title: str
    vm: str
    outcome: Outcome
    word: str
    reason: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The checks of one machine, or of the run (`vm` empty)."""

    vm: str
    outcome: Outcome
    word: str
    passed: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """A screenshot; `data` is a data: URI, or empty when the fact held no picture."""

    vm: str
    at: str
    data: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """How much one host held before and after, and whether it was the same."""

    host: str
    before: str
    after: str
    outcome: Outcome
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole report."""

    started: RunStarted | None
    ended: RunEnded | None
    verdict: Verdict
    word: str
    headline: str
    executive: str
    day: str
    clock: str
    instant: str
    duration: str
    tiles: tuple[Tile, ...]
    attention: tuple[Check, ...]
    groups: tuple[Group, ...]
    timeline: timeline.Timeline | None
    cards: tuple[cards.Card, ...]
    points: tuple[Point, ...]
    screens: tuple[Screen, ...]
    inventories: tuple[Inventory, ...]
    lost: tuple[str, ...]
    hosts: tuple[HostSeen, ...]
    emulated: bool
    facts: int
    last_hash: str
    torn_bytes: int


def build(facts: tuple[Fact, ...], verdict: Verdict, last_hash: str, torn_bytes: int = 0) -> Page:
    """The content of the report on these facts."""
    started = next((fact for fact in facts if isinstance(fact, RunStarted)), None)
    ended = next((fact for fact in reversed(facts) if isinstance(fact, RunEnded)), None)
    groups = _groups(facts, verdict)
    hosts = tuple({fact.host: fact for fact in facts if isinstance(fact, HostSeen)}.values())
    span = (ended.at_us - started.at_us) / 1e6 if started and ended else None
    return Page(
        started=started,
        ended=ended,
        verdict=verdict,
        word=WORDS[verdict.outcome],
        headline=headline(verdict),
        executive=executive(facts, verdict),
        day=figures.day(started.at_us) if started else "",
        clock=figures.clock(started.at_us)[:5] if started else "",
        instant=figures.instant(started.at_us) if started else "",
        duration="" if span is None else figures.duration(span),
        tiles=tiles(facts, verdict),
        attention=tuple(
            one
            for outcome in (Outcome.FAIL, Outcome.UNKNOWN)
            for group in groups
            for one in group.checks
            if one.outcome is outcome
        ),
        groups=groups,
        timeline=timeline.build(facts),
        cards=cards.build(facts),
        points=points(facts),
        screens=tuple(_screen(fact) for fact in facts if isinstance(fact, ScreenSeen)),
        inventories=_inventories(facts),
        lost=verdicts.leftovers(facts)[1],
        hosts=hosts,
        emulated=any(host.accelerator == "tcg" for host in hosts),
        facts=len(facts),
        last_hash=last_hash,
        torn_bytes=torn_bytes,
    )


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    total = len(verdict.checks)
    failed = sum(one.outcome is Outcome.FAIL for one in verdict.checks)
    unknown = sum(one.outcome is Outcome.UNKNOWN for one in verdict.checks)
    if verdict.outcome is Outcome.PASS:
        return f"All {figures.count(total, 'check')} passed."
    if not failed:
        return f"{unknown} of {figures.count(total, 'check')} could not be proven; an unproven drill counts as failed."
    unproven = f", {unknown} could not be proven" if unknown else ""
    return f"{failed} of {figures.count(total, 'check')} failed{unproven}."


def executive(facts: tuple[Fact, ...], verdict: Verdict) -> str:
    """What a reader in a hurry needs; each part is said only where a check has shown it."""
    outcomes = {(one.check, one.vm): one.outcome for one in verdict.checks}
    machines = objectives.machines(facts)
    started = next((fact for fact in facts if isinstance(fact, RunStarted)), None)
    sentences: list[str] = []
    if machines and all(outcomes.get(("boot", vm)) is Outcome.PASS for vm in machines):
        where = f" at {started.target_site}" if started else ""
        sentences.append(f"{figures.count(len(machines), 'machine')} came up{where}")
        if verdict.rpo_seconds is not None:
            sentences[0] += f" from points at most {figures.duration(verdict.rpo_seconds)} old"
        if verdict.rto_seconds is not None:
            sentences[0] += (
                f", and the last service answered {figures.duration(verdict.rto_seconds)} after the incident"
            )
    if outcomes.get(("isolation", "")) is Outcome.PASS:
        sentences.append("Production could not be reached from inside")
    if outcomes.get(("leftovers", "")) is Outcome.PASS:
        sentences.append("Nothing was left behind")
    return "".join(f"{one}. " for one in sentences).strip()


def _groups(facts: tuple[Fact, ...], verdict: Verdict) -> tuple[Group, ...]:
    by_machine: dict[str, list[CheckResult]] = {}
    for one in verdict.checks:
        by_machine.setdefault(one.vm, []).append(one)
    # The machines first, as they are what the drill was about; the run's own checks close the list.
    names = [*(vm for vm in by_machine if vm), *(vm for vm in by_machine if not vm)]
    groups: list[Group] = []
    number = 0
    for vm in names:
        checks: list[Check] = []
        for one in by_machine[vm]:
            number += 1
            checks.append(_check(one, number, facts))
        outcome = verdicts.worst([one.outcome for one in checks])
        groups.append(
            Group(
                vm=vm,
                outcome=outcome,
                word=WORDS[outcome],
                passed=sum(one.outcome is Outcome.PASS for one in checks),
                checks=tuple(checks),
            )
        )
    return tuple(groups)


def _check(one: CheckResult, number: int, facts: tuple[Fact, ...]) -> Check:
    return Check(
        anchor=f"check-{number}",
        check=one.check,
        title=TITLES.get(one.check, one.check),
        vm=one.vm,
        outcome=one.outcome,
        word=WORDS[one.outcome],
        reason=one.reason,
        evidence=tuple(
            Evidence(
                at=figures.clock(fact.at_us),
                expected=_shown(fact.expected),
                observed=_shown(fact.observed),
                evidence=_shown(fact.evidence),
                error=fact.error,
            )
            for fact in facts
            if isinstance(fact, Observed) and (fact.check, fact.vm) == (one.check, one.vm)
        ),
    )


def _shown(value: Json) -> str:
    """JSON for a reader: text as it is, what fits in a line in one line, the rest indented."""
    return value if isinstance(value, str) else "" if value is None else _spread(value, "", 0)


def _spread(value: Json, margin: str, lead: int) -> str:
    """`lead` characters stand before the value in its line, a key or nothing."""
    text = json.dumps(value, ensure_ascii=False)
    if len(margin) + lead + len(text) <= EVIDENCE_WIDTH or not isinstance(value, dict | list):
        return text
    inner = f"{margin}  "
    if isinstance(value, dict):
        keys = [json.dumps(key, ensure_ascii=False) for key in value]
        parts = [f"{key}: {_spread(one, inner, len(key) + 2)}" for key, one in zip(keys, value.values(), strict=True)]
        begin, end = "{", "}"
    else:
        parts = [_spread(one, inner, 0) for one in value]
        begin, end = "[", "]"
    return f",\n{inner}".join([f"{begin}\n{inner}{parts[0]}", *parts[1:]]) + f"\n{margin}{end}"


def _screen(fact: ScreenSeen) -> Screen:
    """A picture is shown only when it is a PNG of bearable size whose digest is the recorded one."""
    try:
        picture = base64.b64decode(fact.png_base64, validate=True)
    except (binascii.Error, ValueError):
        picture = b""
    good = picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) <= SCREEN_BYTES_MAX
    good = good and hashlib.sha256(picture).hexdigest() == fact.sha256
    data = f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}" if good else ""
    return Screen(vm=fact.vm, at=figures.clock(fact.at_us), data=data, sha256=fact.sha256)


def _inventories(facts: tuple[Fact, ...]) -> tuple[Inventory, ...]:
    first: dict[str, HostPicture] = {}
    last: dict[str, HostPicture] = {}
    for fact in facts:
        if isinstance(fact, PictureTaken) and fact.when == "before":
            first.setdefault(fact.picture.host, fact.picture)
        elif isinstance(fact, PictureTaken):
            last[fact.picture.host] = fact.picture
    return tuple(_inventory(host, first.get(host), last.get(host)) for host in sorted(first.keys() | last.keys()))


def _inventory(host: str, before: HostPicture | None, after: HostPicture | None) -> Inventory:
    if before is None or after is None:
        outcome, word = Outcome.UNKNOWN, "Not known"
    elif set(before.entries) == set(after.entries):
        outcome, word = Outcome.PASS, "As before"
    else:
        outcome, word = Outcome.FAIL, "Changed"
    counted = ["not taken" if one is None else figures.count(len(one.entries), "object") for one in (before, after)]
    return Inventory(host=host, before=counted[0], after=counted[1], outcome=outcome, word=word)
