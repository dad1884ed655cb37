"""Storage classifications, the locations that bear them, and which class replicates to which (spec G)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClassification:
    """A class of storage on a server; `media` (`ssd`, `hdd`, …) may differ between the two ends of a mapping."""

    name: str
    server: str
    media: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLocation:
    """A directory or a libvirt pool that some host groups reach, on every host of theirs.

    `classification` is "" for an unclassified one, `path` or `pool` says where it is.  `host_groups` are keys of
    `Estate.host_groups`.  `free_bytes` is what was last seen or declared, None where nobody knows.
    """

    name: str
    server: str
    host_groups: tuple[str, ...]
    classification: str = ""
    path: str = ""
    pool: str = ""
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageMapping:
    """Source classification → target classification, each on its server (spec G1); both servers may be the same."""

    source_server: str
    source: str
    target_server: str
    target: str
