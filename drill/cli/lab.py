"""`drill lab`: sites on this machine, each host with its own libvirt daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from drill.cli.output import Output, spoken
from drill.lab import site, topology
from drill.lab.standing import open_lab
from drill.lab.status import HostStatus, LabStatus, status


@click.group()
def command() -> None:
    """Sites on this machine: every host its own namespaces and libvirt daemon.

    A TOPOLOGY is a file, or the name of one that comes with drill: lab-two-site (the default),
    lab-two-site-two-hosts, lab-one-site-two-clouds.
    """


@command.command("up")
@click.argument("topology_", metavar="[TOPOLOGY]", default=topology.DEFAULT)
@click.option("--name", help="Call the lab this, so that several can stand side by side.")
@spoken
def lab_up(out: Output, topology_: str, name: str | None) -> None:
    """Build a lab, or mend the one that stands."""
    lab = site.up(topology.load(topology_, name=name), out.progress)
    found = status(lab.name)
    out.result({"labs": [asdict(one) for one in found]}, *_lines(found))


@command.command("down")
@click.argument("lab", metavar="[LAB|TOPOLOGY]", default=topology.DEFAULT)
@click.option("--name", help="The name that the lab was given.")
@click.option("--all", "every", is_flag=True, help="Take down every lab of this state folder.")
@spoken
def lab_down(out: Output, lab: str, name: str | None, every: bool) -> None:
    """Take a lab away, with everything that runs in it, whatever state it is in."""
    wanted = site.names() if every else [name or _name(lab)]
    taken = {one: site.down(one, out.progress) for one in wanted}
    lines = [f"{one}: {'taken down' if stood else 'did not stand'}" for one, stood in taken.items()]
    out.result({"labs": [{"name": one, "stood": stood} for one, stood in taken.items()]}, *lines)


@command.command("status")
@click.argument("lab", metavar="[LAB|TOPOLOGY]", required=False)
@spoken
def lab_status(out: Output, lab: str | None) -> None:
    """Say what stands: of one lab, or of every one."""
    found = status(None if lab is None else _name(lab))
    out.result({"labs": [asdict(one) for one in found]}, *(_lines(found) or ["no lab stands"]))


@command.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--lab", default=topology.DEFAULT, help="The lab's name, or its topology.")
@click.argument("place")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def lab_exec(lab: str, place: str, argv: tuple[str, ...]) -> None:
    """Run a command in a host of the lab, or in its `controller`; the exit code is the command's."""
    standing = open_lab(_name(lab))
    inside = standing.controller if place == "controller" else standing.host(place).place
    os.execvp("nsenter", inside.argv_inside(argv))  # noqa: S606 - the command takes our place


def _name(lab_or_topology: str) -> str:
    """The name of a lab, given itself or its topology."""
    if lab_or_topology in site.names():
        return lab_or_topology
    known = (*topology.shipped(), *(name.removeprefix("lab-") for name in topology.shipped()))
    if lab_or_topology in known or Path(lab_or_topology).is_file():
        return topology.load(lab_or_topology).name
    return lab_or_topology


def _lines(found: tuple[LabStatus, ...]) -> list[str]:
    return [line for lab in found for line in _lab_lines(lab)]


def _lab_lines(lab: LabStatus) -> Iterator[str]:
    yield f"lab {lab.name}: {lab.state}, {lab.processes} processes, accelerator {lab.accelerator or 'unknown'}"
    for host in lab.hosts:
        yield f"  {host.name} ({host.site}, {host.address}): {_host_line(host)}"


def _host_line(host: HostStatus) -> str:
    parts = [f"libvirtd {_pid(host.libvirtd)}"]
    parts += [f"{role} {_pid(pid)}" for role, pid in host.agents.items()]
    parts += [f"DHCP on {network} {_pid(pid)}" for network, pid in host.dhcp.items()]
    parts.append(f"networks {', '.join(host.networks) or 'none'}")
    if host.networks_missing:
        parts.append(f"networks missing: {', '.join(host.networks_missing)}")
    parts.append(f"guests {', '.join(host.domains) or 'none'}")
    return "; ".join(parts)


def _pid(pid: int | None) -> str:
    return "is down" if pid is None else str(pid)
