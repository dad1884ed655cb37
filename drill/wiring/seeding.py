"""Offline seeding in the agents: which locations are taken, and how far a copy has come."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from drill.host import medium
from drill.host.files import LocalFiles
from drill.model.machine import Machine
from drill.model.point import Point
from drill.replication import names, seeding
from drill.replication.seeding import Progress
from drill.replication.store import Store

DISKS = "/var/lib/libvirt/images"


class Copies:
    """How far the copies of an agent's items have come: (bytes done, bytes in all), the latter 0 while unknown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: dict[str, tuple[int, int]] = {}

    def of(self, item: str) -> tuple[int, int]:
        """Of one item; nothing when none is under way."""
        with self._lock:
            return self._items.get(item, (0, 0))

    def begun(self, item: str) -> Progress:
        """What to tell how far it is."""

        def tell(done: int, total: int) -> None:
            with self._lock:
                self._items[item] = (done, total)

        tell(0, 0)
        return tell

    def ended(self, item: str) -> None:
        """It is over."""
        with self._lock:
            self._items.pop(item, None)


def export_location(folder: str, state: str, machine: Machine) -> LocalFiles:
    """A location for an export of a machine, probed (H3); Refused where this host's own files are (H4)."""
    disks = (os.path.dirname(disk.path) for disk in machine.disks)
    return _probed(folder, (state, DISKS, *disks), machine.uuid)


def take_in(store: Store, own: tuple[str, ...], copies: Copies, item: str, folder: str, *, term: int) -> Point:
    """Import an item's seed of a term or a later one from a location; the caller holds the item's lock."""
    names.item(item)
    found = _probed(folder, own, item)
    medium.check_plain(folder, item)
    try:
        return seeding.take_in(store, found, item, copies.begun(item), term=term)
    finally:
        copies.ended(item)


def _probed(folder: str, own: Iterable[str], name: str) -> LocalFiles:
    found = medium.opened(folder, own)
    seeding.probe(found, name)
    return found
