"""What a rule answers: an outcome, and the sentence that gives the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drill.model.fact import Observed
from drill.model.verdict import Outcome

Judgement = tuple[Outcome, str]
Judge = Callable[[Observed], Judgement]


def passes(reason: str) -> Judgement:
    """The evidence shows what was expected."""
    return Outcome.PASS, reason


def fails(reason: str) -> Judgement:
    """The evidence shows something else."""
    return Outcome.FAIL, reason


def unproven(reason: str) -> Judgement:
    """The evidence shows neither."""
    return Outcome.UNKNOWN, reason


def few(items: Sequence[str] | Sequence[int], most: int = 8) -> str:
    """A short enumeration for a sentence."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
