"""The two agents of a lab host: the source role beside libvirt, the receiver role out of its reach.

The receiver gets a mount namespace of its own in which /run/libvirt is empty, so that it could not talk to the
hypervisor if it wanted to.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from drill.lab import certificates
from drill.lab.place import Place
from drill.lab.roots import STATE_INSIDE
from drill.lab.topology import Seat
from drill.model.identity import Role

SOURCE_PORT = 8081
RECEIVER_PORT = 8084
_ALONE = 'mount -n -t tmpfs -o ro,size=4k none /run/libvirt && exec "$@"'


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent process: the role it is found by, and the port that says it is ready."""

    role: str
    port: int


AGENTS = (Agent("agent-source", SOURCE_PORT), Agent("agent-receiver", RECEIVER_PORT))


def start(agent: Agent, place: Place, seat: Seat, folder: Path) -> None:
    """Start one agent of a host.  The caller waits until its port is listened on."""
    argv = [sys.executable, "-m", "drill", "agent", "--role"]
    if agent.port == SOURCE_PORT:
        argv += ["source", "--listen", f"{seat.address}:{SOURCE_PORT}", "--state", str(STATE_INSIDE / "agent")]
        argv += ["--identity", str(certificates.inside(Role.SOURCE))]
    else:
        argv += ["receiver", "--listen", f"0.0.0.0:{RECEIVER_PORT}", "--store", str(STATE_INSIDE / "replica")]
        argv += ["--identity", str(certificates.inside(Role.RECEIVER))]
        argv = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", _ALONE, "receiver", *argv]
    place.launch(argv, role=agent.role, log=folder / "log" / f"{agent.role}.log")
