"""The lab's own authority, and a certificate for every agent and for the controller.

The authority lies in the lab's folder, which no place of the lab can see; each place gets the folders of its own roles.
A certificate that stands is kept: agents that live on after an interrupted `up` go on under theirs.
"""

from __future__ import annotations

from pathlib import Path

from drill.identity.authority import KEY, Authority, utc_now
from drill.identity.bundle import IDENTITY
from drill.lab.roots import STATE_INSIDE
from drill.lab.topology import Topology
from drill.model.identity import Identity, Role

AUTHORITY = "authority"
FOLDER = "identity"


def inside(role: Role) -> Path:
    """Where a process of that role finds its certificate, inside its place."""
    return STATE_INSIDE / FOLDER / ("" if role is Role.CONTROLLER else role.value)


def outside(lab: Path, place: str, role: Role) -> Path:
    """The same folder seen from outside; `lab` is the lab's folder."""
    return lab / place / "drill" / inside(role).relative_to(STATE_INSIDE)


def make(lab: Path, topology: Topology) -> None:
    """Make what is missing of authority and certificates."""
    folder = lab / AUTHORITY
    made = (folder / KEY).exists()
    authority = Authority(folder, utc_now) if made else Authority.make(folder, topology.name, utc_now)
    holders = [("controller", Identity(role=Role.CONTROLLER, name=topology.name))]
    for seat in topology.seats():
        holders += [(seat.name, Identity(role=role, name=seat.name)) for role in (Role.SOURCE, Role.RECEIVER)]
    for place, holder in holders:
        into = outside(lab, place, holder.role)
        if not (into / IDENTITY).exists():
            authority.issue(holder, into)


def authority(lab: Path) -> Authority:
    """The authority of a standing lab."""
    return Authority(lab / AUTHORITY, utc_now)
