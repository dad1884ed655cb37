"""What a cycle log says of itself: who it is for, where it stands in the order, which disks it carries."""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.machine import Machine
from drill.model.point import DiskSeal, GroupMark


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDisk:
    """One disk of a cycle.  `full` means that the log carries every byte of it and starts a new base.

    `compared` means that it was read whole and carries the pages that differ from the receiver's head by its page
    digests; it continues the head's chain, also across epochs, and may be larger than the head's.  Neither means that
    it carries what a change tracker says of the time since the parent.
    """

    target: str
    size_bytes: int
    full: bool
    compared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHeader:
    """The place of a cycle in the order (I9) and the shape of the machine at its instant.

    `parent_digest` is the log digest of the point before it in the same epoch, empty for sequence 1.  Only the first
    log of an epoch carries `supersedes`: the log digest of the head it replaces, empty where the receiver had none.
    `term` is the one in which this source is the item's only writer (I29).  Instants are the source's wall clock in
    microseconds, as in `Point`.  `group` is there where all of a consistency group share the instant.
    """

    item: str
    epoch: str
    sequence: int
    parent_digest: str
    supersedes: str
    begun_us: int
    taken_us: int
    application_consistent: bool
    machine: Machine
    disks: tuple[LogDisk, ...]
    term: int = 1
    group: GroupMark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTrailer:
    """How every disk must look after the log is applied, in the order of the header's disks."""

    disks: tuple[DiskSeal, ...]
