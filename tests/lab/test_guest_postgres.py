"""The debian guest as drills rely on it: its agent, its address, a database that answers and can be frozen."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from drill.errors import DrillError
from drill.hypervisor.freezer import LibvirtFreezer
from drill.hypervisor.host import LibvirtHypervisor
from drill.hypervisor.release import Releaser
from drill.lab import images, site, topology, workload
from drill.lab.standing import LabHost
from drill.ports import Completed, Guest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]  # the first run on a machine builds the image: a minute
READY_SECONDS = 120.0
"""Alone on the machine the agent answers after 5 s and the database after 8 s."""
QUERY = """
import psycopg, sys
with psycopg.connect("host=10.61.2.21 user=shop dbname=shop connect_timeout=5") as connection:
    print(connection.execute(sys.argv[1]).fetchone()[0])
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """The machine `pg` on a host of its own lab."""

    host: LabHost
    hypervisor: LibvirtHypervisor

    @property
    def guest(self) -> Guest:
        return self.hypervisor.guest("pg")

    def run(self, program: str, *arguments: str) -> Completed:
        return self.guest.run([f"/drill/postgres/bin/{program}", *arguments], 60)

    def query(self, sql: str) -> str:
        """Asked over the network, from the host."""
        return self.host.run([sys.executable, "-c", QUERY, sql]).stdout.strip()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    name = f"postgres-{os.getpid()}"
    images.ensure("debian")
    try:
        lab = site.up(topology.load(name=name))
        host = lab.host("ny1")
        workload.create(workload.load("postgres"), host, lab.accelerator.name)
        hypervisor = LibvirtHypervisor(workload.uri_outside(host), accelerator=lab.accelerator.name)
        built = Postgres(host, hypervisor)
        ready(built)
        yield built
        hypervisor.connection.close()
    finally:
        site.down(name)


def ready(postgres: Postgres) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if postgres.run("pg_isready", "-q").exit_code == 0:
                return
        except DrillError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_the_database_answers_over_the_network_and_is_durable(postgres: Postgres) -> None:
    durable = "select string_agg(setting, ' ') from pg_settings where name in ('fsync', 'synchronous_commit')"
    assert postgres.query(durable) == "on on"


def test_the_database_is_sound_and_takes_transactions(postgres: Postgres) -> None:
    assert postgres.run("pg_amcheck", "-U", "shop", "shop").exit_code == 0
    assert postgres.run("pgbench", "-U", "shop", "-n", "-t", "20", "shop").exit_code == 0
    assert int(postgres.query("select count(*) from pgbench_history")) >= 20


def test_the_root_filesystem_can_be_frozen(postgres: Postgres) -> None:
    def freeze_and_thaw() -> tuple[int, int]:
        return postgres.hypervisor.connection.call(
            "freeze",
            lambda handle: (handle.lookupByName("pg").fsFreeze(), handle.lookupByName("pg").fsThaw()),
        )

    assert freeze_and_thaw() == (1, 1)


def test_a_frozen_root_file_system_is_thawed_by_the_guests_own_timer(postgres: Postgres) -> None:
    """The agent is killed in the frozen guest, and systemd ends all that it had started; nobody outside helps."""
    releaser = Releaser(postgres.hypervisor.uri, "/")
    freezer = LibvirtFreezer(postgres.hypervisor.connection, releaser)
    freezer.arm("pg", 4)
    watching = releaser.pid
    assert watching is not None
    os.kill(watching, signal.SIGKILL)
    leave = "echo 0 > /sys/fs/cgroup/cgroup.procs"
    kills = f"({leave}; sleep 1; systemctl kill -s KILL drill-agent) > /dev/null 2>&1 < /dev/null &"
    writes = f"({leave}; sleep 1; echo 1 > /root/1; date +%s > /run/written) > /dev/null 2>&1 < /dev/null &"
    postgres.guest.run(["/bin/sh", "-c", f"date +%s > /run/begun; {kills} {writes}"], 10)
    assert freezer.freeze("pg") == 1
    time.sleep(7)  # who asked now would let the agent thaw, which systemd starts anew and which believes it froze
    assert freezer.thaw("pg") == 0, "nobody else had thawed it"
    text = postgres.guest.run(["/bin/cat", "/run/begun", "/run/written"], 10).output.decode()
    begun, written = (int(word) for word in text.split())
    assert 3 <= written - begun <= 7, "the write was not held up until the timer came"
    releaser.close()
