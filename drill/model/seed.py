"""An item's first copy on a medium that is carried (spec H2)."""

from __future__ import annotations

from dataclasses import dataclass

from drill.model.point import DiskSeal


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPart:
    """A file of the log; `digest` is the BLAKE3 (hex) of its bytes."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What lies on a medium: the first log of an epoch, cut into parts that follow one another.

    The fields mean what they do in `LogHeader` and `Point`; `domain` is the machine's name, for whoever finds it.
    """

    item: str
    domain: str
    epoch: str
    sequence: int
    supersedes: str
    begun_us: int
    taken_us: int
    disks: tuple[DiskSeal, ...]
    log_digest: str
    parts: tuple[SeedPart, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the log."""
        return sum(part.size_bytes for part in self.parts)
