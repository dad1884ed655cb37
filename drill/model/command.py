"""Commands: what a procedure asks of the world, one value each, and the type of the reply.

A command names what it makes, so that performing it a second time is harmless; it is performed by
`drill.orchestration.actions`, recorded by `drill.orchestration.perform`, and replayed as the same value.
`vm` is the item's name for the report's timeline, "" for what concerns the whole run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from drill.model.estate import Database, Service
from drill.model.fact import (
    HostSeen,
    IncidentDeclared,
    Json,
    LedgerRead,
    Observed,
    PictureTaken,
    PointChosen,
    ScreenSeen,
    ServiceAnswered,
)
from drill.model.machine import Machine
from drill.model.network import BubbleNetwork
from drill.model.point import OverlayDisk, Point
from drill.model.rows import RowBounds

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[R]):
    """The base: `reply` is the type of the answer, for its recorder; `title` is the step's name in the report.

    A command that `undoes`, or only looks, is never answered by a cancel: what was begun to be removed is removed.
    """

    reply: ClassVar[object]
    title: ClassVar[str]
    undoes: ClassVar[bool] = False
    vm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The reply of a command that only does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSeen:
    """A card of a primary: the libvirt network it is plugged into and the guest's global addresses on it."""

    mac: str
    network: str | None
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimarySeen:
    """A primary as it is now: its shape, and its cards as its agent reports them."""

    at_us: int
    machine: Machine
    nics: tuple[NicSeen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLedger:
    """A primary's ledger as of the incident, and what it says of a point's instant.

    The last record acknowledged before the backup began is `acknowledged_before`, the last one sent before libvirt
    had taken the checkpoint is `sent_before` (both sequences; guest times corrected by the measured clock offset
    `offset_us` ± `offset_error_us`).  `read` is None where the ledger could not be read; `error` says why.
    """

    read: LedgerRead | None
    acknowledged_before: int
    sent_before: int
    offset_us: int
    offset_error_us: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The reply of a check: what it observed, and the replica's ledger where it read one."""

    observed: Observed
    ledger: LedgerRead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesSeen:
    """The reply of waiting for services: each with its first answer, and the observation."""

    answered: tuple[ServiceAnswered, ...]
    observed: Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlays:
    """Disks made for a test failover."""

    disks: tuple[OverlayDisk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeHost(Command[HostSeen]):
    """Ask a host for its versions and accelerator."""

    reply: ClassVar[object] = HostSeen
    title: ClassVar[str] = "ask host for versions"
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeePrimary(Command[PrimarySeen]):
    """Look at a primary: its shape and its addresses."""

    reply: ClassVar[object] = PrimarySeen
    title: ClassVar[str] = "look at primary"
    host: str
    domain: str
    agent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePicture(Command[PictureTaken]):
    """Take the inventory of a host; `when` is before or after."""

    reply: ClassVar[object] = PictureTaken
    title: ClassVar[str] = "take inventory"
    undoes: ClassVar[bool] = True
    host: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareIncident(Command[IncidentDeclared]):
    """Fix the instant from which RPO and RTO count."""

    reply: ClassVar[object] = IncidentDeclared
    title: ClassVar[str] = "declare incident"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoosePoint(Command[PointChosen]):
    """Choose a recovery point of an item (spec L9); `choice` is latest, or epoch/sequence."""

    reply: ClassVar[object] = PointChosen
    title: ClassVar[str] = "choose recovery point"
    host: str
    item: str
    choice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSourceLedger(Command[SourceLedger]):
    """Read a primary's ledger as of the incident."""

    reply: ClassVar[object] = SourceLedger
    title: ClassVar[str] = "read source ledger"
    host: str
    domain: str
    path: str
    incident_us: int
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadHistory(Command[RowBounds]):
    """Read what a writer outside the guest has noted of its rows, as of a point and the incident."""

    reply: ClassVar[object] = RowBounds
    title: ClassVar[str] = "read history of rows"
    database: str
    path: str
    incident_us: int
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardBridge(Command[Nothing]):
    """Cut a bridge off from its host, before anything is plugged into it."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "guard isolated network"
    host: str
    bridge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnguardBridge(Command[Nothing]):
    """Take the guard of a bridge away."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "remove guard"
    undoes: ClassVar[bool] = True
    host: str
    bridge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeBubble(Command[Nothing]):
    """Make an isolated network."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "make isolated network"
    host: str
    network: BubbleNetwork
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveBubble(Command[Nothing]):
    """Remove an isolated network."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "remove isolated network"
    undoes: ClassVar[bool] = True
    host: str
    network: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeOverlays(Command[Overlays]):
    """Make the disks of a test machine: overlays over a point."""

    reply: ClassVar[object] = Overlays
    title: ClassVar[str] = "make overlay disks"
    host: str
    run: str
    item: str
    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOverlays(Command[Nothing]):
    """Remove all disks of a run."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "remove overlay disks"
    undoes: ClassVar[bool] = True
    host: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineMachine(Command[Nothing]):
    """Define a test machine from the allow-list."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "define machine"
    host: str
    machine: Machine
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMachine(Command[Nothing]):
    """Start a test machine."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "start machine"
    host: str
    domain: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMachine(Command[Nothing]):
    """Power off and undefine a test machine."""

    reply: ClassVar[object] = Nothing
    title: ClassVar[str] = "remove machine"
    undoes: ClassVar[bool] = True
    host: str
    domain: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitServices(Command[ServicesSeen]):
    """Wait until every service of a machine answers, at most `seconds`; asked from inside the guest."""

    reply: ClassVar[object] = ServicesSeen
    title: ClassVar[str] = "wait for services"
    host: str
    domain: str
    services: tuple[Service, ...]
    address: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Command[Evidence]):
    """Observe one thing about a recovered machine, or about its primary; `check` names the observer in drill.checks.

    `expected` is what the observation will be judged against; it travels into the fact unchanged.
    """

    reply: ClassVar[object] = Evidence
    title: ClassVar[str] = "check"
    check: str
    host: str
    domain: str
    expected: Json
    item: str = ""
    point: Point | None = None
    paths: tuple[str, ...] = ()
    networks: tuple[BubbleNetwork, ...] = ()
    databases: tuple[Database, ...] = ()
    seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestProbe:
    """One negative probe: `domain` on `host` must get no echo from `target`; its control on the source side must."""

    name: str
    host: str
    domain: str
    control_host: str
    control_domain: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProbe:
    """From the host's own network `target:port` must not be reached; from the control's host it must."""

    name: str
    host: str
    control_host: str
    target: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BubbleSeenFrom:
    """A bridge of the bubble and the machines that may be its members."""

    host: str
    bridge: str
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeIsolation(Command[Evidence]):
    """Try to get out of the bubble and into it, each try beside a control that succeeds."""

    reply: ClassVar[object] = Evidence
    title: ClassVar[str] = "probe isolation"
    guest_probes: tuple[GuestProbe, ...]
    host_probes: tuple[HostProbe, ...]
    bridges: tuple[BubbleSeenFrom, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeScreen(Command[ScreenSeen]):
    """Take a picture of a machine's console."""

    reply: ClassVar[object] = ScreenSeen
    title: ClassVar[str] = "take screenshot"
    host: str
    domain: str
