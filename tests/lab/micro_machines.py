"""Micro guests on a host of a standing lab, and code run inside that host, for the tests of this folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from drill.errors import DrillError
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab.standing import Lab, LabHost
from drill.lab.workload import Primary, Workload, build_disks, machine_of
from drill.model.machine import Machine, OwnerTag

OWNER = OwnerTag(vault="test", run="r1")
BOOT_SECONDS = 60.0
"""A guest's agent answers after 4 s on an idle machine with two cores under TCG."""


def hypervisor_of(lab: Lab, host: str) -> LibvirtHypervisor:
    """A host's libvirt, reached from outside its namespaces by its socket."""
    uri = f"qemu+unix:///system?socket={lab.host(host).folder}/run/libvirt-sock"
    return LibvirtHypervisor(uri, accelerator=lab.accelerator.name)


def prepared(host: LabHost, **fields: object) -> Machine:
    """The machine that a primary's fields describe, its disks written into the host's images folder."""
    primary = Primary.model_validate({"disks": [{"target": "vda", "size_bytes": 33554432}], "memory_mib": 96, **fields})
    build_disks(primary, host.folder / "lib" / "images")
    return machine_of(Workload(name="tests", machines=(primary,)), primary)


def await_agent(hypervisor: LibvirtHypervisor, name: str) -> None:
    """Return when the guest's agent answers."""
    await_done(lambda: hypervisor.guest(name).ping(1), f"the agent of {name}")


def await_done(act: Callable[[], object], what: str, seconds: float = BOOT_SECONDS) -> None:
    """Repeat `act` until it raises neither a DrillError nor an AssertionError."""
    deadline = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            act()
        except (DrillError, AssertionError) as error:
            problem = error
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{what}: still {problem!r} after {seconds:g} s")


def inside(host: LabHost, code: str, *arguments: str) -> Any:
    """What a Python program that runs in the host's namespaces prints, as JSON."""
    printed = host.run([sys.executable, "-c", code, *arguments], timeout_seconds=60).stdout
    return json.loads(printed)
