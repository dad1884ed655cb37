"""Runs of bytes on a disk: what a cycle carries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ExtentKind(StrEnum):
    """DATA carries bytes; ZERO says that the range now reads as zeros (guarantees I7: zeros are data)."""

    DATA = "data"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes at `offset`, both in bytes; length is never 0.  Lists of extents are sorted and never overlap."""

    offset: int
    length: int
    kind: ExtentKind

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.length
