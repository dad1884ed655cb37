"""Guests whose processors libvirt stops for one instant, and the process outside that lets them go (spec S5, I32).

QEMU stops the virtual processors, waits for what they have asked of their disks, and answers; nothing of the guest runs
until it is resumed, its clock included.  The watch (drill/hypervisor/release.py) is told before, so that there is no
moment at which a paused guest depends on us alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import libvirt

from drill.hypervisor.connection import Connection, Handle
from drill.hypervisor.release import Hold, Releaser

_Domain: TypeAlias = Any  # a virDomain


class LibvirtSuspender:
    """The Suspender port."""

    def __init__(self, connection: Connection, releaser: Releaser) -> None:
        self._connection = connection
        self._releaser = releaser

    def arm(self, domain: str, seconds: float) -> bool:
        """Have the process outside watch a guest that runs."""
        state, _ = self._connection.call(f"look at {domain}", lambda handle: _state(handle.lookupByName(domain)))
        runs = state == libvirt.VIR_DOMAIN_RUNNING
        if runs:
            self._releaser.hold(domain, Hold.PAUSED, seconds)
        return bool(runs)

    def suspend(self, domain: str) -> None:
        """Stop its processors."""

        def act(handle: Handle) -> None:
            handle.lookupByName(domain).suspend()

        self._connection.call(f"pause {domain}", act, changes=True)

    def is_suspended(self, domain: str) -> bool:
        """Whether it was stopped, and not by its scratch, whose room may come back at any moment."""

        def ask(handle: Handle) -> bool:
            state, reason = _state(handle.lookupByName(domain))
            return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason != libvirt.VIR_DOMAIN_PAUSED_IOERROR)

        return self._connection.call(f"look whether {domain} stands still", ask)

    def resume(self, domain: str) -> None:
        """Let it run; the watch may have been first."""

        def act(handle: Handle) -> None:
            found = handle.lookupByName(domain)
            if _state(found) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER):
                found.resume()

        self._connection.call(f"resume {domain}", act, changes=True)

    def disarm(self, domain: str) -> None:
        """The watch forgets it."""
        self._releaser.let_go(domain, Hold.PAUSED)


def _state(domain: _Domain) -> tuple[int, int]:
    state, reason = domain.state()
    return int(state), int(reason)
