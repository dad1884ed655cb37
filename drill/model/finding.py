"""What a rule finds amiss: the object, the problem in words, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing amiss.  `rule` is the catalogue's id, `kind` and `name` the object (`cloud`, `GoldCloud2`).

    `refuses`: what was asked for must not be done; else it is advice, or says what will be ignored.
    """

    rule: str
    kind: str
    name: str
    problem: str
    remedy: str
    refuses: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.problem} ({self.rule}); {self.remedy}"
