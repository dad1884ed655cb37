"""A client that puts rows into a database from outside its guest, and keeps the history of it (drill/model/rows.py).

    python -m tests.drills.row_writer ADDRESS HISTORY CONNECTIONS

One transaction per row, several connections at once, each row sent once and never again: what becomes of one whose
connection broke, nobody knows.  Prints `writing` when every connection has had a row acknowledged; ends when its
standard input does.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time

import psycopg

TABLE = "create table if not exists drill_rows (id bigint primary key, sent_us bigint not null, filler text not null)"
INSERT = "insert into drill_rows values (%s, %s, %s)"
FILLER = "a row that is long enough to fill pages " * 4
CONNECT_SECONDS = 30
PAUSE_SECONDS = 0.04
"""Between two rows of one connection: a lab's two guests share two processors."""


class History:
    """The file; every line is appended whole and made durable before the writer goes on."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)

    def note(self, what: str, at_us: int, row: int) -> None:
        os.write(self._file, f"{what} {at_us:016d} {row}\n".encode())
        os.fdatasync(self._file)


class Connection(threading.Thread):
    """One connection, made again when it breaks."""

    def __init__(self, address: str, history: History, rows: itertools.count[int], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.history, self.rows, self.stop = address, history, rows, stop
        self.heard = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._write()
            except psycopg.Error as error:
                sys.stderr.write(f"{error}\n")
                self.stop.wait(0.2)

    def _write(self) -> None:
        with connected(self.address) as connection:
            while not self.stop.wait(PAUSE_SECONDS):
                row = next(self.rows)
                sent_us = time.time_ns() // 1000
                self.history.note("sent", sent_us, row)
                connection.execute(INSERT, (row, sent_us, FILLER))
                self.history.note("acknowledged", time.time_ns() // 1000, row)
                self.heard.set()


def connected(address: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection on which every statement is a transaction."""
    return psycopg.connect(
        host=address, user="shop", dbname="shop", connect_timeout=CONNECT_SECONDS, autocommit=True,
        keepalives_idle=5, tcp_user_timeout=20_000,
    )  # fmt: skip


def main(address: str, path: str, connections: int) -> None:
    with connected(address) as first:
        first.execute(TABLE)
    history, rows, stop = History(path), itertools.count(1), threading.Event()
    writers = [Connection(address, history, rows, stop) for _ in range(connections)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.heard.wait()
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop.set()
    for writer in writers:
        writer.join(timeout=CONNECT_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
