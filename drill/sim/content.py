"""What a disk holds, as a value: the non-zero pages of it, by number.

Sparse, so that a disk of 16 MiB with three pages costs three pages; canonical, so that equal disks are equal values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PAGE = 4096
ZERO_PAGE = bytes(PAGE)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """`size` bytes; `pages` has every page that is not all zeros, the last one padded with zeros to a whole page."""

    size: int
    pages: Mapping[int, bytes]

    def same(self, other: Content) -> bool:
        """Whether both read the same."""
        return self.size == other.size and self.pages == other.pages

    def differing(self, other: Content) -> Iterable[int]:
        """Numbers of pages that read differently, sorted; sizes are not compared."""
        mine, theirs = self.pages, other.pages
        return sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))

    def sha256(self) -> str:
        """SHA-256 (hex) of all of its bytes."""
        found, left = hashlib.sha256(), self.size
        for number in range(-(-self.size // PAGE)):
            found.update(self.pages.get(number, ZERO_PAGE)[: min(left, PAGE)])
            left -= PAGE
        return found.hexdigest()
