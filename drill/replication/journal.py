"""The source's journal of one item: what the receiver acknowledged, and what it may have sealed since.

The base of a cycle is only ever the checkpoint that this file names as acknowledged (facts 2 and 6): libvirt's list of
checkpoints proves nothing.  `pending` is written before the last byte of a log leaves, so that a point whose
acknowledgement was lost can be recognised by its log digest and adopted.
"""

from __future__ import annotations

from dataclasses import dataclass

from drill.errors import Failed, Unknown
from drill.model.point import DiskSeal, Point, ProtectionOrder
from drill.ports import Files
from drill.replication import sealed

NAME = "journal.json"
KIND = "journal-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The newest point the receiver is known to have made durable, and the checkpoint at its instant.

    `lineage` is the word for each disk's image then (the port Backups): while it stays, nobody else has written to it.
    """

    checkpoint: str
    point: Point
    lineage: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A log that was sent and not acknowledged; `disks` are the roots its digests give once it counts."""

    checkpoint: str
    epoch: str
    sequence: int
    log_digest: str
    disks: tuple[DiskSeal, ...]
    lineage: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """The first copy is carried on a medium: cycles wait until the receiver has it (spec H2).

    `written` once the medium may hold it, which `pending` then describes; `supersedes` is the receiver's head then.
    """

    written: bool
    supersedes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Everything the source must know after a crash.

    `owed` names disks that must be read whole and compared (I31), `owed_whole` those that must be sent whole because
    comparing did not help.  `paused`: no cycle begins until the operator says so; the checkpoint is kept.  `ended` is
    set before the checkpoints of an item that is no longer protected are dropped, so that a crash in between does not
    bring it back.
    """

    order: ProtectionOrder
    acknowledged: Acknowledged | None = None
    pending: Pending | None = None
    owed: tuple[str, ...] = ()
    owed_whole: tuple[str, ...] = ()
    paused: bool = False
    ended: bool = False
    seeding: Seeding | None = None


class JournalFile:
    """The journal of one item in its folder; every `save` is durable when it returns."""

    def __init__(self, files: Files, item: str) -> None:
        self._files = files
        self._path = f"{item}/{NAME}"
        self._folder = item
        self._generation = 0
        self._doubt = ""

    def load(self) -> Journal | None:
        """The journal, None when the item has none.  Damaged when it does not match its checksum.

        It is written anew, so that what is built upon is durable for certain.
        """
        found = sealed.read(self._files, self._path, KIND, Journal)
        if found is None:
            return None
        self._generation = found.generation
        self.save(found.value)
        return found.value

    def save(self, journal: Journal) -> None:
        """Make it durable.  After Unknown nothing more is saved until the agent starts again (I18)."""
        if self._doubt:
            raise Failed("writing the journal", self._doubt, "start the agent again")
        if not self._generation:
            self._files.make_folder(self._folder)
            self._files.sync_folder("")
        try:
            sealed.write(self._files, self._path, KIND, Journal, journal, generation=self._generation + 1)
        except Unknown as error:
            self._doubt = str(error)
            raise
        self._generation += 1

    def delete(self) -> None:
        """Remove the item's folder with everything in it."""
        for folder in (f"{self._folder}/digests", self._folder):
            try:
                found = self._files.list(folder)
            except FileNotFoundError:
                continue
            for name in found:
                self._files.remove(f"{folder}/{name}")
            self._files.remove_folder(folder)
        self._files.sync_folder("")
        self._generation = 0
