"""Terms: one writer at a time (I29).  Formats know no direction: either side may be the source of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drill.errors import BadInput, Refused, Usage
from drill.replication.cyclelog import check_header
from tests.contract.pair import ITEM, Pair


@pytest.fixture
def pair() -> Pair:
    found = Pair({"vda": 1 << 20})
    found.host.write("vda", 0, b"x" * 70_000)
    found.cycle()
    return found


def order_in_term(pair: Pair, term: int) -> None:
    journal = pair.source.journal
    pair.source.save(replace(journal, order=replace(journal.order, term=term)))


def test_a_log_of_a_lower_term_is_refused_and_the_points_stay(pair: Pair, tmp_path: Path) -> None:
    pair.link.store.raise_term(ITEM, 2)
    pair.restart_receiver()
    before = pair.points()
    with pytest.raises(Refused, match="term 1") as caught:
        pair.cycle()
    assert (caught.value.rule, pair.points()) == ("I29", before)
    order_in_term(pair, 2)
    assert pair.cycle().term == 2
    assert pair.wrong_points(tmp_path) == []


def test_a_point_of_a_higher_term_raises_the_receivers(pair: Pair) -> None:
    order_in_term(pair, 3)
    pair.cycle()
    pair.restart_receiver()
    assert pair.link.store.term(ITEM) == 3
    order_in_term(pair, 2)
    with pytest.raises(Refused, match="term 2"):
        pair.cycle()


def test_the_heads_own_log_of_a_lower_term_is_not_acknowledged_again(pair: Pair) -> None:
    header, _ = pair.link.logs[-1]
    pair.link.store.raise_term(ITEM, 2)
    with pytest.raises(Refused):
        pair.link.store.accept(header)


def test_a_term_is_never_lowered(pair: Pair) -> None:
    store = pair.link.store
    store.raise_term(ITEM, 5)
    store.raise_term(ITEM, 5)
    with pytest.raises(Refused):
        store.raise_term(ITEM, 4)
    with pytest.raises(Usage):
        store.raise_term("nobody", 2)
    assert (store.term(ITEM), store.term("nobody")) == (5, 1)


def test_a_term_below_one_is_no_term(pair: Pair) -> None:
    header, _ = pair.link.logs[-1]
    with pytest.raises(BadInput, match="term 0"):
        check_header(replace(header, term=0))


def test_the_replica_can_be_the_source_of_the_old_primary(pair: Pair, tmp_path: Path) -> None:
    """The same code with the sides exchanged, in a higher term: nothing in a log or a manifest presumes a direction."""
    pair.link.store.raise_term(ITEM, 2)
    replica = Pair({"vda": 1 << 20})
    replica.host.disks["vda"][:] = pair.host.disks["vda"]  # a failover starts the machine from the point
    order_in_term(replica, 2)
    for number in range(1, 3):
        replica.host.write("vda", 4096 * number, b"reversed")
        point = replica.cycle()
        assert (point.item, point.sequence, point.term) == (ITEM, number, 2)
    with pytest.raises(Refused):
        pair.cycle()
    assert replica.wrong_points(tmp_path) == []
