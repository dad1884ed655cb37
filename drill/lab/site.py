"""Building a lab, mending it, and taking it away.

`up` looks at what stands and adds what is missing, so that it continues a lab that was interrupted at any moment;
`down` finds the lab's processes by their mark, so that it needs nothing but them.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from drill.errors import Failed, Refused, Usage
from drill.lab import acceleration, agents, certificates, daemon, dhcp, images, members, preflight, wiring
from drill.lab.claims import claimed, mount_points, remove_mount_points
from drill.lab.place import KEEPER, Place, keep_again
from drill.lab.premises import BOOT_IMAGE, Premises
from drill.lab.roots import labs_root
from drill.lab.standing import RECORD, Lab, LabHost, open_lab, ranked, read_record, write_record
from drill.lab.topology import Topology

Progress = Callable[[str], None]
READY_SECONDS = 30.0
"""A daemon is ready in 0.1 s and an agent in 0.5 s on an idle machine."""
In = TypeVar("In")
Out = TypeVar("Out")


def up(topology: Topology, progress: Progress = lambda _: None) -> Lab:
    """Build a lab, or mend the one of that name; returns it when everything in it answers.

    Raises Unsupported before anything is made, Refused when a lab of that name stands with another topology.
    """
    preflight.require()
    boot = images.ensure(BOOT_IMAGE, progress)
    accelerator = acceleration.choose(boot / "vmlinuz")
    with claimed(topology.name) as folder:
        record = read_record(topology.name)
        if record is None:
            members.end_lab(topology.name)
            write_record(folder, topology, accelerator)
        elif record[0] != topology:
            raise Refused(
                reason=f"lab {topology.name} stands with another topology",
                cure=f"take it down first (drill lab down {topology.name}), or give this one another --name",
            )
        else:
            accelerator = record[1]
        build = _Build(topology, folder, boot, accelerator.name, _one_at_a_time(progress))
        build.everything()
        if build.missing():  # something was dying while we looked
            build.everything()
        if missing := build.missing():
            raise Failed(
                action=f"building lab {topology.name}", cause=f"{', '.join(missing)} ended; see {folder}/*/log"
            )
    return open_lab(topology.name)


def down(name: str, progress: Progress = lambda _: None) -> bool:
    """Take a lab away, whatever state it is in.  Returns whether there was anything of it.

    Raises Refused when the caller is inside the lab.
    """
    check_name(name)
    with claimed(name) as folder:
        there = (folder / RECORD).exists()
        (folder / RECORD).unlink(missing_ok=True)
        ended = members.end_lab(name)
        shutil.rmtree(folder)
    remove_mount_points()
    if there or ended:
        progress(f"lab {name} is gone: {ended} processes ended, its folder removed")
    else:
        progress(f"no lab {name} stands")
    return there or ended > 0


def names() -> list[str]:
    """The labs of this state root that stand or have left a folder behind."""
    if not labs_root().is_dir():
        return []
    return sorted(folder.name for folder in labs_root().iterdir() if folder.is_dir())


def check_name(name: str) -> None:
    """Raise Usage for what cannot be a lab's name."""
    if not name or not all(part.isalnum() and part.isascii() and part == part.lower() for part in name.split("-")):
        raise Usage(problem=f"{name!r} is no name for a lab", cure="use lower-case letters, digits and hyphens")


@dataclass(frozen=True, slots=True)
class _Build:
    """One run of `up` under the lab's claim."""

    topology: Topology
    folder: Path
    boot: Path
    accelerator: str
    progress: Progress

    def everything(self) -> None:
        certificates.make(self.folder, self.topology)
        places = self._places()
        self._wire(places)
        hosts = [
            LabHost(seat=seat, folder=self.folder / seat.name, place=places[seat.name])
            for seat in self.topology.seats()
        ]
        running = {(member.place, member.role) for member in members.of_lab(self.topology.name)}
        _together(lambda host: self._serve(host, running), hosts)
        self._learn(hosts)

    def missing(self) -> list[str]:
        """What should run and does not, as `host role`."""
        running = {(member.place, member.role) for member in members.of_lab(self.topology.name)}
        wanted = [(place, KEEPER) for place in self._place_names()]
        for seat in self.topology.seats():
            roles = [daemon.ROLE, *(agent.role for agent in agents.AGENTS)]
            roles += [dhcp.ROLE + carried.network.name for carried in dhcp.served(self.topology, seat.name)]
            wanted += [(seat.name, role) for role in roles]
        return [f"{place} {role}" for place, role in wanted if (place, role) not in running]

    def _place_names(self) -> list[str]:
        return ["fabric", "controller", *(seat.name for seat in self.topology.seats())]

    def _places(self) -> dict[str, Place]:
        """Every place, with a keeper: those that stand, those that lost theirs, and new ones."""
        lab = self.topology.name
        members.await_true(_settled(lab), READY_SECONDS, f"what an earlier up began in lab {lab}")
        standing = {member.place: member for member in reversed(ranked(members.of_lab(lab)))}

        def place(name: str) -> Place:
            member = standing.get(name)
            if member is None:
                return self._new_place(name)
            held = Place(lab, name, member.pid)
            if member.role == KEEPER:
                return held
            self.progress(f"{name}: its keeper is started again")
            return keep_again(held)

        with mount_points():
            return {made.name: made for made in _together(place, self._place_names())}

    def _new_place(self, name: str) -> Place:
        self.progress(f"{name}: namespaces")
        premises = Premises(self.topology, self.folder, self.boot, self.accelerator)
        if name == "fabric":
            return premises.fabric()
        if name == "controller":
            return premises.controller()
        return premises.host(next(seat for seat in self.topology.seats() if seat.name == name))

    def _wire(self, places: dict[str, Place]) -> None:
        pids = {name: place.pid for name, place in places.items()}
        fabric = places["fabric"]
        whole = wiring.whole_or_gone(self.topology, places)
        members.await_true(whole, READY_SECONDS, "the wires of a place that was lost to go")
        lines = wiring.fabric_batch(self.topology, fabric.interfaces(), pids)
        if lines:
            self.progress(f"fabric: {len(lines) // 2} bridges and wires")
        wiring.apply(fabric, "ip", lines)
        wiring.apply(places["controller"], "ip", wiring.controller_batch(self.topology))
        for seat in self.topology.seats():
            place = places[seat.name]
            present = place.interfaces()
            wiring.apply(place, "ip", wiring.host_batch(self.topology, seat, present))
            fresh = wiring.vxlan_ports(self.topology, seat) - present
            wiring.apply(place, "bridge", wiring.vxlan_peers_batch(self.topology, seat, fresh))

    def _serve(self, host: LabHost, running: set[tuple[str, str]]) -> None:
        """Start what is missing of the host's daemon, DHCP servers and agents, and wait until they answer."""
        place = host.place
        missing_agents = [agent for agent in agents.AGENTS if (host.name, agent.role) not in running]
        for carried in dhcp.served(self.topology, host.name):
            if (host.name, dhcp.ROLE + carried.network.name) not in running:
                self.progress(f"{host.name}: DHCP on {carried.network.name}")
                dhcp.start(place, host.folder, carried.network)
        fresh_daemon = (host.name, daemon.ROLE) not in running
        if fresh_daemon:
            self.progress(f"{host.name}: libvirtd")
            daemon.start(place, host.folder)
        for agent in missing_agents:
            self.progress(f"{host.name}: {agent.role}")
            agents.start(agent, place, host.seat, host.folder)
        if fresh_daemon:
            ready = f"libvirtd of {host.name} to answer (see {host.folder}/log)"
            members.await_true(lambda: daemon.ready(place, self.topology, host.folder), READY_SECONDS, ready)
        for agent in missing_agents:
            members.await_true(
                lambda port=agent.port: place.listens(port),  # type: ignore[misc]
                READY_SECONDS,
                f"{agent.role} of {host.name} to listen (see {host.folder}/log/{agent.role}.log)",
            )

    def _learn(self, hosts: list[LabHost]) -> None:
        """The first lab on a machine asks QEMU what it can do; the answer is kept for all that follow."""
        if daemon.capabilities_folder(self.accelerator).is_dir():
            return
        self.progress(f"{hosts[0].name}: probing QEMU (once)")
        daemon.learn_capabilities(hosts[0].place, hosts[0].folder, self.accelerator)
        for host in hosts[1:]:
            daemon.seed_capabilities(host.folder, self.accelerator)


def _one_at_a_time(progress: Progress) -> Progress:
    """The same progress, for several threads."""
    lock = threading.Lock()

    def say(text: str) -> None:
        with lock:
            progress(text)

    return say


def _settled(lab: str) -> Callable[[], bool]:
    """Whether nothing is still starting: a keeper whose `up` was killed goes on mounting until it sleeps."""
    return lambda: not any(member.starting for member in members.of_lab(lab))


def _together(work: Callable[[In], Out], over: Iterable[In]) -> list[Out]:
    """Do the same for several at once; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [future.result() for future in [pool.submit(work, one) for one in over]]
