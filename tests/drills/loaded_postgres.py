"""The database machine on a lab of its own, under load from inside and from outside, replicating.

Inside, pgbench at a steady rate; outside, in the source host's network, a writer that keeps its history
(tests/drills/row_writer.py), which is what an operator's own client would do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drill import data
from drill.hypervisor.host import LibvirtHypervisor
from drill.lab import images, site, topology, workload
from drill.lab.place import environment
from drill.lab.standing import Lab
from drill.model import rows
from fixtures.shop import CHECKOUT, Shop

CYCLES = 5
CONNECTIONS = 4
PGBENCH = "setsid /drill/postgres/bin/pgbench -U shop -n -c 2 -R 20 -T 900 shop </dev/null >/tmp/pgbench.log 2>&1 &"
DATABASE_SECONDS = 60.0
# Two tables that nobody writes to, so that no page of theirs is mended by replaying the log.
STILL = """
create table still_heap as select n, repeat('heap', 50) as filler from generate_series(1, 500) as n;
create table still_index (n int primary key);
insert into still_index select generate_series(1, 100);
vacuum freeze still_heap;
vacuum freeze still_index;
checkpoint
"""
# $1 a relation, $2 a page of it: the byte of the guest's disk at which that page begins.
PLACE = """
path=/drill/postgres/data/$(psql -XAtq -U postgres -d shop -c "select pg_relation_filepath('$1')")
sync "$path"
filefrag -v -b4096 "$path" | tr ':.' '  ' | awk -v block=$(($2 * 2)) \
    '$1 ~ /^[0-9]+$/ && $2 <= block && block < $3 { print ($4 + block - $2) * 4096 }'
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """The machine `pg` at New York; `acknowledged` are the rows that the writer had confirmed after each cycle."""

    shop: Shop
    history_file: Path
    hypervisor: LibvirtHypervisor
    acknowledged: list[int]

    def in_guest(self, script: str, *arguments: str) -> str:
        """What sh prints in the primary."""
        done = self.hypervisor.guest("pg").run(["sh", "-euc", script, "test", *arguments], 60)
        if done.exit_code != 0:
            raise AssertionError(f"{script}: exit code {done.exit_code}: {done.errors.decode()}")
        return done.output.decode().strip()

    def query(self, sql: str) -> str:
        """What the primary's database answers; each statement is a transaction."""
        return self.in_guest('echo "$1" | psql -XAtq -v ON_ERROR_STOP=1 -U postgres -d shop', sql)

    def place(self, relation: str, page: int) -> int:
        """The byte of the disk at which a page of a relation begins."""
        return int(self.in_guest(PLACE, relation, str(page)))

    def history(self) -> tuple[rows.Written, ...]:
        """What the writer has noted up to now."""
        return rows.parse(self.history_file.read_bytes(), str(self.history_file))

    def heard(self) -> int:
        """How many rows have been acknowledged up to now."""
        return sum(one.acknowledged_us is not None for one in self.history())

    def cycle(self) -> None:
        """Replicate now, and note how far the writer is."""
        self.shop.verb("cycle", "pg", "--witness")
        self.acknowledged.append(self.heard())


@contextmanager
def loaded(folder: Path) -> Iterator[Postgres]:
    """The machine, protected, with at least `CYCLES` points taken under load; the load goes on."""
    images.ensure("debian")
    lab = site.up(topology.load(name=f"postgres-{os.getpid()}"))
    try:
        source = lab.host("ny1")
        workload.create(workload.load("postgres"), source, lab.accelerator.name)
        workload.provide_boot("debian", lab.host("chi1").folder / "lib")
        hypervisor = LibvirtHypervisor(workload.uri_outside(source), accelerator=lab.accelerator.name)
        estate = Path(shutil.copy(data.path("fixtures", "estates", "postgres.yaml"), folder))
        shop = Shop(lab=lab, reports=folder / "reports", estate=estate)
        shop.verb("predict", "postgres")  # waits for the agent: no backup job may run while it connects
        postgres = Postgres(shop, folder / "postgres.history", hypervisor, [])
        _await_database(postgres)
        postgres.query(STILL)
        with _written(lab, postgres.history_file):
            postgres.in_guest(PGBENCH)
            shop.verb("protect", "--all")
            for _ in range(CYCLES):
                postgres.cycle()
            yield postgres
        hypervisor.connection.close()
    finally:
        site.down(lab.name)


def _await_database(postgres: Postgres) -> None:
    deadline = time.monotonic() + DATABASE_SECONDS
    while postgres.in_guest("pg_isready -q && echo ready || :") != "ready":
        if time.monotonic() > deadline:
            raise AssertionError(f"no database after {DATABASE_SECONDS} s")
        time.sleep(0.2)


@contextmanager
def _written(lab: Lab, history: Path) -> Iterator[None]:
    """The writer works while the block lasts."""
    argv = [sys.executable, "-m", "tests.drills.row_writer", "10.61.2.21", str(history), str(CONNECTIONS)]
    with subprocess.Popen(
        lab.host("ny1").argv_inside(argv), env=environment(lab.name, "ny1"), cwd=CHECKOUT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            yield
        finally:
            writer.communicate(timeout=60)
