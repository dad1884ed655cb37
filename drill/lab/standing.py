"""A lab that stands: its hosts, how to run things in them, and the faults it can be given."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from drill.errors import BadInput, Usage
from drill.lab import members, wiring
from drill.lab.acceleration import Accelerator
from drill.lab.place import Place, state_folder
from drill.lab.topology import Seat, Topology

RECORD = "lab.json"
"""The file in a lab's folder that says what was asked for; it goes first when the lab is taken down."""


@dataclass(frozen=True, slots=True)
class LabHost:
    """One hypervisor of a standing lab.  `folder` holds its state, seen from outside."""

    seat: Seat
    folder: Path
    place: Place

    @property
    def name(self) -> str:
        """The host's name, unique in the lab."""
        return self.seat.name

    @property
    def site(self) -> str:
        """The name of its site."""
        return self.seat.site.name

    @property
    def address(self) -> str:
        """Its address on the site network."""
        return self.seat.address

    @property
    def link_address(self) -> str:
        """Its address on the link between the sites."""
        return self.seat.link_address

    @property
    def uri(self) -> str:
        """The libvirt URI by which the controller and the host itself reach its daemon."""
        return f"qemu+tcp://{self.address}/system"

    @property
    def pid(self) -> int:
        """A process that holds its namespaces."""
        return self.place.pid

    def argv_inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in this host."""
        return self.place.argv_inside(argv)

    def run(
        self, argv: Sequence[str], *, timeout_seconds: float = 30.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this host.  Raises Failed when it does not exit 0, Unknown when the time is over."""
        return self.place.run(argv, timeout_seconds=timeout_seconds, stdin=stdin)

    def pids(self, role: str) -> list[int]:
        """The live processes of this host that were started in a role, e.g. `libvirtd` or `agent-source`."""
        found = members.of_lab(self.place.lab)
        return [member.pid for member in found if member.place == self.name and member.role == role]


@dataclass(frozen=True, slots=True)
class Lab:
    """A standing lab.  Its processes may end at any time; a method then raises Failed."""

    name: str
    topology: Topology
    accelerator: Accelerator
    folder: Path
    fabric: Place
    controller: Place
    hosts: tuple[LabHost, ...]

    def host(self, name: str) -> LabHost:
        """The host of that name.  Raises Usage when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise Usage(problem=f"lab {self.name} has no host {name}", cure=f"it has {', '.join(self.place_names())}")

    def place_names(self) -> list[str]:
        """Where something can be run: every host, and the controller."""
        return [*(host.name for host in self.hosts), "controller"]

    def cut_link(self) -> None:
        """Take the link between the sites down: nothing crosses, in either direction, until it is healed."""
        self.fabric.run(["ip", "link", "set", wiring.LINK, "down"])

    def heal_link(self) -> None:
        """Bring the link between the sites up again, at full speed."""
        self.fabric.run(["ip", "link", "set", wiring.LINK, "up"])
        for port in self._link_ports():
            self.fabric.run(["sh", "-c", f"tc qdisc del dev {port} root 2>/dev/null || :"])

    def throttle_link(self, *, bits_per_second: int) -> None:
        """Let each host receive at most this much over the link; a token bucket of 128 KiB, 200 ms of queue."""
        for port in self._link_ports():
            shape = ["tbf", "rate", f"{bits_per_second}bit", "burst", "128kb", "latency", "200ms"]
            self.fabric.run(["tc", "qdisc", "replace", "dev", port, "root", *shape])

    def _link_ports(self) -> list[str]:
        return [wiring.link_port(host.seat) for host in self.hosts]


def write_record(folder: Path, topology: Topology, accelerator: Accelerator) -> None:
    """Note in a lab's folder what is asked for, before anything of it is made."""
    record = {"topology": topology.model_dump(mode="json"), "accelerator": asdict(accelerator)}
    fresh = folder / f"{RECORD}.new"
    fresh.write_text(json.dumps(record), "utf-8")
    fresh.rename(folder / RECORD)


def read_record(lab: str) -> tuple[Topology, Accelerator] | None:
    """What was asked for when a lab was built; None when no such lab was begun."""
    file = state_folder(lab) / RECORD
    try:
        raw = json.loads(file.read_text("utf-8"))
        return Topology.model_validate(raw["topology"]), Accelerator(**raw["accelerator"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadInput(where=str(file), problem=str(error)) from error


def open_lab(name: str) -> Lab:
    """The lab of that name.  Raises Usage when it does not stand whole: `drill lab up` mends it."""
    record = read_record(name)
    pids = {member.place: member.pid for member in reversed(ranked(members.of_lab(name)))}
    if record is None:
        raise Usage(problem=f"no lab {name} stands", cure="build it with `drill lab up`")
    topology, accelerator = record
    places = ["fabric", "controller", *(seat.name for seat in topology.seats())]
    missing = [place for place in places if place not in pids]
    if missing:
        raise Usage(problem=f"lab {name} lacks {', '.join(missing)}", cure="mend it with `drill lab up`")
    folder = state_folder(name)
    return Lab(
        name=name,
        topology=topology,
        accelerator=accelerator,
        folder=folder,
        fabric=Place(name, "fabric", pids["fabric"]),
        controller=Place(name, "controller", pids["controller"]),
        hosts=tuple(
            LabHost(seat=seat, folder=folder / seat.name, place=Place(name, seat.name, pids[seat.name]))
            for seat in topology.seats()
        ),
    )


def ranked(found: Sequence[members.Member]) -> list[members.Member]:
    """Members in the order in which they serve as the way into their place: keepers, then daemons, then the rest."""
    return sorted(found, key=lambda member: (member.role != "keeper", member.role != "libvirtd", not member.role))
