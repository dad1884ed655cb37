"""How the verbs that change an estate show differences and findings."""

from __future__ import annotations

import json
from dataclasses import asdict

from drill.core.differences import Difference
from drill.estate.proposal import Proposal
from drill.model.fact import Json

SIGNS = {"added": "+", "changed": "~", "removed": "-"}
VALUE_MAX = 120


def document(proposal: Proposal) -> dict[str, object]:
    """Differences and findings as one document, with their counts."""
    counts = {change: sum(one.change == change for one in proposal.differences) for change in SIGNS}
    return {
        "vault": proposal.estate.vault,
        "changes": [_change(one) for one in proposal.differences],
        **counts,
        "findings": [asdict(one) for one in proposal.findings],
    }


def lines(proposal: Proposal) -> list[str]:
    """One line for each object, one for each field that changed, one for each finding, then the counts."""
    said = []
    for one in proposal.differences:
        said.append(f"{SIGNS[one.change]} {one.kind.value} {one.name}")
        said += [f"    {each.field}: {_short(each.before)} → {_short(each.after)}" for each in one.fields]
    said += [f"{'refused' if one.refuses else 'note'}: {one}" for one in proposal.findings]
    told = document(proposal)
    return [*said, ", ".join(f"{told[change]} {change}" for change in SIGNS)]


def _change(one: Difference) -> dict[str, object]:
    fields = [asdict(each) for each in one.fields]
    return {"kind": one.kind.value, "name": one.name, "change": one.change, "fields": fields}


def _short(value: Json) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}…"
