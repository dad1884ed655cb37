"""Recovery points, and what a host's agents say of the items they replicate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from drill.model.bandwidth import Bandwidth
from drill.model.identity import Authentication


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSeal:
    """One disk of a sealed point: its size and its content.

    `digest` is drill's own content digest (hex).  `witness` is the SHA-256 (hex) of a whole read of the same backup
    job's export by a foreign tool, or None where no witness read was asked for.
    """

    target: str
    size_bytes: int
    digest: str
    witness: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMark:
    """One instant of a consistency group (spec S5), as each member's log and point carry it.

    `instant` is an id that no other instant has, `members` how many items share it.  An `hourly` instant is one that
    retention keeps for its hour at every member alike.
    """

    name: str
    instant: str
    members: int
    hourly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A recovery point: all disks of an item at one instant, sealed on the receiving side.

    The instant lies between `begun_us` and `taken_us` (source wall clock, microseconds since the epoch), the times
    just before and just after libvirt took the checkpoint; `sealed_us` is the receiver's wall clock.  `sequence`
    counts from 1 within an `epoch`; order is (epoch, sequence), never time (I12).  `term` is its writer's (I29).
    `group` is there where the instant was that of a whole consistency group.
    """

    item: str
    epoch: str
    sequence: int
    begun_us: int
    taken_us: int
    sealed_us: int
    full: bool
    application_consistent: bool
    disks: tuple[DiskSeal, ...]
    log_digest: str
    parent_digest: str
    sent_bytes: int
    term: int = 1
    group: GroupMark | None = None


class ItemState(StrEnum):
    """States of a protected item (spec S4).  The source agent drives those up to ERROR; an item that it does not know
    is DISABLED."""

    DISABLED = "disabled"
    READY_FOR_INITIAL_REPLICATION = "ready for initial replication"
    INITIAL_REPLICATION = "initial replication in progress"
    REPLICATING = "replicating"
    SUSPENDED = "suspended"
    WAITING_FOR_RESYNC = "waiting for start of resync"
    RESYNCHRONIZING = "resynchronizing"
    RESYNC_SUSPENDED = "resync suspended"
    ERROR = "error"
    WAITING_FOR_INITIAL_REPLICATION = "waiting for initial replication"
    PREPARED_FOR_FAILOVER = "prepared for failover"
    FAILED_OVER_WAITING = "failed over waiting completion"
    FAILED_OVER = "failed over"
    RECOVERY = "recovery in progress"
    FAILBACK = "failback in progress"
    FAILBACK_COMPLETE = "failback complete"


class Mode(StrEnum):
    """What an item is on a host (spec S4)."""

    NONE = "none"
    PRIMARY = "primary"
    REPLICA = "replica"
    TEST_REPLICA = "test replica"
    EXTENDED_REPLICA = "extended replica"


class Health(StrEnum):
    """How well an item is (spec S3)."""

    NORMAL = "normal"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHealth:
    """Health, and every reason why it is not better, the worst first."""

    level: Health
    reasons: tuple[str, ...] = ()


class Way(StrEnum):
    """How a cycle carries a disk: what the tracker says, read whole and sent where it differs, or all of it."""

    TRACKED = "tracked"
    COMPARED = "compared"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskCarried:
    """A disk of a cycle: the way it was carried, and why it was not simply tracked (empty when it was).

    `untracked_pages` is what a deep check found: pages of 4 KiB that had changed and were not tracked as changed; None
    where the disk was not checked.
    """

    target: str
    way: Way
    reason: str
    untracked_pages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running cycle has read."""

    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRecord:
    """One cycle as measured by the source agent; times in seconds, sizes in bytes.

    `frozen_seconds` is how long the guest's file systems may have been frozen for it, `paused_seconds` how long its
    processors may have stood still for an instant of its group.
    """

    sequence: int
    full: bool
    started_us: int
    begin_seconds: float
    transfer_seconds: float
    total_seconds: float
    dirty_bytes: int
    zero_bytes: int
    sent_bytes: int
    frozen_seconds: float = 0.0
    disks: tuple[DiskCarried, ...] = ()
    paused_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemStatus:
    """What the source agent observes of one item; `last_error` is empty when the last cycle went well.

    `cycles` are the newest ones since the agent started, oldest first; `missed_cycles` counts the intervals of the last
    hour in which none was shipped (spec S3).  `progress` is that of a cycle that is running.  Disks `without_bitmap`
    can hold no dirty bitmap and are read whole in each cycle.  `application_failures` counts application-consistent
    points in a row that became crash-consistent ones, and `application_reason` says why the last of them did.
    `group` names its consistency group; `group_reason` says why its newest cycle has no instant with the others.
    """

    item: str
    domain: str
    state: ItemState
    epoch: str
    acknowledged_sequence: int
    last_point: Point | None
    last_error: str
    cycles: tuple[CycleRecord, ...]
    missed_cycles: int = 0
    without_bitmap: tuple[str, ...] = ()
    application_failures: int = 0
    application_reason: str = ""
    health: ItemHealth = ItemHealth(level=Health.NORMAL)
    progress: Progress | None = None
    group: str = ""
    group_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOrder:
    """The consistency group that an item belongs to: its name, and the ids of all its items, sorted."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionOrder:
    """What a source agent is told to replicate: `item` is a generated id (the primary's UUID), safe as a file name.

    `receiver` is `host:port` of the peer's receiver role; a cycle begins every `interval_seconds` (spec E4).  With
    `witness` every cycle's export is also read whole by a foreign tool, and the SHA-256 is sealed with the point.
    The guest is frozen for a cycle every `application_consistent_every_seconds` (1 to 12 h, spec E6); never for 0.
    `term` is the one in which the source may write (I29).  A resync waits for `resync_window`, `HH:MM-HH:MM` in the
    host's local time (spec S1); empty means at once.
    `receiver_name` is whom the peer's certificate must name (any receiver where it is empty); `compress` false sends
    frames as they are; `bandwidth` limits what is sent to that receiver.  The cycles of a `group` begin together.
    By `authentication` the two know each other; with pair keys `receiver_name` may not be empty.
    """

    item: str
    domain: str
    receiver: str
    interval_seconds: int
    witness: bool = False
    application_consistent_every_seconds: int = 0
    term: int = 1
    resync_window: str = ""
    receiver_name: str = ""
    compress: bool = True
    bandwidth: Bandwidth | None = None
    group: GroupOrder | None = None
    authentication: Authentication = Authentication.CERTIFICATE


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayDisk:
    """A disk of a test failover: an overlay that can be thrown away, `path` on the receiver's host."""

    target: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPicture:
    """Everything on a host that a drill might leave behind, by kind; every tuple is sorted.

    Kinds: domains, networks, disks, sockets, leases, interfaces, firewall.  What replication itself writes (its
    store and journals) is not in the picture.
    """

    host: str
    taken_us: int
    entries: tuple[tuple[str, str], ...]
