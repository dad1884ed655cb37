"""The thread that tends a store between cycles: slice by slice, at low priority, never while an item is busy."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from typing import Protocol

from drill.errors import DrillError, Refused

IDLE_SECONDS = 20.0
"""How long after the last slice the items are looked at again: less than the shortest interval of cycles."""
REST = 1.0
"""Seconds of rest for a second of work, so that a cycle that begins meanwhile has more than half of the processor."""
NICE = 10
log = logging.getLogger("drill.agent")


class Tended(Protocol):
    """What is tended: each call does one slice and says whether there is more."""

    def items(self) -> tuple[str, ...]:
        """Items by name."""
        ...

    def tend(self, item: str) -> bool:
        """One slice of retention and folding; Refused while the item is busy."""
        ...

    def scrub(self, item: str) -> bool:
        """One slice of the scrub; Refused while the item is busy."""
        ...


class Tender:
    """Tends from `start` until `stop`."""

    def __init__(self, tended: Tended) -> None:
        self._tended = tended
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the slice under way."""
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not self._over.is_set():
            try:
                items = self._tended.items()
            except (OSError, DrillError) as error:
                log.warning("upkeep cannot see the items: cause=%s", error)
                items = ()
            more = [self._item(item) for item in items]
            if not any(more):
                self._over.wait(IDLE_SECONDS)

    def _item(self, item: str) -> bool:
        """One slice of an item, and the rest after it; an error is said and waits for the next round."""
        begun = time.thread_time()
        try:
            return self._tended.tend(item) or self._tended.scrub(item)
        except Refused:
            return False
        except (OSError, DrillError) as error:
            log.warning("upkeep of an item failed: item=%s cause=%s", item, error)
            return False
        finally:
            self._over.wait(REST * (time.thread_time() - begun))
