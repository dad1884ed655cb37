"""What a drill writes down: facts, never judgements.  One run is one file of them, `run.jsonl`.

Every fact is a frozen value of one of the classes below; verdicts, reports and JUnit are computed from the facts
alone, again and again (docs/formats.md § run.jsonl).  Times are microseconds since the epoch, wall clock of the
controller unless a field says otherwise.  `vm` is the item's name, or "" for what concerns the whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import TypeAliasType

from drill.model.finding import Finding
from drill.model.point import HostPicture, Point

# A named alias, so that pydantic can follow the recursion; `Json` inside a plain union sends it round for ever.
Json = TypeAliasType("Json", "bool | int | float | str | list[Json] | dict[str, Json] | None")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first fact of every run."""

    at_us: int
    run: str
    plan: str
    source_site: str
    target_site: str
    point_choice: str
    network_choice: str
    drill_version: str
    rpo_objective_seconds: float
    rto_objective_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSeen:
    """The environment: one per host; `accelerator` is what guests really run on, `kvm` or `tcg`."""

    at_us: int
    host: str
    site: str
    libvirt: str
    qemu: str
    kernel: str
    accelerator: str
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NicPredicted:
    """Where a card will land and the rule that says so (spec J1, F2, F5, J6); `network` None = connected to nothing.

    `subnet` and `address` are None where nothing is predicted; `dropped` cards are not built (target size).  `others`
    are the addresses that the card has beside the first one, of either family (J5).
    """

    index: int
    mac: str
    source_network: str
    source_subnet: str
    network: str | None
    subnet: str | None
    address: str | None
    mode: str
    dropped: bool
    rule: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPredicted:
    """Where a disk will lie: a storage location, by which class ("" for none), and the rule that says so (spec G)."""

    disk: str
    location: str
    classification: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePredicted:
    """What `predict` said about one machine before anything moved.

    `rpo_seconds` and `rto_seconds` are estimates, None where nothing is known to estimate from; `findings` are what
    stands in the way, by rule, object and remedy.  A record made before there were `memory_mib` and `vcpus` has 0.
    """

    at_us: int
    vm: str
    host: str
    group: int
    size: str
    nics: tuple[NicPredicted, ...]
    disks: tuple[DiskPredicted, ...] = ()
    memory_mib: int = 0
    vcpus: int = 0
    rpo_seconds: float | None = None
    rto_seconds: float | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PointChosen:
    """The recovery point a machine came up from."""

    at_us: int
    vm: str
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDeclared:
    """The instant from which RPO is counted back and RTO forward."""

    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """One step of the procedure: `outcome` is done, failed, unknown or cancelled."""

    started_us: int
    ended_us: int
    vm: str
    step: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksPlanned:
    """The checks that this run owes; one that is owed and has no observation is *unknown*."""

    at_us: int
    checks: tuple[tuple[str, str], ...]  # (check, vm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one check saw.  The judgement is made later, by the rule of that check (drill.core.verdicts).

    `expected` and `observed` are plain JSON whose shape the check's rule knows; `error` is the sentence of what kept
    the check from observing (then the outcome is *unknown*), else "".  `evidence` is shown to the reader as it is.
    """

    at_us: int
    check: str
    vm: str
    expected: Json
    observed: Json
    evidence: Json
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRead:
    """The ledger as read on one side: `side` is source (read at the incident) or replica (read in the bubble).

    `records` counts the longest valid prefix, `last_sequence` and `last_us` (guest wall clock) describe its end.
    """

    at_us: int
    vm: str
    side: str
    records: int
    last_sequence: int
    last_us: int
    torn_bytes: int
    damage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAnswered:
    """A service of the recovered plan answered for the first time; the last of these ends the RTO."""

    at_us: int
    vm: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenSeen:
    """The console of a recovered machine, as a PNG (base64)."""

    at_us: int
    vm: str
    png_base64: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTaken:
    """The inventory of a host before the drill (`when` = before) or after its cleanup (`when` = after)."""

    at_us: int
    when: str
    picture: HostPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The last fact of a run that came to its end; a file without it was cut short."""

    at_us: int
    outcome: str
    detail: str


Fact = (
    RunStarted
    | HostSeen
    | MachinePredicted
    | PointChosen
    | IncidentDeclared
    | StepEnded
    | ChecksPlanned
    | Observed
    | LedgerRead
    | ServiceAnswered
    | ScreenSeen
    | PictureTaken
    | RunEnded
)
FACTS: dict[str, type[Fact]] = {
    kind.__name__: kind
    for kind in (
        RunStarted,
        HostSeen,
        MachinePredicted,
        PointChosen,
        IncidentDeclared,
        StepEnded,
        ChecksPlanned,
        Observed,
        LedgerRead,
        ServiceAnswered,
        ScreenSeen,
        PictureTaken,
        RunEnded,
    )
}
