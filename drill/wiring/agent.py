"""The agent process: one role, one listening socket, until it is told to end."""

from __future__ import annotations

import logging
import signal
import sys

from drill.errors import Unsupported
from drill.host.memory import keep_freed_buffers
from drill.transport import dial
from drill.transport.service import Service
from drill.wiring.receiving import claim, receiver_role, receiver_service
from drill.wiring.sourcing import source_service
from drill.wiring.upkeep import Tender

RUNS = "/var/lib/drill/runs"


def run_source(listen: str, state: str, uri: str, host: str) -> None:
    """Serve the source role until SIGTERM."""
    claim(state)
    _serve(listen, source_service(state, uri, host))


def run_receiver(listen: str, store: str, runs: str = RUNS) -> None:
    """Serve the receiver role until SIGTERM."""
    claim(store)
    role = receiver_role(store, runs)
    tender = Tender(role)
    tender.start()
    try:
        _serve(listen, receiver_service(role))
    finally:
        tender.stop()


def _serve(listen: str, service: Service) -> None:
    keep_freed_buffers()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        listener = dial.listen(*dial.address(listen))
    except OSError as error:
        raise Unsupported(f"address {listen}", str(error), "name another address, or end what has it") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.close())
    logging.getLogger("drill.agent").info("agent listens: address=%s", listen)
    service.serve(listener)
