"""Where the next cycle begins, from the journal and the receiver's head: histories as pairs of words.

A point is written `epoch.sequence`; `!` behind it is another content under the same name.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.model.machine import Disk, Machine
from drill.model.point import DiskSeal, Point, ProtectionOrder, Way
from drill.replication.continuity import BACKLOG_FLOOR_BYTES, Adopt, Continue, Evidence, NewEpoch, decide, ways
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
        case NewEpoch(superseded, reason):
            found = f"new over {superseded.log_digest if superseded else 'nothing'}"
            assert reason
    assert found == expected


def machine(**sizes: int) -> Machine:
    disks = tuple(Disk(target=t, path=f"/{t}", format="qcow2", size_bytes=size) for t, size in sizes.items())
    return Machine(name="vm", uuid="u", memory_mib=1, vcpus=1, disks=disks, nics=())


SESSION = (("vda", "QEMU 1"), ("vdb", "QEMU 1"), ("vdc", "QEMU 1"))
BOTH = {"vda": 512, "vdb": 512}


@pytest.mark.parametrize(
    ("shape", "evidence", "expected"),
    [
        pytest.param(BOTH, {}, "tracked tracked", id="all is proven"),
        pytest.param(BOTH, {"dirty": {"vdb": 0}}, "compared! tracked", id="a bitmap is gone"),
        pytest.param(BOTH, {"dirty": {}}, "compared! compared!", id="QEMU was killed"),
        pytest.param(BOTH, {"owed": ("vdb",)}, "tracked compared!", id="a disk is owed"),
        pytest.param(BOTH, {"owed_whole": ("vdb",)}, "tracked whole!", id="comparing did not help"),
        pytest.param(
            BOTH, {"lineage": {"vda": "QEMU 2", "vdb": "QEMU 1"}}, "compared tracked", id="an image was closed"
        ),
        pytest.param(BOTH, {"lineage": {"vda": "QEMU 1"}}, "tracked compared", id="an image of which nothing is known"),
        pytest.param({"vda": 512, "vdb": 1024}, {}, "tracked compared", id="a disk has grown"),
        pytest.param({"vda": 512, "vdb": 256}, {}, "tracked whole", id="a disk has shrunk"),
        pytest.param({"vda": 512, "vdc": 512}, {}, "tracked whole", id="a disk is new"),
        pytest.param({"vda": 512}, {}, "tracked", id="a disk is gone"),
    ],
)
def test_a_disk_is_tracked_only_where_everything_speaks_for_it(
    shape: dict[str, int], evidence: dict[str, object], expected: str
) -> None:
    """`!` behind a way says that it waits for the window of resyncs."""
    known = Acknowledged(checkpoint="c", point=point("a.1"), lineage=SESSION)
    given = {"dirty": dict.fromkeys(shape, 0), "lineage": dict(SESSION), **evidence}
    found = ways(machine(**shape), known, known.point, Evidence(**given))  # type: ignore[arg-type]
    assert " ".join(f"{one.way}{'!' * one.waits}" for one in found) == expected
    assert [one.base for one in found] == ["c" if one.way is Way.TRACKED else None for one in found]
    assert [one.target for one in found] == list(shape)
    assert all(bool(one.reason) is (one.way is not Way.TRACKED) for one in found)


@pytest.mark.spec("S1.a")
@pytest.mark.parametrize(
    ("dirty", "waits"),
    [
        pytest.param(BACKLOG_FLOOR_BYTES, False, id="just half"),
        pytest.param(BACKLOG_FLOOR_BYTES + 65536, True, id="more than half"),
    ],
)
def test_a_backlog_of_more_than_half_a_disk_is_a_resync_that_sends_what_is_tracked(dirty: int, waits: bool) -> None:
    size = 2 * BACKLOG_FLOOR_BYTES
    seal = DiskSeal(target="vda", size_bytes=size, digest="d")
    known = Acknowledged(checkpoint="c", point=replace(point("a.1"), disks=(seal,)), lineage=SESSION)
    (found,) = ways(machine(vda=size), known, known.point, Evidence(dirty={"vda": dirty}, lineage=dict(SESSION)))
    assert (found.way, found.waits, found.read_bytes) == (Way.TRACKED, waits, dirty)


def test_half_of_a_small_disk_is_no_backlog() -> None:
    known = Acknowledged(checkpoint="c", point=point("a.1"), lineage=SESSION)
    (found,) = ways(machine(vda=512), known, known.point, Evidence(dirty={"vda": 512}, lineage=dict(SESSION)))
    assert not found.waits


def test_a_new_epoch_compares_what_the_receiver_has_and_copies_what_it_has_not() -> None:
    found = ways(machine(vda=512, vdc=512), None, point("b.7"), Evidence(dirty={}, lineage={}))
    assert [(one.way, one.waits) for one in found] == [(Way.COMPARED, True), (Way.WHOLE, False)]
    found = ways(machine(vda=512), None, None, Evidence(dirty={}, lineage={}))
    assert [(one.way, one.waits) for one in found] == [(Way.WHOLE, False)]
