"""Offline seeding between two real hosts: a running guest's first copy is carried, and cycles go on from it.

The medium is a folder in shared memory, which is a file system of its own on both hosts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill.errors import BadInput, Damaged, Refused
from drill.lab import site, topology
from drill.model.identity import Identity, Role
from drill.model.point import ItemState, ProtectionOrder
from tests.lab.micro_machines import await_done
from tests.lab.replicated import Replicated, network_of, replicated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture
def vm() -> Iterator[Replicated]:
    name = f"seed-{os.getpid()}"
    try:
        yield replicated(site.up(topology.load("lab-two-site", name=name)), "seed-vm")
    finally:
        site.down(name)


@pytest.fixture
def media() -> Iterator[tuple[Path, Path]]:
    """The medium as it is mounted at the source, and as it is at the target."""
    folder = Path(f"/dev/shm/drill-seed-{os.getpid()}")
    try:
        for name in ("near", "far"):
            (folder / name).mkdir(parents=True)
        yield folder / "near", folder / "far"
    finally:
        shutil.rmtree(folder)


def order(vm: Replicated) -> ProtectionOrder:
    return ProtectionOrder(
        item=vm.item,
        domain=vm.machine.name,
        receiver=f"{vm.far.link_address}:8084",
        interval_seconds=2,
        witness=True,
        receiver_name=vm.far.name,
    )


@pytest.mark.spec("E9.c", "H2.a", "H2.b", "H2.c", "H3.a", "H4.a")
def test_a_first_copy_is_carried_and_cycles_go_on_from_it(vm: Replicated, media: tuple[Path, Path]) -> None:
    near, far = media
    vm.io("vdb", "write -P 1 0 3M", "write -P 2 9M 64k")
    with network_of(vm.near):
        vm.receiver.allow(vm.item, Identity(role=Role.SOURCE, name=vm.near.name), term=1)
        with pytest.raises(Refused, match="replication host itself"):
            vm.source.export_seed(order(vm), "/var/lib/drill")
        seed = vm.source.export_seed(order(vm), str(near))
        assert vm.source.export_seed(order(vm), str(near)) == seed
    vm.io("vdb", "write -P 3 20M 1M", "write -z 0 1M")
    with network_of(vm.near), pytest.raises(Refused, match="not imported yet"):
        vm.source.cycle(vm.item, witness=True)
    assert vm.points() == ()

    shutil.copytree(near / vm.item, far / vm.item)
    shutil.rmtree(near / vm.item)
    with network_of(vm.near):
        with pytest.raises(Refused, match="replication host itself"):
            vm.receiver.import_seed(vm.item, "/var/lib/drill")
        with pytest.raises(BadInput, match="none in this location"):
            vm.receiver.import_seed(vm.item, str(near))
        flip(far / vm.item / seed.parts[0].name)
        with pytest.raises(Damaged, match="does not match its digest"):
            vm.receiver.import_seed(vm.item, str(far))
        assert vm.points() == ()
        flip(far / vm.item / seed.parts[0].name)
        point = vm.receiver.import_seed(vm.item, str(far))
        assert vm.receiver.import_seed(vm.item, str(far)) == point
    assert point.log_digest == seed.log_digest
    assert vm.differing(point) == []
    assert not list(far.glob(".drill-probe*"))

    await_done(lambda: _goes_on(vm), "cycles after the import")
    following = vm.points()[1]
    assert (following.epoch, following.sequence, following.full) == (seed.epoch, 2, False)
    assert vm.reasons() == {}  # only what was tracked was read
    assert vm.differing(following) == []


def _goes_on(vm: Replicated) -> None:
    assert len(vm.points()) > 1
    with network_of(vm.near):
        status = vm.source.status(vm.item)
    assert (status.state, status.last_error) == (ItemState.REPLICATING, "")


def flip(path: Path) -> None:
    """One bit in the middle of a file; the same again is as before."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
