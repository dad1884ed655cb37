"""What stands of a lab, as the kernel and the hosts' folders show it; nothing is remembered and nothing is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drill.lab import agents, daemon, dhcp, members
from drill.lab.place import KEEPER, state_folder
from drill.lab.site import check_name, names
from drill.lab.standing import read_record
from drill.lab.topology import Seat, Topology


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host: process ids (None: not running), and the names of what runs on it."""

    name: str
    site: str
    address: str
    uri: str
    keeper: int | None
    libvirtd: int | None
    agents: dict[str, int | None]
    dhcp: dict[str, int | None]
    networks: tuple[str, ...]
    networks_missing: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether everything that `up` starts is there."""
        return None not in (self.keeper, self.libvirtd, *self.agents.values(), *self.dhcp.values()) and not (
            self.networks_missing
        )


@dataclass(frozen=True, slots=True)
class LabStatus:
    """One lab.  `state` is `whole`, `broken` (`up` mends it) or `absent`."""

    name: str
    state: str
    folder: str
    accelerator: str
    fabric: int | None
    controller: int | None
    processes: int
    hosts: tuple[HostStatus, ...]


def status(name: str | None = None) -> tuple[LabStatus, ...]:
    """The state of one lab, or of every lab of this state root."""
    if name is not None:
        check_name(name)
    return tuple(_lab(lab) for lab in ([name] if name is not None else names()))


def _lab(name: str) -> LabStatus:
    found = members.of_lab(name)
    pids = {(member.place, member.role): member.pid for member in found}
    record = read_record(name)
    folder = state_folder(name)
    hosts: tuple[HostStatus, ...] = ()
    if record is not None:
        hosts = tuple(_host(record[0], seat, folder / seat.name, pids) for seat in record[0].seats())
    fabric, controller = pids.get(("fabric", KEEPER)), pids.get(("controller", KEEPER))
    whole = bool(hosts) and None not in (fabric, controller) and all(host.whole for host in hosts)
    return LabStatus(
        name=name,
        state="whole" if whole else "broken" if found or folder.exists() else "absent",
        folder=str(folder),
        accelerator=record[1].name if record else "",
        fabric=fabric,
        controller=controller,
        processes=len(found),
        hosts=hosts,
    )


def _host(topology: Topology, seat: Seat, folder: Path, pids: dict[tuple[str, str], int]) -> HostStatus:
    wanted = [carried.network.name for carried in topology.carried() if seat in carried.seats]
    networks = tuple(sorted(file.stem for file in (folder / "run" / "network").glob("*.xml")))
    running = pids.get((seat.name, daemon.ROLE))
    return HostStatus(
        name=seat.name,
        site=seat.site.name,
        address=seat.address,
        uri=f"qemu+tcp://{seat.address}/system",
        keeper=pids.get((seat.name, KEEPER)),
        libvirtd=running,
        agents={agent.role: pids.get((seat.name, agent.role)) for agent in agents.AGENTS},
        dhcp={
            carried.network.name: pids.get((seat.name, dhcp.ROLE + carried.network.name))
            for carried in dhcp.served(topology, seat.name)
        },
        networks=networks,
        networks_missing=tuple(name for name in wanted if name not in networks),
        domains=_domains(folder / "run" / "qemu"),
    )


def _domains(folder: Path) -> tuple[str, ...]:
    """The guests whose QEMU is alive, by the pid files that libvirt keeps."""
    return tuple(sorted(file.stem for file in folder.glob("*.pid") if file.stem != "driver" and _holds(file)))


def _holds(pid_file: Path) -> bool:
    try:
        return members.alive(int(pid_file.read_text("ascii").strip()))
    except (OSError, ValueError):
        return False
