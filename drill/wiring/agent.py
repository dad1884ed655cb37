"""The agent process: one role, one listening socket, until it is told to end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

from drill.errors import Refused, Unsupported
from drill.host.memory import keep_freed_buffers
from drill.identity.bundle import LOOK_SECONDS
from drill.model.identity import Role
from drill.transport import dial
from drill.transport.paired import PAIR_KEY_PORT, PairSecurity
from drill.transport.secure import Security
from drill.transport.service import Service
from drill.wiring.receiving import claim, receiver_role, receiver_service
from drill.wiring.sourcing import source_service
from drill.wiring.upkeep import Tender


def run_source(listen: str, state: str, uri: str, host: str, identity: str | None, scratch: str) -> None:
    """Serve the source role until SIGTERM; `identity` is the folder of its certificate, None for plain TCP."""
    security = _security(listen, identity, Role.SOURCE)
    claim(state)
    _serve(listen, source_service(state, uri, host, security, scratch, _pair_keys(security)))


def run_receiver(listen: str, store: str, runs: str, identity: str | None, paired: str = "") -> None:
    """Serve the receiver role until SIGTERM; `identity` is the folder of its certificate, None for plain TCP.

    `paired` is the address for peers with a pair key, port 8083 of `listen` where it is empty.
    """
    security = _security(listen, identity, Role.RECEIVER)
    keys = _pair_keys(security)
    role = receiver_role(store, runs)
    service = receiver_service(role, security)
    tender = Tender(role)
    tender.start()
    try:
        second = paired or f"{listen.rpartition(':')[0]}:{PAIR_KEY_PORT}"
        _serve(listen, service, SecondDoor(service, keys, second) if keys else None)
    finally:
        tender.stop()


class SecondDoor:
    """Listens for peers with a pair key, as soon as there is one."""

    def __init__(self, service: Service, keys: PairSecurity, listen: str) -> None:
        self._service = service
        self._keys = keys
        self._listen = listen

    def start(self) -> None:
        """Until the service is closed."""
        threading.Thread(target=self._serve, name="pair keys", daemon=True).start()

    def _serve(self) -> None:
        log, said = logging.getLogger("drill.agent"), False
        while not self._service.closed_within(LOOK_SECONDS):
            if not self._keys.has_keys:
                continue
            try:
                listener = dial.listen(*dial.address(self._listen))
            except OSError as error:
                if not said:
                    log.error("no listening for pair keys, tried again: address=%s cause=%s", self._listen, error)
                said = True
                continue
            log.info("agent listens for pair keys: address=%s", self._listen)
            self._service.serve(listener, self._keys)


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


def _pair_keys(security: Security | None) -> PairSecurity | None:
    return PairSecurity(security.watched.folder, security.identity) if security else None


def _serve(listen: str, service: Service, beside: SecondDoor | None = None) -> None:
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
    if beside is not None:
        beside.start()
    service.serve(listener)
