"""Durable runs: procedures on DBOS, behind the port `StepJournal`.  The only importer of dbos.

A run is one DBOS workflow whose input is plain text (the kind of procedure and its order as JSON) and whose steps are
the procedure's commands, each with its envelope recorded.  A controller that is killed leaves its runs pending; the
next controller over the same folder takes them up where they stopped (about 1 s after it is launched).

One controller at a time owns a folder: a lock file keeps a second one out, since two live workers under one executor
id would both perform the same run.  Patterns and figures: docs/adr/0002.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, StepReservation

from drill.errors import Refused, Usage
from drill.ports import StepJournal

# Bumped by hand when a change makes recorded runs of an older version impossible to go on with.
PROCEDURES_VERSION = "2"
WORKFLOW = "procedure"
PENDING = ("PENDING", "ENQUEUED")

Run = Callable[[str, str, str, StepJournal], str]  # (run id, kind, order as JSON, journal) → outcome


class DbosJournal:
    """`StepJournal` inside a DBOS workflow."""

    def reserve(self, name: str) -> Callable[[Callable[[], str]], str]:
        """The next step's position; the step runs when what is returned is called, on whichever thread."""
        reservation: StepReservation = DBOS.reserve_step()

        def run(body: Callable[[], str]) -> str:
            return reservation.run({"name": name}, body)

        return run


class DurableRuns:
    """The runs of one controller folder; use as a context manager.

    Opening takes the folder's lock (Refused when another controller has it) and takes up pending runs.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / "controller.lock")
        self._folder = folder
        self._engine = _engine(folder / "runs.sqlite")
        logging.getLogger("dbos").setLevel(logging.ERROR)
        config: DBOSConfig = {
            "name": "drill",
            "system_database_engine": self._engine,
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": PROCEDURES_VERSION,
            "executor_id": "controller",
            "log_level": "ERROR",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.05,
        }
        DBOS.destroy(destroy_registry=True)
        DBOS(config=config)

        def procedure(kind: str, order: str) -> str:
            return run(DBOS.workflow_id or "", kind, order, DbosJournal())

        self._workflow = DBOS.workflow(name=WORKFLOW)(procedure)
        DBOS.launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        DBOS.destroy(destroy_registry=True)
        self._engine.dispose()
        os.close(self._lock)

    def start(self, run: str, kind: str, order: str) -> None:
        """Begin a run under its id; the same id again is the same run."""
        with SetWorkflowID(run):
            DBOS.start_workflow(self._workflow, kind, order)

    def wait(self, run: str) -> str:
        """The outcome of a run, once it has ended; raises what it raised."""
        outcome: object = DBOS.retrieve_workflow(run).get_result(polling_interval_sec=0.05)
        return str(outcome)

    def pending(self) -> tuple[str, ...]:
        """Ids of runs that have not ended, oldest first."""
        return tuple(one.workflow_id for one in DBOS.list_workflows(status=list(PENDING)))

    def all(self) -> tuple[tuple[str, str], ...]:
        """(run id, status) of every run, oldest first; status as DBOS says it, in lower case."""
        return tuple((one.workflow_id, one.status.lower()) for one in DBOS.list_workflows())

    def ask_cancel(self, run: str) -> None:
        """Ask a run to stop and take back what it made; read at its next step."""
        ask_cancel(self._folder, run)

    def cancel_asked(self, run: str) -> bool:
        """Whether that was asked of a run."""
        return _flag(self._folder, run).exists()


def ask_cancel(folder: Path, run: str) -> None:
    """As `DurableRuns.ask_cancel`, from a process that does not own the folder.  Usage for a run that is not there."""
    if run not in known(folder):
        raise Usage(problem=f"there is no run {run!r}", cure="see: drill jobs list")
    _flag(folder, run).touch()


def known(folder: Path) -> dict[str, str]:
    """Status per run id, oldest first, read beside whoever owns the folder; empty where no run was ever made."""
    path = folder / "runs.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
        rows = connection.execute("SELECT workflow_uuid, status FROM workflow_status ORDER BY created_at")
        found = {str(run): str(status).lower() for run, status in rows}
    connection.close()
    return found


def _flag(folder: Path, run: str) -> Path:
    return folder / f"cancel-{run}"


def _locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Refused(
            reason=f"another controller is at work in {path.parent}", cure="wait for it, or see: drill jobs list"
        ) from error
    return handle


def _engine(path: Path) -> sa.Engine:
    """SQLite in WAL; transactions begin IMMEDIATE, so that two writers wait instead of failing half-way."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"isolation_level": "IMMEDIATE", "timeout": 30.0, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, record: object) -> None:
        del record
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine
