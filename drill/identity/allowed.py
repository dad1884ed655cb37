"""Who may ask what of an agent: one pure function over an identity, a request and the grants (guarantees I11).

controller → source     everything a source offers
controller → receiver   everything a receiver offers, but sending a log
source     → receiver   what its own replication needs, for items that are granted to it, in the granted term
nobody else asks anything of anybody
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drill.model.identity import Grant, Identity, Role

SEND = "receive"
"""The operation by which a log is sent, and RESUME goes on with one; only a source may ask for them."""
RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as far as authorisation looks at it.

    `of` is the role that is asked; `item` is None where the operation is about no item, `term` where no log is
    offered; `for_sources` says that the operation belongs to replication itself.
    """

    of: Role
    operation: str
    item: str | None
    term: int | None = None
    for_sources: bool = False


def refusal(by: Identity, asked: Asked, grants: Mapping[str, Grant]) -> str | None:
    """Why `by` may not ask this, None when it may.  `grants` holds at most one grant per item."""
    if by.role is Role.CONTROLLER:
        if asked.operation in (SEND, RESUME):
            return f"{by} is a controller, and only sources send logs"
        return None
    if by.role is not Role.SOURCE or asked.of is not Role.RECEIVER:
        return f"{by} may ask nothing of a {asked.of.value}"
    if not asked.for_sources or asked.item is None:
        return f"{asked.operation} is for controllers, and {by} is a source"
    return _ungranted(by, asked, grants.get(asked.item))


def _ungranted(by: Identity, asked: Asked, grant: Grant | None) -> str | None:
    if grant is None or grant.sender != by:
        return f"{by} may not send item {asked.item}"
    if asked.term is not None and asked.term != grant.term:
        return f"{by} may send item {asked.item} in term {grant.term}, not {asked.term}"
    return None
