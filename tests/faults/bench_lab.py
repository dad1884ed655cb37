"""A lab for one file of fault benches: a machine replicated between two hosts, and a look at what is left after it.

Every test ends with a byte compare: `sealed` takes a point whose witness a foreign tool read from the same backup
job's export, and compares it with what a foreign tool reads from the replica.  The file ends with the leak check.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drill.errors import DrillError
from drill.lab import members, site, topology
from drill.lab.place import state_folder
from drill.model.point import Point
from drill.transport.frames import WINDOW_BYTES
from tests.lab.micro_machines import await_agent, await_done
from tests.lab.replicated import Replicated, replicated

SLOW_BITS = 32_000_000
NOISE = "/var/lib/libvirt/images/noise"
"""A file of the source's host that qemu-io writes to a disk: what does not compress takes time to send."""


@contextmanager
def bench_lab(prefix: str, *, agent: bool = False) -> Iterator[Replicated]:
    """A fresh lab with a protected machine whose first copy is sealed; when it is down, nothing of it is left."""
    name = f"{prefix}-{os.getpid()}"
    before = _seen(name)
    try:
        found = replicated(site.up(topology.load("lab-two-site", name=name)), f"{prefix}-vm", agent=agent)
        found.io("vdb", "write -P 1 0 3M", "write -P 2 9M 64k")
        found.io("vdc", "write -P 3 5M 2M")
        if agent:  # one that connects while a backup job is open may stay unknown to libvirt (ground 1.40)
            await_agent(found.hypervisor, found.machine.name)
        found.protect()
        await_done(lambda: has_points(found, 1), "the first copy")
        yield found
    finally:
        site.down(name)
    assert _seen(name) == before, "taking the lab down left something"


def _seen(lab: str) -> tuple[object, ...]:
    """What a lab could leave: processes, its folder, mounts and interfaces in the machine's own namespaces."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if lab in line]
    interfaces = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    return members.of_lab(lab), state_folder(lab).exists(), mounts, interfaces


def has_points(found: Replicated, count: int) -> None:
    """AssertionError until the receiver has so many points."""
    assert len(found.points()) >= count


def sealed(found: Replicated) -> Point:
    """A point with its witness, compared."""
    point = found.cycle()
    assert found.differing(point) == []
    return point


def sealed_soon(found: Replicated, what: str, seconds: float = 90) -> Point:
    """The same, as soon as it succeeds."""
    points: list[Point] = []
    await_done(lambda: points.append(sealed(found)), what, seconds)
    return points[-1]


@contextmanager
def slow_link(vm: Replicated) -> Iterator[None]:
    """4 MiB/s between the sites, and a disk full of noise to send: a cycle takes seconds."""
    vm.lab.throttle_link(bits_per_second=SLOW_BITS)
    try:
        with noise(vm, 12 << 20):
            vm.io("vdb", f"write -s {NOISE} 8M 12M")
        yield
    finally:
        vm.lab.heal_link()


def more_to_send_than_may_be_in_flight(vm: Replicated) -> None:
    """Fill two disks with noise: while a slow link takes it, the source still has pages to read from QEMU."""
    length = 30 << 20
    assert 2 * length > WINDOW_BYTES + (16 << 20)  # what sockets and lanes may hold
    with noise(vm, length):
        for target in ("vdb", "vdc"):
            vm.io(target, f"write -s {NOISE} 0 {length}")


@contextmanager
def noise(vm: Replicated, length: int) -> Iterator[None]:
    """The file that qemu-io may write from."""
    file = vm.near.folder / "lib" / "images" / "noise"
    file.write_bytes(random.randbytes(length))
    try:
        yield
    finally:
        file.unlink()


class UnderWay:
    """A cycle in a thread of its own; `outcome` is what it raised, None when it was sealed."""

    def __init__(self, vm: Replicated) -> None:
        self.outcome: DrillError | None = None
        self._vm = vm
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def until(self, condition: Callable[[], object], what: str) -> UnderWay:
        """Wait for a moment of the cycle."""
        await_done(condition, what, 30)
        return self

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Return when it has ended, one way or the other."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._vm.cycle()
        except DrillError as error:
            self.outcome = error


def orphans(vm: Replicated) -> list[str]:
    """Images in the store that its manifest does not name."""
    store = vm.replica("")
    named = json.loads((store / "manifest.json").read_text("utf-8").split("\n", 1)[1])["files"]
    found = [path.name for kind in ("base", "point") for path in store.glob(f"{kind}-*")]
    return sorted(set(found) - set(named))


def in_the_middle_of_a_cycle(vm: Replicated) -> UnderWay:
    """A cycle under way: its log is arriving at the receiver, which writes the files of a point that is none yet."""
    store = vm.replica("")

    def must_arrive() -> None:
        assert any((store / name).stat().st_size > 1 << 20 for name in orphans(vm))

    return UnderWay(vm).until(must_arrive, "the arrival of a log")
