"""The ports: everything the core, the engine and the orchestration ask of the world.

Each is small, synchronous and typed; the real ones live in `host`, `hypervisor` and `transport`, the simulated ones
in `sim`, and both pass the contract suites in tests/contract.  Errors come from `drill.errors`: *Failed* is certainly
without effect, *Unknown* is not known, *Unreachable* means that nothing was asked yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from drill.model.cycle import LogHeader
from drill.model.extent import Extent
from drill.model.fact import Fact
from drill.model.identity import Grant, Identity
from drill.model.job import Cause, Job, JobState, JobStep
from drill.model.machine import DomainRecord, Machine, OwnerTag, PowerState
from drill.model.network import BubbleNetwork
from drill.model.point import HostPicture, ItemStatus, OverlayDisk, Point, ProtectionOrder
from drill.model.retention import RetentionPolicy, StoreReport
from drill.model.seed import Seed
from drill.model.vault import CloudFacts, Desired, DesiredState, Kind, Particulars, SeenVersion

P = TypeVar("P")
R = TypeVar("R")


class Clock(Protocol):
    """Time.  Rules speak of the wall clock; deadlines of the monotonic one."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch, UTC; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after at least `seconds`."""
        ...


class Files(Protocol):
    """A directory tree with explicit durability (guarantees I4, I16, I18).  Paths are relative, `/`-separated.

    A failed fsync is final: the caller stops.  Raises OSError as the system does (ENOSPC, EIO, ENOENT).
    """

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from `offset`; short only at the end of the file."""
        ...

    def write(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`; the file is created when missing.  Not durable before `sync`."""
        ...

    def truncate(self, path: str, size: int) -> None:
        """Set the size; a grown part reads as zeros and takes no room.  Creates the file when missing."""
        ...

    def punch(self, path: str, offset: int, length: int) -> None:
        """Make a range read as zeros and give its room back; the size stays."""
        ...

    def sync(self, path: str) -> None:
        """Make the content of a file durable (fdatasync)."""
        ...

    def sync_folder(self, path: str) -> None:
        """Make names in a folder durable (fsync of the directory)."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Atomically rename over `target`; durable after `sync_folder`."""
        ...

    def remove(self, path: str) -> None:
        """Unlink a file; a missing one raises FileNotFoundError."""
        ...

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents; an existing one is fine."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        ...

    def list(self, path: str) -> tuple[str, ...]:
        """Names in a folder, sorted."""
        ...

    def size(self, path: str) -> int | None:
        """Size in bytes, None when there is no such file."""
        ...

    def next_data(self, path: str, offset: int) -> int | None:
        """Where the first byte at or behind `offset` may lie that is no zero; None when there is none up to the end."""
        ...

    def locate(self, path: str) -> str:
        """The absolute path, for tools that open it themselves."""
        ...

    def claim(self, name: str) -> None:
        """Hold the tree against everybody else who claims it by this name, until the process ends, however it ends.

        Refused when somebody holds it already, also this process.
        """
        ...


class Lanes(Protocol):
    """An ordered, bounded, parallel map: several pieces of work at once, their results in the order of the pieces."""

    def ordered(self, work: Callable[[P], R], pieces: Iterable[P]) -> Iterator[R]:
        """Results in order; pieces are taken in the caller's thread, at most a few ahead of the results.

        What `work` or `pieces` raise is raised here, once the work under way has ended.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image as its header describes it; `backing` is the name inside the header, None when it stands alone."""

    format: str
    size_bytes: int
    backing: str | None
    backing_format: str | None


class Images(Protocol):
    """Disk images that our own tools made, never a peer's (guarantees § Security 5, 6).  Paths are absolute."""

    def create_overlay(self, path: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """A new qcow2 over `backing`; refuses an existing path."""
        ...

    def describe(self, path: str, format: str) -> ImageFacts:
        """Read the header."""
        ...

    def content_sha256(self, path: str, format: str) -> str:
        """SHA-256 (hex) of the guest-visible content, read whole by a tool that is not ours."""
        ...


class BackupJob(Protocol):
    """An open pull-mode backup job: the disks of one domain, frozen at one instant, exported over NBD."""

    begun_us: int
    taken_us: int

    def extents(self, disk: str) -> Iterable[Extent]:
        """What differs from the base (all of the disk when it was begun without one): sorted, coalesced, DATA or ZERO.

        A dirty range that reads as zeros is an explicit ZERO extent; in a full read holes are ZERO extents too.
        """
        ...

    def whole(self, disk: str) -> Iterable[Extent]:
        """All of the disk, as DATA and ZERO, changed or not."""
        ...

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes, at most 1 MiB; called from several lanes at once."""
        ...

    def witness(self, disk: str) -> str:
        """SHA-256 (hex) of a whole read of this disk's export by a tool that is not ours."""
        ...

    def size(self, disk: str) -> int:
        """Bytes of the disk at the instant."""
        ...

    def end(self) -> None:
        """End the job (abort is the normal end in pull mode); returns when libvirt has no job any more."""
        ...


class Backups(Protocol):
    """What the source role asks of libvirt for one domain."""

    def machine(self, domain: str) -> Machine:
        """The domain's shape; Unreachable when libvirt does not answer, Usage when there is no such domain."""
        ...

    def without_bitmap(self, domain: str) -> frozenset[str]:
        """Targets of disks that can hold no dirty bitmap (ground 1.15): in no checkpoint, read whole by every job."""
        ...

    def provable(self, domain: str, checkpoint: str) -> Mapping[str, int]:
        """Disks whose bitmap for `checkpoint` libvirt validates (facts 1, 6), with the bytes that it has as changed.

        Failed when the domain is off.
        """
        ...

    def lineage(self, domain: str) -> Mapping[str, str]:
        """Per disk a word that stays the same while nobody but one QEMU can have written to the image.

        Another word means that it was closed in between, so that anybody may have changed it behind the tracker's back
        (ground 17: dd and copies are not tracked).  Failed when the domain is off.
        """
        ...

    def checkpoints(self, domain: str, prefix: str) -> tuple[str, ...]:
        """Names of the checkpoints that start with `prefix`, oldest first."""
        ...

    def drop(self, domain: str, checkpoint: str) -> None:
        """Delete a checkpoint of a running domain; its bits merge into the one before it.  None there is fine."""
        ...

    def drop_all(self, domain: str, prefix: str) -> None:
        """Delete all checkpoints that start with `prefix` and their bitmaps, also of a domain that is off."""
        ...

    def begin(self, domain: str, checkpoint: str, bases: Mapping[str, str | None]) -> BackupJob:
        """Take `checkpoint` over all disks named in `bases` and open a job; a disk whose base is None is read whole."""
        ...

    def abort_leftover(self, domain: str) -> bool:
        """End a job that a dead agent of ours left open; True when there was one."""
        ...


class Freezer(Protocol):
    """A guest's file systems, held still for the instant of a checkpoint through the agent inside it (ground 1.25).

    What the guest answers is a claim.  Every call ends by itself within a few seconds: Unreachable when no agent
    answers, Unknown when it was asked and its answer did not come in time, Failed when it refuses, BadInput when it
    answers nonsense.
    """

    def arm(self, domain: str, seconds: int) -> None:
        """Have the file systems thawed `seconds` from now, whatever becomes of the agents: by a timer inside the guest
        and by a process outside that outlives its parent.  Unsupported when the guest has no such timer."""
        ...

    def freeze(self, domain: str) -> int:
        """Freeze; how many file systems the guest says it froze."""
        ...

    def thaw(self, domain: str) -> int:
        """Thaw; how many file systems this call thawed: none where a timer was first."""
        ...

    def is_frozen(self, domain: str) -> bool:
        """What the guest says of itself."""
        ...

    def disarm(self, domain: str) -> None:
        """It is thawed: the process outside may forget it, and the timer inside ends once it has fired."""
        ...


class Suspender(Protocol):
    """A guest's processors, stopped for the one instant that a consistency group shares (spec S5)."""

    def arm(self, domain: str, seconds: float) -> bool:
        """Have the guest resumed `seconds` from now, or at once when this process dies, by a process outside that
        outlives it.  False, and nothing is armed, for one that stands still already: somebody else paused it.
        Unsupported where nothing can watch."""
        ...

    def suspend(self, domain: str) -> None:
        """Stop a guest that is armed; it has stopped on return.  After Unknown nobody can say."""
        ...

    def is_suspended(self, domain: str) -> bool:
        """Whether its processors stand still now, whoever stopped them."""
        ...

    def resume(self, domain: str) -> None:
        """Let it run; one that runs, or is off, is fine.  After an error the process outside still does it."""
        ...

    def disarm(self, domain: str) -> None:
        """It runs again: the process outside may forget it."""
        ...


class LogStream(Protocol):
    """A cycle log on its way to the receiver, which has accepted its header."""

    def write(self, data: bytes | memoryview) -> None:
        """Send the next bytes of the log; raises what the receiver answers in the middle of it."""
        ...

    def seal(self) -> Point:
        """Say that the log is whole; returns the point once it is durable.  Unknown when no answer comes."""
        ...


class ReceiverHead(Protocol):
    """Where the receiving side stands, and what it has there."""

    def head(self, item: str) -> Point | None:
        """The newest sealed point; waits while a log of this item is being received."""
        ...

    def chunks(self, item: str, epoch: str, sequence: int, disk: str, first: int, count: int) -> str:
        """Digests (hex) of chunks of a disk of the head, which must be `epoch`/`sequence`; Damaged when not proved."""
        ...

    def leaves(self, item: str, epoch: str, sequence: int, disk: str, chunks: tuple[int, ...]) -> str:
        """Page digests (hex) of chunks of a disk of the head, one chunk after another."""
        ...

    def rotten(self, item: str, epoch: str, sequence: int, disk: str) -> tuple[tuple[int, int], ...]:
        """Runs (first page, count) of a disk of the head of which other bytes are stored than its digests say."""
        ...


class ReceiverLink(ReceiverHead, Protocol):
    """The receiving side as the replication engine sees it."""

    def send(self, header: LogHeader) -> AbstractContextManager[LogStream]:
        """Offer a log; Refused names the log that is expected.  Left without `seal`, nothing of it is kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorFacts:
    """Versions as the daemon tells them."""

    libvirt: str
    qemu: str
    accelerator: str
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNic:
    """A card as the guest's agent reports it; addresses carry their prefix length, link-local ones included."""

    name: str
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that ran inside a guest; output is cut at 1 MiB each."""

    exit_code: int
    output: bytes
    errors: bytes


class Guest(Protocol):
    """A guest through its agent: claims, not proof (guarantees § Security 18).  Unreachable when it does not answer."""

    def ping(self, timeout_seconds: float) -> None:
        """Return when the agent answers."""
        ...

    def nics(self) -> tuple[GuestNic, ...]:
        """The guest's network cards, the loopback left out."""
        ...

    def time_us(self) -> int:
        """The guest's wall clock, microseconds since the epoch."""
        ...

    def run(self, argv: Sequence[str], timeout_seconds: float) -> Completed:
        """Run a program inside the guest; a timeout is Unknown."""
        ...

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """The content of a file; BadInput when it is longer than `limit_bytes`."""
        ...


class Hypervisor(Protocol):
    """One host's libvirt, reached by its URI."""

    def facts(self) -> HypervisorFacts:
        """Versions and accelerator."""
        ...

    def machine(self, name: str) -> Machine:
        """A domain read into the allow-list; Usage when there is none of that name."""
        ...

    def domains(self) -> tuple[DomainRecord, ...]:
        """All domains, sorted by name."""
        ...

    def networks(self) -> tuple[str, ...]:
        """All networks, sorted."""
        ...

    def define(self, machine: Machine, owner: OwnerTag) -> None:
        """Define a domain written from the allow-list; the same machine and owner again is harmless, another's
        domain of that name or UUID is Refused."""
        ...

    def start(self, name: str, owner: OwnerTag) -> None:
        """Start a domain of ours; one that runs already is fine."""
        ...

    def power(self, name: str) -> PowerState:
        """The power state now."""
        ...

    def remove(self, name: str, owner: OwnerTag) -> None:
        """Destroy and undefine a domain of ours, with checkpoint metadata; one that is gone is fine."""
        ...

    def make_bubble(self, network: BubbleNetwork, owner: OwnerTag) -> None:
        """Define and start an isolated network; the same again is harmless, another's of that name is Refused."""
        ...

    def remove_bubble(self, name: str, owner: OwnerTag) -> None:
        """Stop and undefine a network of ours; one that is gone is fine."""
        ...

    def taps(self, name: str) -> tuple[str, ...]:
        """Host-side interfaces of a running domain's cards, in their order."""
        ...

    def screenshot(self, name: str) -> bytes:
        """The console's picture as PNG."""
        ...

    def console(self, name: str, seconds: float) -> bytes:
        """What the serial console prints within `seconds`."""
        ...

    def guest(self, name: str) -> Guest:
        """The guest's agent."""
        ...


class SourceAgent(Protocol):
    """The source role of the agent on one host."""

    def protect(self, order: ProtectionOrder) -> None:
        """Begin to replicate: full copy, then cycles.  The same order again is harmless."""
        ...

    def unprotect(self, item: str) -> None:
        """Stop replicating and drop our checkpoints; the replica stays.  Unknown items are fine."""
        ...

    def pause(self, item: str) -> None:
        """End the cycle that is running, and begin none until `unpause`; the checkpoint is kept."""
        ...

    def unpause(self, item: str) -> None:
        """Go on where it stopped; an item that is not paused begins a cycle."""
        ...

    def resync(self, item: str) -> Point:
        """Read every disk whole now, whatever window is set, send what differs, and return the sealed point."""
        ...

    def cycle(self, item: str, *, witness: bool, application_consistent: bool = False, deep: bool = False) -> Point:
        """Replicate now and return the sealed point; with `witness` each disk is also read whole by a foreign tool.

        With `application_consistent` the guest's file systems are frozen for the instant; where they cannot be, the
        point is crash-consistent and says so.  `deep` reads every disk whole and compares: what a change tracker kept
        quiet about is in the status, and sent.
        """
        ...

    def export_seed(self, order: ProtectionOrder, folder: str) -> Seed:
        """Write the first copy to a medium mounted at `folder` on this host (spec H2); the same again is harmless.

        Cycles of the item wait from then on until the receiver has been given it.
        """
        ...

    def cancel_seed(self, item: str) -> None:
        """Wait for no medium any longer: the first copy goes over the network."""
        ...

    def seed_progress(self, item: str) -> tuple[int, int]:
        """Bytes exported so far, and in all (0 while nobody knows); nothing when no export is under way."""
        ...

    def status(self, item: str) -> ItemStatus:
        """What is observed now."""
        ...

    def items(self) -> tuple[ItemStatus, ...]:
        """All items this agent replicates, sorted by item."""
        ...

    def picture(self) -> HostPicture:
        """Everything on this host that a drill might leave behind."""
        ...

    def without_bitmap(self, domain: str) -> tuple[str, ...]:
        """Disks of a domain that can hold no dirty bitmap, sorted: read whole in each cycle, compared by digests."""
        ...

    def kernel(self) -> str:
        """The release of the host's kernel; libvirt does not tell it."""
        ...

    def guard(self, bridge: str) -> None:
        """Cut a bridge off from the host: frames to and from the host are dropped, but for DHCP (ground: isolation)."""
        ...

    def unguard(self, bridge: str) -> None:
        """Take the guard away; none there is fine."""
        ...

    def bridge_members(self, bridge: str) -> tuple[str, ...]:
        """Interfaces enslaved to a bridge, sorted; empty when there is no such bridge."""
        ...

    def reach(self, address: str, port: int, timeout_seconds: float) -> bool:
        """Whether a TCP connection from this host's own network to the address succeeds."""
        ...


class ReceiverAgent(Protocol):
    """The receiver role of the agent on one host; it has no libvirt access."""

    def points(self, item: str) -> tuple[Point, ...]:
        """Sealed points, oldest first; empty for an unknown item."""
        ...

    def kept(self, item: str) -> StoreReport:
        """Everything the store says of an item; without points for an unknown one."""
        ...

    def lock(self, item: str, epoch: str, sequence: int, reason: str) -> None:
        """Keep a point until it is unlocked, whatever retention says; locking it again changes the reason."""
        ...

    def unlock(self, item: str, epoch: str, sequence: int) -> None:
        """Leave a point to retention again; one that is not locked is fine."""
        ...

    def retain(self, item: str, policy: RetentionPolicy) -> None:
        """How long points of an item are kept from now on, also when it has none yet; Refused for no policy (E5)."""
        ...

    def overlays(self, run: str, item: str, epoch: str, sequence: int) -> tuple[OverlayDisk, ...]:
        """Disks for a test failover, one overlay per disk over the point; the same again gives the same disks.

        Damaged, with the points that are good, for a point of which the scrub found rot.
        """
        ...

    def remove_overlays(self, run: str) -> None:
        """Remove all disks of a run; none there is fine."""
        ...

    def witness(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """(target, SHA-256 hex) per disk: the point's content read whole by a tool that is not ours."""
        ...

    def proof(self, item: str, epoch: str, sequence: int) -> tuple[tuple[str, str], ...]:
        """(target, content digest) per disk as it is stored now, every byte read; "" for what cannot be read.

        A disk whose digest is not the sealed one is marked as damaged.  It takes as long as reading the point does,
        while cycles go on.
        """
        ...

    def import_seed(self, item: str, folder: str) -> Point:
        """The point that a seed on a medium mounted at `folder` becomes (spec H2); the same again is harmless."""
        ...

    def seed_progress(self, item: str) -> tuple[int, int]:
        """Bytes imported so far, and in all (each is read twice); nothing when no import is under way."""
        ...

    def allow(self, item: str, sender: Identity, term: int) -> None:
        """Let one source, and no other, send an item's logs; Refused where that would take back a later term."""
        ...

    def granted(self, item: str) -> Grant | None:
        """Who may send an item's logs, None when nobody may."""
        ...

    def forget(self, item: str) -> None:
        """Delete the replica of an item with all its points; unknown items are fine."""
        ...


class Histories(Protocol):
    """What writers outside the guests note of the rows that they send (drill/model/rows.py)."""

    def read(self, path: str) -> bytes:
        """All that a history holds now; it may go on growing.  Failed when there is none, BadInput when too long."""
        ...


class StepJournal(Protocol):
    """What makes a procedure durable: positions, each with a recorded reply or none yet (ground: DBOS patterns)."""

    def reserve(self, name: str) -> Callable[[Callable[[], str]], str]:
        """Take the next position; call what is returned with a body that never raises: it gives the reply recorded at
        this position, else runs the body and records what that returns.  Positions are reserved by one thread, in the
        procedure's order; the bodies may run on several."""
        ...


class Recorder(Protocol):
    """Where the facts of one run go, in their order."""

    def written(self) -> int:
        """How many facts stand there already."""
        ...

    def append(self, fact: Fact) -> None:
        """Write one fact down, durably."""
        ...


class Hosts(Protocol):
    """The hosts of an estate, by name: all that a controller reaches them by (design: libvirt URI and agent)."""

    def hypervisor(self, host: str) -> Hypervisor:
        """The host's libvirt; Unreachable when it does not answer."""
        ...

    def source(self, host: str) -> SourceAgent:
        """The source role of its agent."""
        ...

    def receiver(self, host: str) -> ReceiverAgent:
        """The receiver role of its agent."""
        ...


class DesiredObjects(Protocol):
    """How the objects of an estate are to be, kept by the vault; each writing is one transaction."""

    def read(self) -> DesiredState:
        """All of them, and the generation to write against."""
        ...

    def write(self, changed: Iterable[Desired], removed: Iterable[tuple[Kind, str]], *, read_at: int) -> int:
        """Put and take away objects; the new generation.  Nothing to do leaves the generation as it is.

        Refused, with nothing written, when somebody wrote since `read_at`, or when a rule about state forbids it: a
        pair of a cloud that is not synchronised (B8) or is in another pair (D2), another target for a pair (D4).
        """
        ...


class JobRecords(Protocol):
    """Records of jobs (spec I4), kept by the vault.  Saying the same again is harmless; a job that ended stays so."""

    def begin(self, id: str, action: str, subject: str, steps: Sequence[str] = ()) -> None:
        """A job is there and runs; its steps, as far as they are known, are queued."""
        ...

    def step(self, job: str, step: JobStep) -> None:
        """How far a step is; a new one is put after those that are known."""
        ...

    def ask(self, job: str, text: str) -> int:
        """The job waits for a person; the question's number.  The same question, unanswered, is asked once."""
        ...

    def answer(self, job: str, number: int, answer: str, *, by: str, note: str = "") -> None:
        """A person answered; Usage when there is no such question, Refused when it was answered otherwise."""
        ...

    def end(self, job: str, state: JobState, cause: Cause | None = None) -> None:
        """The job ended."""
        ...

    def job(self, id: str) -> Job:
        """All of one job; Usage when there is none."""
        ...

    def jobs(self, *, waiting: bool = False, limit: int = 1000) -> tuple[Job, ...]:
        """The newest jobs, newest first; with `waiting` those that wait for a person."""
        ...


class ServerFacts(Protocol):
    """What a server tells of itself and its site when it registers or is asked again (spec B4)."""

    def site(self) -> str:
        """The site of the machine it runs on."""
        ...

    def particulars(self) -> Particulars:
        """The machine it runs on."""
        ...

    def versions(self) -> tuple[SeenVersion, ...]:
        """Versions on this machine and on every host of its clouds; raises where a host does not answer."""
        ...

    def clouds(self) -> tuple[CloudFacts, ...]:
        """Its clouds, sorted by name."""
        ...
