"""Room kept for the day on which the disk is full: for the manifest, and for disks of a test failover (I19).

A file of zeros in the store's folder.  It is given back when something that must work finds no room, and taken again
between cycles once there is some; a point is never sealed with it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress

from drill.errors import Failed
from drill.ports import Files

NAME = ".reserve"
RESERVE_BYTES = 16 << 20
"""A manifest of 170 points takes 110 KB and is written beside the old one, an overlay without content 200 KB."""
_BLOCK = bytes(1 << 20)


class Reserve:
    """The reserve of a store; one of no bytes is never there."""

    def __init__(self, files: Files, size_bytes: int) -> None:
        self._files = files
        self._size = size_bytes

    def take(self) -> None:
        """Take the room where it is not taken; without room nothing is taken."""
        if not self._size or self._files.size(NAME) == self._size:
            return
        try:
            for start in range(0, self._size, len(_BLOCK)):
                self._files.write(NAME, start, _BLOCK[: self._size - start])
            self._files.sync(NAME)
        except OSError:
            self.give_back()

    def give_back(self) -> bool:
        """Give the room back; False when there was none."""
        if self._files.size(NAME) is None:
            return False
        with suppress(OSError):
            self._files.remove(NAME)
        return True

    def backed(self, work: Callable[[], None]) -> None:
        """Do what must work on a full disk, too: once more with the reserve where there was no room."""
        try:
            work()
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.give_back():
                raise
            work()
        except Failed as error:
            if "No space left" not in error.cause or not self.give_back():
                raise
            work()
