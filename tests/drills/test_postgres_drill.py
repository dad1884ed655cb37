"""A database under load is replicated, failed over under load, comes up sound, and holds what it had promised to hold.

What it must hold is known from outside the guest: rows acknowledged before the backup began ⊆ the replica's rows ⊆ rows
sent before libvirt had taken the checkpoint.  Every recovery boots a debian guest, which takes most of the time here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from drill.core.judges import JUDGES
from drill.model import rows
from drill.model.fact import Observed, PointChosen
from drill.model.verdict import Outcome
from drill.reporting.record import read
from tests.drills.loaded_postgres import CYCLES, Postgres, loaded
from tests.drills.planted import Planted, drilled, target

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.timeout(600)]  # a first run builds the image: a minute
SERVICE_SECONDS = 120.0
# argv: an overlay, then per defect where a page begins on the disk, and the byte in it whose lowest bit is flipped.
FLIP = """
import sys, nbd
image = nbd.NBD()
image.connect_systemd_socket_activation(["qemu-nbd", "--format=qcow2", sys.argv[1]])
for place, offset in zip(sys.argv[2::2], sys.argv[3::2]):
    at = int(place) + int(offset)
    sector = bytearray(image.pread(512, at // 512 * 512))
    sector[at % 512] ^= 1
    image.pwrite(sector, at // 512 * 512)
image.flush()
image.shutdown()
"""
FIRST_LINE_POINTER = 24
"""Bytes of a page's header before its first line pointer, whose lowest bits are the tuple's offset: a multiple of 8."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with loaded(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture(scope="module")
def points(postgres: Postgres) -> list[dict[str, Any]]:
    """The points before the first test failover, oldest first."""
    found: list[dict[str, Any]] = postgres.shop.verb("points", "pg")["points"]
    return found


@pytest.fixture(scope="module")
def latest(postgres: Postgres, points: list[dict[str, Any]]) -> Planted:
    """A test failover from the latest point, by the verb an operator uses."""
    return _failed_over(postgres, "latest")


@pytest.fixture(scope="module")
def older(postgres: Postgres, points: list[dict[str, Any]]) -> Planted:
    """A test failover from the second point: the first that was taken as a cycle."""
    return _failed_over(postgres, "{epoch}/{sequence}".format(**points[1]))


def _failed_over(postgres: Postgres, choice: str) -> Planted:
    found = postgres.shop.verb("test-failover", "postgres", "--point", choice, exit_code=None)
    return Planted(found["run"], read(postgres.shop.reports / found["run"] / "run.jsonl"))


@pytest.fixture(scope="module")
def damaged(postgres: Postgres, points: list[dict[str, Any]]) -> Planted:
    """The latest point is chosen, but the machine comes up from the second one, with a bit flipped in a heap and one in
    an index."""
    heap, index = postgres.place("still_heap", 0), postgres.place("still_index_pkey", 1)

    def plant(command: dict[str, Any]) -> None:
        overlay = f"/var/lib/drill/runs/{command['run']}/{command['item']}.vda.qcow2"
        older = target(
            postgres.shop, 'cd /var/lib/drill/replica/"$1"; ls -v point-"$2"-*.vda.qcow2 | head -n 1',
            command["item"], points[1]["epoch"],
        ).strip()  # fmt: skip
        assert older, "the replica has no such point"
        target(
            postgres.shop, 'qemu-img rebase -u -f qcow2 -F qcow2 -b "$1" "$2"',
            f"/var/lib/drill/replica/{command['item']}/{older}", overlay,
        )  # fmt: skip
        flips = [str(heap), str(FIRST_LINE_POINTER), str(index), str(FIRST_LINE_POINTER + 4)]
        postgres.shop.lab.host("chi1").run([sys.executable, "-c", FLIP, overlay, *flips])

    return drilled(postgres.shop, {("after", "MakeOverlays", "pg"): plant}, SERVICE_SECONDS)


def point_of(run: Planted) -> tuple[str, int]:
    (chosen,) = (fact.point for fact in run.facts if isinstance(fact, PointChosen))
    return chosen.epoch, chosen.sequence


def held(run: Planted) -> rows.Ranges:
    """The rows that were read in the bubble."""
    observed: Any = run.observed("database_rows", "pg").observed
    return tuple((first, last) for first, last in observed["tables"][0]["rows"])


def with_expectation_of(run: Planted, other: Planted) -> Observed:
    """The rows of one run, as if they had come up from the other's point."""
    return replace(run.observed("database_rows", "pg"), expected=other.observed("database_rows", "pg").expected)


def test_every_cycle_under_load_seals_a_point_while_rows_go_on(
    postgres: Postgres, points: list[dict[str, Any]]
) -> None:
    history = postgres.history()
    promised = [
        rows.count(
            rows.bounds(history, begun_us=one["begun_us"], taken_us=one["taken_us"], incident_us=0).acknowledged_before
        )
        for one in points
    ]
    assert len(points) > CYCLES
    assert all(disk["witness"] for one in points for disk in one["disks"])
    assert [one["full"] for one in points] == [True] + [False] * (len(points) - 1)
    assert all(earlier < later for earlier, later in pairwise(promised))
    assert all(earlier < later for earlier, later in pairwise(postgres.acknowledged))


@pytest.mark.spec("L9.a")
def test_a_database_under_load_comes_up_sound_with_all_it_had_promised(latest: Planted) -> None:
    assert latest.red() == set()
    assert {"database", "database_rows", "service", "heartbeat", "disk_content"} <= {
        one.check for one in latest.verdict.checks if one.vm == "pg"
    }
    assert rows.count(held(latest)) > 0


def test_the_loss_is_counted_in_rows(latest: Planted) -> None:
    expected: Any = latest.observed("database_rows", "pg").expected
    promised = tuple((first, last) for first, last in expected["tables"][0]["acknowledged_at_incident"])
    assert latest.verdict.rpo_records == rows.count(rows.minus(promised, held(latest))) > 0


@pytest.mark.spec("L1.b")
def test_the_primary_takes_rows_and_transactions_all_the_while(postgres: Postgres, latest: Planted) -> None:
    began, ended = latest.facts[0].at_us, latest.facts[-1].at_us  # type: ignore[union-attr]
    heard = [one.acknowledged_us for one in postgres.history() if one.acknowledged_us is not None]
    during = [at_us for at_us in heard if began < at_us < ended]
    transactions = int(postgres.query("select count(*) from pgbench_history"))
    assert len(during) > 50
    assert max(later - earlier for earlier, later in pairwise(sorted([began, *during, ended]))) < 10_000_000
    assert transactions > 100


def test_an_older_point_holds_just_what_was_promised_then(
    latest: Planted, older: Planted, points: list[dict[str, Any]]
) -> None:
    assert older.red() == set()
    assert point_of(older) == (points[1]["epoch"], points[1]["sequence"])
    assert rows.minus(held(older), held(latest)) == ()
    assert rows.count(held(older)) < rows.count(held(latest))


def test_rows_of_one_point_do_not_pass_for_another(latest: Planted, older: Planted) -> None:
    lost = JUDGES["database_rows"](with_expectation_of(older, latest))
    early = JUDGES["database_rows"](with_expectation_of(latest, older))
    assert (lost[0], "rows are lost" in lost[1]) == (Outcome.FAIL, True)
    assert (early[0], "not sent before the point" in early[1]) == (Outcome.FAIL, True)


def test_a_stale_point_shown_as_the_latest_is_found_by_its_rows(damaged: Planted) -> None:
    outcome, reason = damaged.outcome("database_rows", "pg")
    assert outcome is Outcome.FAIL, reason
    assert "rows are lost" in reason


@pytest.mark.parametrize("relation", ["still_heap", "still_index_pkey"])
def test_a_damaged_page_is_found_by_its_name(damaged: Planted, relation: str) -> None:
    outcome, reason = damaged.outcome("database", "pg")
    observed: Any = damaged.observed("database", "pg").observed
    assert outcome is Outcome.FAIL, reason
    assert relation in observed["databases"][0]["said"]


def test_what_is_not_damaged_passes_beside_it(damaged: Planted) -> None:
    assert damaged.red() == {("database", "pg"), ("database_rows", "pg")}
