"""A file beside what was applied: read, checked and compared before anything is written.

propose   file → sound estate → objects ─┐
                                         ├─ differences, findings ── write
the vault's desired objects ─────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drill.core import estate_step, readiness
from drill.core.differences import Difference, differences
from drill.errors import BadInput, Damaged, Refused
from drill.estate.load import Loaded, load_document
from drill.estate.objects import join, split
from drill.estate.yaml import Document, read
from drill.model.estate import Estate
from drill.model.finding import Finding
from drill.model.vault import Desired, DesiredState
from drill.ports import DesiredObjects

APPLIED = "the applied estate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a file asks for: `objects` are all of its, `differences` lead to them from `state`."""

    estate: Estate
    objects: tuple[Desired, ...]
    state: DesiredState
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that forbid it."""
        return tuple(one for one in self.findings if one.refuses)


def read_estate(path: Path) -> Loaded:
    """A sound file; BadInput with every mistake otherwise."""
    return load_document(read(path), path.absolute().parent)


def propose(loaded: Loaded, folder: Path, store: DesiredObjects) -> Proposal:
    """Compare a file (that lies in `folder`) with what was applied, and ask the rules; nothing is written."""
    state, objects = store.read(), split(loaded, folder)
    found = readiness.declared(loaded.estate)
    before, trouble = _before(state)
    if before is not None:
        found += estate_step.step(before, loaded.estate)
    return Proposal(
        estate=loaded.estate,
        objects=objects,
        state=state,
        differences=differences(state.objects, objects),
        findings=(*found, *trouble),
    )


def write(proposal: Proposal, store: DesiredObjects) -> int:
    """Make the file's objects the desired ones; the new generation.

    Refused, with nothing written, where a rule forbids it or somebody else wrote meanwhile.
    """
    if proposal.refusals:
        first = proposal.refusals[0]
        more = len(proposal.refusals) - 1
        problem = f"{first.kind} {first.name}: {first.problem}"
        raise Refused(f"{problem} (and {more} more)" if more else problem, first.rule, first.remedy)
    wanted = {(one.kind, one.name): one for one in proposal.objects}
    put = [wanted[one.kind, one.name] for one in proposal.differences if one.change != "removed"]
    gone = [(one.kind, one.name) for one in proposal.differences if one.change == "removed"]
    return store.write(put, gone, read_at=proposal.state.generation)


def applied(state: DesiredState) -> Loaded:
    """The estate that was applied; Refused where none was, BadInput where this version cannot read it."""
    if not state.objects:
        raise Refused("no estate was applied here", cure="drill apply ESTATE.yaml")
    return load_document(Document(file=APPLIED, value=dict(join(state.objects)), marks={}, keys={}), Path("/"))


def _before(state: DesiredState) -> tuple[Estate | None, tuple[Finding, ...]]:
    if not state.objects:
        return None, ()
    try:
        return applied(state).estate, ()
    except (BadInput, Damaged) as error:
        problem = f"this version cannot read it, so what may not change was not looked at: {error}"
        cure = "apply a whole file, which replaces it"
        return None, (Finding(rule="", kind="estate", name="applied", problem=problem, remedy=cure, refuses=False),)
