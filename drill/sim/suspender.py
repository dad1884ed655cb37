"""Guests paused for an instant (the Suspender port), as one agent has them: every call may fail before its effect, or
lose its answer after it."""

from __future__ import annotations

from collections.abc import Callable

from drill.errors import Failed, Unreachable
from drill.sim.hypervisor import SimHypervisor
from drill.sim.process import Process


class SimSuspender:
    """`host` gives the host of a domain by its name."""

    def __init__(self, host: Callable[[str], SimHypervisor], process: Process) -> None:
        self._host = host
        self._process = process

    def arm(self, domain: str, seconds: float) -> bool:
        """The process outside watches; False for a guest that stands still, or is off."""
        host = self._ask("watch", domain)
        armed = host.running and not host.paused and host.processors.arm(seconds)
        self._answer("watch")
        return armed

    def suspend(self, domain: str) -> None:
        """Stop it."""
        host = self._ask("suspend", domain)
        if not host.running:
            raise Failed(f"pause {domain}", "it is off")
        host.processors.stop()
        self._answer("suspend")

    def is_suspended(self, domain: str) -> bool:
        """Whether it stands still; one that its scratch paused may go on at any moment."""
        host = self._ask("state", domain)
        stands = host.running and host.processors.stand
        self._answer("state")
        return stands

    def resume(self, domain: str) -> None:
        """Let it run."""
        self._ask("resume", domain).processors.run()
        self._answer("resume")

    def disarm(self, domain: str) -> None:
        """The process outside forgets: nothing is asked of libvirt."""
        if self._process.armed:
            self._process.ask("forget", domain)
        self._host(domain).processors.disarm()

    def _ask(self, operation: str, domain: str) -> SimHypervisor:
        if self._process.armed:
            self._process.ask(f"libvirt {operation}", domain)
        host = self._host(domain)
        if not host.reachable:
            raise Unreachable("libvirt", "qemu:///system", "connection refused")
        host.answer(operation)
        return host

    def _answer(self, operation: str) -> None:
        if self._process.armed:
            self._process.ask(f"libvirt answer {operation}", "")
