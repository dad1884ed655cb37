"""Observers of a PostgreSQL database in a recovered guest, through the guest's agent.

No network is needed, and nothing is asked of the database that could change what the point held but the extension that
its own checker needs: the disks are overlays that are thrown away.
"""

from __future__ import annotations

import re

from drill.errors import BadInput, Failed
from drill.model.command import Check
from drill.model.estate import Database
from drill.model.fact import Json
from drill.ports import Clock, Completed, Guest, Hosts

READY_SECONDS = 60.0
"""How long replaying the log may go on after the service's port has been reached."""
EXAMINE_SECONDS = 1800.0
"""pg_amcheck reads every page; 20 MiB take 2 s under TCG."""
PAUSE_SECONDS = 0.2
_READY, _REFUSING, _SILENT = 0, 1, 2  # exit codes of pg_isready

# $1 the operating system's user, then the program.  Of several releases the newest one's programs are taken.
_AS_USER = """
for folder in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -V); do PATH="$folder:$PATH"; done
export PATH LC_ALL=C PGOPTIONS="-c client_min_messages=warning"
cd /
user=$1
shift
[ "$(id -un)" = "$user" ] || exec runuser -u "$user" -- "$@"
exec "$@"
"""
# Read from the table itself, whose index may lie.
_HEAP_ONLY = "set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off"
_RANGES = (
    "select min(id), max(id) from (select id, id - row_number() over (order by id) as island from"
    " (select {column}::bigint as id from {table}) as held) as placed group by island order by 1"
)
_RANGE = re.compile(r"([0-9]{1,18})\|([0-9]{1,18})")


def database(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Per database whether it comes up, and what pg_amcheck says of every heap and index in it."""
    guest = hosts.hypervisor(check.host).guest(check.domain)
    found: list[Json] = []
    seconds: dict[str, Json] = {}
    for one in check.databases:
        began = clock.monotonic()
        silence = _await_ready(guest, one, clock)
        if silence:
            found.append({"name": one.name, "answers": False, "exit_code": None, "said": silence})
            continue
        tool = ["pg_amcheck", "--install-missing", "--heapallindexed", "--parent-check", one.name]
        done = _run(guest, one, tool, EXAMINE_SECONDS)
        found.append({"name": one.name, "answers": True, "exit_code": done.exit_code, "said": _words(done)})
        seconds[one.name] = round(clock.monotonic() - began, 3)
    return {"databases": found}, {"tool": "pg_amcheck --heapallindexed --parent-check", "seconds": seconds}


def database_rows(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Per table with a history the ids of its rows, read from the heap, as ranges."""
    guest = hosts.hypervisor(check.host).guest(check.domain)
    found: list[Json] = []
    sizes: dict[str, Json] = {}
    for one in (one for one in check.databases if one.history):
        if silence := _await_ready(guest, one, clock):
            raise Failed(action=f"reading {one.table} of {one.name}", cause=f"the database does not come up: {silence}")
        query = _RANGES.format(column=_quoted(one.column), table=_quoted(one.table))
        options = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", one.name]
        done = _run(guest, one, ["psql", *options, "-c", _HEAP_ONLY, "-c", query], EXAMINE_SECONDS)
        held = _ranges(done.output, one) if done.exit_code == 0 else []
        said = "" if done.exit_code == 0 else _words(done)
        found.append({"name": one.name, "exit_code": done.exit_code, "rows": held, "said": said})
        sizes[one.name] = {"table": one.table, "ranges": len(held)}
    return {"tables": found}, sizes


def _await_ready(guest: Guest, one: Database, clock: Clock) -> str:
    """Return "" when the database takes connections, or what it says instead once the time is over.

    Failed when it cannot even be asked.
    """
    deadline = clock.monotonic() + READY_SECONDS
    while True:
        done = _run(guest, one, ["pg_isready", "-d", one.name], 30.0)
        if done.exit_code == _READY:
            return ""
        if done.exit_code not in {_REFUSING, _SILENT}:
            raise Failed(action="pg_isready in the guest", cause=_words(done) or f"exit code {done.exit_code}")
        if clock.monotonic() >= deadline:
            return _words(done) or f"exit code {done.exit_code}"
        clock.sleep(PAUSE_SECONDS)


def _run(guest: Guest, one: Database, argv: list[str], seconds: float) -> Completed:
    return guest.run(["sh", "-c", _AS_USER, "as-user", one.user, *argv], seconds)


def _ranges(output: bytes, one: Database) -> list[Json]:
    """The lines `first|last`; output that was cut short is none."""
    text = output.decode("utf-8", "replace")
    held: list[Json] = []
    for line in text.splitlines(keepends=True):
        found = _RANGE.fullmatch(line.removesuffix("\n"))
        if found is None or not line.endswith("\n"):
            raise BadInput(where=f"{one.table} of {one.name}", problem=f"{line[:60]!r} where a range of rows belongs")
        held.append([int(found[1]), int(found[2])])
    return held


def _quoted(name: str) -> str:
    """An identifier, with its schema if it has one, as SQL writes it literally."""
    return ".".join(f'"{part}"' for part in name.split("."))


def _words(done: Completed) -> str:
    """What a program said, on one line."""
    return " ".join((done.output + b" " + done.errors).decode("utf-8", "replace").split())[:400]
