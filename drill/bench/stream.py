"""How fast one log travels between two agents' processes over loopback, plain and under mutual TLS.

The whole way of production is measured: frames, credit, the window, acknowledgement; only the store is left out, whose
place a taker has that throws everything away.  A round counts from the first byte to the acknowledgement, in a fresh
receiver process, and rounds of both kinds alternate, so that whatever else the machine does befalls both.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from drill.errors import Failed
from drill.identity.authority import Authority, utc_now
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, identity
from drill.model.machine import Machine
from drill.model.point import Point
from drill.ports import ReceiverHead
from drill.transport import dial
from drill.transport.client import ReceiverClient
from drill.transport.secure import Security
from drill.transport.service import Service

PIECE_BYTES = 1 << 20
ITEM = "bench"
READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of connection: medians over the rounds; CPU is per gigabyte (10^9 bytes) that travelled."""

    kind: str
    gb_per_second: float
    sender_cpu_seconds_per_gb: float
    receiver_cpu_seconds_per_gb: float
    rounds: tuple[float, ...]


def measure(size_mib: int, rounds: int, said: Callable[[str], None] = lambda _: None) -> tuple[Row, ...]:
    """Rows for `plain` and `tls`."""
    found: dict[str, list[tuple[float, float, float]]] = {"plain": [], "tls": []}
    with tempfile.TemporaryDirectory(prefix="drill-bench-") as name:
        folder = Path(name)
        _certificates(folder)
        for number in range(rounds):
            for kind, results in found.items():
                results.append(_round(folder, kind, size_mib << 20))
                said(f"round {number + 1} {kind}: {results[-1][0]:.2f} GB/s")
    return tuple(_row(kind, results) for kind, results in found.items())


def document(size_mib: int, rows: tuple[Row, ...]) -> dict[str, object]:
    """What `--json` gives."""
    return {"size_mib": size_mib, "cpus": os.cpu_count(), "rows": [asdict(row) for row in rows]}


def _row(kind: str, results: list[tuple[float, float, float]]) -> Row:
    speed, sender, receiver = (statistics.median(values) for values in zip(*results, strict=True))
    return Row(
        kind=kind,
        gb_per_second=round(speed, 3),
        sender_cpu_seconds_per_gb=round(sender, 3),
        receiver_cpu_seconds_per_gb=round(receiver, 3),
        rounds=tuple(round(one[0], 3) for one in results),
    )


def _certificates(folder: Path) -> None:
    authority = Authority.make(folder / "authority", "bench", utc_now)
    for holder in ("source/bench", "receiver/bench"):
        authority.issue(identity(holder), folder / holder.partition("/")[0])


def _round(folder: Path, kind: str, size: int) -> tuple[float, float, float]:
    """(GB/s, CPU seconds per GB of the sender, of the receiver)."""
    security = Security(folder / "source") if kind == "tls" else None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _receiver(folder, kind) as port:
        client = ReceiverClient("127.0.0.1", port, security, "bench" if security else "")
        piece = memoryview(os.urandom(PIECE_BYTES))
        cpu, begun = time.process_time(), time.monotonic()
        with client.send(_header(size)) as stream:
            for _ in range(size // PIECE_BYTES):
                stream.write(piece)
            point = stream.seal()
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    if point.sent_bytes != size:
        raise Failed("the measurement", f"{point.sent_bytes} of {size} bytes arrived")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return size / seconds / 1e9, cpu / size * 1e9, theirs / size * 1e9


@contextmanager
def _receiver(folder: Path, kind: str) -> Iterator[int]:
    """A receiver's process; its port."""
    argv = [sys.executable, "-m", "drill.bench.stream", str(folder), kind]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(READY_SECONDS, process.kill)
        killer.start()
        try:
            said = process.stdout.readline() if process.stdout else ""
            killer.cancel()
            if not said.strip().isdigit():
                raise Failed("starting a receiver", f"it said {said!r}")
            yield int(said)
        finally:
            killer.cancel()
            process.kill() if process.stdin is None else process.stdin.close()
            process.wait(READY_SECONDS)


class _Away:
    """A role that takes logs and throws them away."""

    def head(self, item: str) -> Point | None:
        """There never is any point."""
        raise Failed("asking for a head", f"{item} is not kept")

    def receive(
        self, header: LogHeader, ready: Callable[[], None], source: Callable[[int], bytes | memoryview]
    ) -> Point:
        """Read as many bytes as the header's instants lie apart."""
        ready()
        size = left = header.taken_us - header.begun_us
        while left:
            left -= len(source(min(left, PIECE_BYTES)))
        return Point(
            item=ITEM,
            epoch=header.epoch,
            sequence=1,
            begun_us=header.begun_us,
            taken_us=header.taken_us,
            sealed_us=0,
            full=True,
            application_consistent=False,
            disks=(),
            log_digest="",
            parent_digest="",
            sent_bytes=size,
        )


def _header(size: int) -> LogHeader:
    """A header that carries the size of what follows as the time its instant took."""
    machine = Machine(name=ITEM, uuid="00000000-0000-4000-8000-000000000000", memory_mib=1, vcpus=1, disks=(), nics=())
    return LogHeader(
        item=ITEM,
        epoch="bench",
        sequence=1,
        parent_digest="",
        supersedes="",
        begun_us=0,
        taken_us=size,
        application_consistent=False,
        machine=machine,
        disks=(),
    )


def _grants() -> Mapping[str, Grant]:
    return {ITEM: Grant(item=ITEM, sender=identity("source/bench"))}


def serve(folder: Path, kind: str) -> None:
    """The receiver's process: serve until our standard input ends."""
    security = Security(folder / "receiver") if kind == "tls" else None
    listener = dial.listen("127.0.0.1", 0)
    role = _Away()
    served = Service("receiver", (), role, role, for_sources=(ReceiverHead,), grants=_grants, security=security)
    sys.stdout.write(json.dumps(listener.getsockname()[1]) + "\n")
    sys.stdout.flush()
    threading.Thread(target=served.serve, args=(listener,), daemon=True).start()
    sys.stdin.read()
    served.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
