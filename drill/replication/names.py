"""Names that become part of a path: generated ids only, checked before anything is opened (guarantees § 6, 14)."""

from __future__ import annotations

import re
from functools import lru_cache

from drill.errors import BadInput

_ITEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_EPOCH = re.compile(r"[a-z0-9]{4,32}")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TARGET = re.compile(r"[a-z][a-z0-9]{0,15}")


def item(name: str) -> str:
    """An item's id, or BadInput."""
    return _checked(_ITEM, name, "item")


def run(name: str) -> str:
    """A run's id, or BadInput."""
    return _checked(_RUN, name, "run")


def epoch(name: str) -> str:
    """An epoch, or BadInput."""
    return _checked(_EPOCH, name, "epoch")


def group(name: str) -> str:
    """A consistency group's name, or BadInput."""
    return _checked(_GROUP, name, "group")


def target(name: str) -> str:
    """A disk's device name in the guest, or BadInput."""
    return _checked(_TARGET, name, "disk")


@lru_cache(maxsize=1024)
def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    if not pattern.fullmatch(name):
        raise BadInput(f"{what} id {name[:80]!r}", f"not of the form {pattern.pattern}")
    return name
