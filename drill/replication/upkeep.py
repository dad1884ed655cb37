"""What a store does between cycles: points go when their time has come, and their files are folded into what stays.

Everything is done in slices, off the path of a cycle: `tend` is called under the item's lock and does at most one write
of the manifest or 16 MiB of a fold.  What is left to do is seen from the manifest and the files' headers, never
remembered; a fold under way is given up when the item was opened anew, or when a test failover has come to need a file
that it would replace.

What a test failover uses is left alone (I21): no point with disks over it goes, and no file beneath such a point is
replaced or written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from drill.core import retention
from drill.core.retention import POINTS_MAX, Candidate
from drill.errors import Damaged, Unknown
from drill.ports import Files
from drill.replication import folding
from drill.replication.folding import Chains, Fold
from drill.replication.manifest import Manifest, Manifests

_OVER: Final = object()


@dataclass(slots=True)
class _Item:
    """What is known of an item since it was opened, the fold under way, and those that damage forbids."""

    opened: int
    chains: Chains
    fold: Fold | None = None
    under_way: Iterator[None] | None = None
    damaged: set[Fold] = field(default_factory=set)


class Upkeep:
    """Retention and folding of all items of a store; `most` is how many points an item may have at all."""

    def __init__(self, files: Files, manifests: Manifests, most: int = POINTS_MAX) -> None:
        self._files = files
        self._manifests = manifests
        self._most = most
        self._items: dict[str, _Item] = {}

    def tend(self, item: str, used: frozenset[str]) -> bool:
        """One slice of what is due; False when nothing is.  `used` are files that disks of a test failover stand on.

        OSError and Damaged leave all points as they were; Unknown stops the item (I18).
        """
        manifest = self._manifests.get(item)
        state = self._state(item)
        try:
            return self._slice(item, manifest, state, used)
        except Unknown as error:
            self._items.pop(item, None)
            self._manifests.stop(item, error.cause)
            raise
        except (OSError, Damaged):
            self._give_up(item, state)
            raise

    def chain(self, item: str, target: str) -> int:
        """Files below and including a disk of the newest point, 0 for none; Damaged where one is."""
        newest = self._manifests.get(item).points[-1:]
        disks = [disk for point in newest for disk in point.disks if disk.target == target]
        return sum(1 for disk in disks for _ in self._state(item).chains.down(disk.file, disk.format))

    def longest(self, item: str) -> int:
        """Files of the longest chain of the newest point, as far as they can be followed."""
        points, longest = self._manifests.get(item).points, 0
        for disk in points[-1].disks if points else ():
            with suppress(Damaged):
                longest = max(longest, self.chain(item, disk.target))
        return longest

    def _slice(self, item: str, manifest: Manifest, state: _Item, used: frozenset[str]) -> bool:
        beneath = _beneath(manifest, state.chains, used)
        if state.under_way is not None and state.fold is not None:
            if _is_free(state.fold, beneath):
                self._go_on(state)
                return True
            self._give_up(item, state)
        gone = _expired(manifest, used, self._most)
        if gone:
            self._manifests.change(
                replace(manifest, points=tuple(p for place, p in enumerate(manifest.points) if place not in gone))
            )
            return True
        for fold in state.chains.folds(manifest):
            if fold not in state.damaged and _is_free(fold, beneath):
                state.fold = fold
                state.under_way = folding.steps(self._files, item, fold, state.chains)
                return True
        return self._drop_files(item, manifest, state)

    def _go_on(self, state: _Item) -> None:
        try:
            if state.under_way is not None and next(state.under_way, _OVER) is _OVER:
                state.fold = state.under_way = None
        except Damaged:
            state.damaged |= {state.fold} if state.fold else set()
            raise

    def _drop_files(self, item: str, manifest: Manifest, state: _Item) -> bool:
        """The manifest lets go of files that no point needs, and then they are removed."""
        needed = state.chains.needed(manifest)
        left = [name for name in manifest.files if name not in needed]
        if not left:
            return False
        self._manifests.change(replace(manifest, files=tuple(name for name in manifest.files if name in needed)))
        for name in left:
            with suppress(FileNotFoundError):
                self._files.remove(f"{item}/{name}")
        return True

    def _give_up(self, item: str, state: _Item) -> None:
        """Leave a fold; what it wrote beside is removed, and what it wrote into a base does no harm."""
        if state.fold is not None:
            with suppress(OSError):
                self._files.remove(f"{item}/{state.fold.file}.fold")
        state.fold = state.under_way = None

    def _state(self, item: str) -> _Item:
        opened = self._manifests.opened(item)
        found = self._items.get(item)
        if found is None or found.opened != opened:
            found = self._items[item] = _Item(opened, Chains(self._files, item))
        return found


def _expired(manifest: Manifest, used: frozenset[str], most: int) -> frozenset[int]:
    candidates = [
        Candidate(
            elapsed_us=one.elapsed_us,
            application_consistent=one.point.application_consistent,
            is_held=one.lock is not None or any(disk.file in used for disk in one.disks),
            is_damaged=bool(one.damaged),
            hourly=one.point.group is not None and one.point.group.hourly,
        )
        for one in manifest.points
    ]
    return frozenset(retention.expired(candidates, manifest.policy, most))


def _beneath(manifest: Manifest, chains: Chains, used: frozenset[str]) -> frozenset[str]:
    """Files that are used, and all that they stand on."""
    if not used:
        return frozenset()
    return frozenset(
        file
        for point in manifest.points
        for disk in point.disks
        if disk.file in used
        for file in chains.down(disk.file, disk.format)
    )


def _is_free(fold: Fold, beneath: frozenset[str]) -> bool:
    return fold.file not in beneath and not (fold.into_base and fold.below in beneath)
