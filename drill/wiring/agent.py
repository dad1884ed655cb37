"""The agent process: one role, one listening socket, until it is told to end."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from drill.errors import Refused, Unsupported
from drill.host.memory import keep_freed_buffers
from drill.model.identity import Role
from drill.transport import dial
from drill.transport.secure import Security
from drill.transport.service import Service
from drill.wiring.receiving import claim, receiver_role, receiver_service
from drill.wiring.sourcing import source_service
from drill.wiring.upkeep import Tender


def run_source(listen: str, state: str, uri: str, host: str, identity: str | None, scratch: str) -> None:
    """Serve the source role until SIGTERM; `identity` is the folder of its certificate, None for plain TCP."""
    security = _security(listen, identity, Role.SOURCE)
    claim(state)
    _serve(listen, source_service(state, uri, host, security, scratch))


def run_receiver(listen: str, store: str, runs: str, identity: str | None) -> None:
    """Serve the receiver role until SIGTERM; `identity` is the folder of its certificate, None for plain TCP."""
    security = _security(listen, identity, Role.RECEIVER)
    role = receiver_role(store, runs)
    tender = Tender(role)
    tender.start()
    try:
        _serve(listen, receiver_service(role, security))
    finally:
        tender.stop()


def _security(listen: str, identity: str | None, role: Role) -> Security | None:
    """Refused for plain TCP that others could reach, and for a certificate of another role."""
    if identity is None:
        if not dial.is_loopback(dial.address(listen)[0]):
            raise Refused("plain TCP is for loopback only", "guarantees § Security 22", "give it --identity DIR")
        return None
    security = Security(Path(identity))
    if security.identity.role is not role:
        cure = f"drill vault issue one for {role.value}/NAME"
        raise Refused(f"{identity} holds the certificate of {security.identity}", cure=cure)
    return security


def _serve(listen: str, service: Service) -> None:
    keep_freed_buffers()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        listener = dial.listen(*dial.address(listen))
    except OSError as error:
        raise Unsupported(f"address {listen}", str(error), "name another address, or end what has it") from error
    if not service.is_secure:
        logging.getLogger("drill.agent").warning("plain TCP: whoever reaches this port is trusted: address=%s", listen)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.close())
    logging.getLogger("drill.agent").info("agent listens: address=%s", listen)
    service.serve(listener)
