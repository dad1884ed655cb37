"""Where the next cycle begins, from the journal and the receiver's head: histories as pairs of words.

A point is written `epoch.sequence`; `!` behind it is another content under the same name.
"""

from __future__ import annotations

import pytest

from drill.model.machine import Disk, Machine
from drill.model.point import DiskSeal, Point, ProtectionOrder
from drill.replication.continuity import Adopt, Continue, NewEpoch, bases, decide
from drill.replication.journal import Acknowledged, Journal, Pending

ORDER = ProtectionOrder(item="i", domain="vm", receiver="h:1", interval_seconds=30)


def point(text: str) -> Point:
    epoch, _, sequence = text.removesuffix("!").partition(".")
    return Point(
        item="i",
        epoch=epoch,
        sequence=int(sequence),
        begun_us=1,
        taken_us=2,
        sealed_us=3,
        full=True,
        application_consistent=False,
        disks=(DiskSeal(target="vda", size_bytes=512, digest="d"), DiskSeal(target="vdb", size_bytes=512, digest="d")),
        log_digest=text,
        parent_digest="",
        sent_bytes=0,
    )


def journal(acknowledged: str, pending: str) -> Journal:
    known = Acknowledged(checkpoint="c-known", point=point(acknowledged)) if acknowledged else None
    return Journal(order=ORDER, acknowledged=known, pending=sent(point(pending)) if pending else None)


def sent(log: Point) -> Pending:
    return Pending(
        checkpoint="c-pending", epoch=log.epoch, sequence=log.sequence, log_digest=log.log_digest, disks=log.disks
    )


@pytest.mark.parametrize(
    ("acknowledged", "pending", "head", "expected"),
    [
        ("", "", "", "new over nothing"),
        ("", "", "a.1", "new over a.1"),
        ("", "a.1", "", "new over nothing"),
        ("", "a.1", "a.1", "adopt a.1"),
        ("", "a.1", "a.1!", "new over a.1!"),
        ("a.1", "", "a.1", "continue a.1"),
        ("a.1", "", "a.1!", "new over a.1!"),
        ("a.1", "", "", "new over nothing"),
        ("a.1", "", "a.2", "new over a.2"),
        ("a.2", "", "a.1", "new over a.1"),
        ("a.1", "a.2", "a.1", "continue a.1"),
        ("a.1", "a.2", "a.2", "adopt a.2"),
        ("a.1", "a.2", "a.2!", "new over a.2!"),
        ("a.1", "a.2", "a.3", "new over a.3"),
        ("a.5", "b.1", "b.1", "adopt b.1"),
        ("a.5", "b.1", "a.5", "continue a.5"),
        ("a.1", "", "b.1", "new over b.1"),
    ],
)
def test_the_decision_follows_from_what_both_sides_have(
    acknowledged: str, pending: str, head: str, expected: str
) -> None:
    match decide(journal(acknowledged, pending), point(head) if head else None):
        case Continue(known):
            found = f"continue {known.point.log_digest}"
        case Adopt(known_to_be_sent, sealed):
            found = f"adopt {sealed.log_digest}"
            assert known_to_be_sent.log_digest == sealed.log_digest
        case NewEpoch(supersedes, reason):
            found = f"new over {supersedes or 'nothing'}"
            assert reason
    assert found == expected


def machine(**sizes: int) -> Machine:
    disks = tuple(Disk(target=t, path=f"/{t}", format="qcow2", size_bytes=size) for t, size in sizes.items())
    return Machine(name="vm", uuid="u", memory_mib=1, vcpus=1, disks=disks, nics=())


@pytest.mark.parametrize(
    ("shape", "provable", "owed", "whole"),
    [
        pytest.param({"vda": 512, "vdb": 512}, ["vda", "vdb"], [], set(), id="all is proven"),
        pytest.param({"vda": 512, "vdb": 512}, ["vdb"], [], {"vda"}, id="a bitmap is gone"),
        pytest.param({"vda": 512, "vdb": 512}, ["vda", "vdb"], ["vdb"], {"vdb"}, id="a disk is owed"),
        pytest.param({"vda": 512, "vdb": 1024}, ["vda", "vdb"], [], {"vdb"}, id="a disk has grown"),
        pytest.param({"vda": 512, "vdc": 512}, ["vda", "vdc"], [], {"vdc"}, id="a disk is new"),
        pytest.param({"vda": 512}, [], [], {"vda"}, id="QEMU was killed"),
    ],
)
def test_a_disk_that_is_not_proven_is_read_whole(
    shape: dict[str, int], provable: list[str], owed: list[str], whole: set[str]
) -> None:
    known = Acknowledged(checkpoint="c", point=point("a.1"))
    found = bases(machine(**shape), known, provable, owed)
    assert {target for target, base in found.items() if base is None} == whole
    assert {base for base in found.values() if base is not None} <= {"c"}
    assert list(found) == list(shape)


def test_without_an_acknowledged_point_every_disk_is_read_whole() -> None:
    assert bases(machine(vda=512), None, ["vda"], []) == {"vda": None}
