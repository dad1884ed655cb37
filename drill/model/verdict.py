"""What is concluded from a run's facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Three outcomes; *unknown* is not a pass and fails a drill (guarantees I34)."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The judgement on one check of one machine ("" = the whole run), with the sentence that gives the reason."""

    check: str
    vm: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole conclusion.  A figure that no fact supports is None, and a None objective figure is *unknown*.

    `rpo_seconds`: incident minus the oldest chosen point's instant, the worst machine's.  `rpo_records`: ledger
    records the source had acknowledged at the incident and the replica lacks, the worst machine's.  `rto_seconds`:
    incident until the last service answered.
    """

    outcome: Outcome
    rpo_seconds: float | None
    rpo_records: int | None
    rto_seconds: float | None
    checks: tuple[CheckResult, ...]
    leftovers: tuple[str, ...]
