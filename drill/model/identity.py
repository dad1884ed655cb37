"""Who is who between controllers and agents, and who may send what (guarantees I11, § Security 1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from drill.errors import BadInput

_URI = re.compile(r"drill:(controller|source|receiver)/([A-Za-z0-9][A-Za-z0-9._-]{0,62})")


class Role(StrEnum):
    """What a process does; a host has a source and a receiver, with a certificate each."""

    CONTROLLER = "controller"
    SOURCE = "source"
    RECEIVER = "receiver"


class Authentication(StrEnum):
    """How a source and a receiver know each other (spec E2)."""

    CERTIFICATE = "certificate"
    PAIR_KEY = "pair-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A controller, or one role of a host's agent; `name` is the host's name in the estate."""

    role: Role
    name: str

    @property
    def uri(self) -> str:
        """As it stands in a certificate: `drill:source/ny1`."""
        return f"drill:{self.role.value}/{self.name}"

    def __str__(self) -> str:
        return f"{self.role.value}/{self.name}"


def identity(text: str) -> Identity:
    """The identity that a URI, or its part after `drill:`, names; BadInput when it names none."""
    found = _URI.fullmatch(text if text.startswith("drill:") else f"drill:{text}")
    if found is None:
        raise BadInput(f"identity {text[:80]!r}", "not of the form source/NAME, receiver/NAME or controller/NAME")
    return Identity(role=Role(found[1]), name=found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One item and who alone may send its logs, in which term.  A grant with a lower term never replaces one."""

    item: str
    sender: Identity
    term: int = 1
