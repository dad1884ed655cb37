"""Actions: what each command means against the real ports.

Every action looks before it acts, so that performing a command twice is harmless; every error is one of
`drill.errors`.  Hosts are reached by their libvirt URI and their agent, and by nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import singledispatchmethod

from drill import checks
from drill.checks.data import source_ledger
from drill.checks.service import await_services
from drill.core.landing import global_addresses
from drill.core.points import choose
from drill.errors import Unknown, Unreachable, Usage
from drill.model import command as c
from drill.model import rows
from drill.model.fact import HostSeen, IncidentDeclared, PictureTaken, PointChosen, ScreenSeen
from drill.model.machine import Machine, OwnerTag
from drill.ports import Clock, Histories, Hosts

PRIMARY_SECONDS = 30.0
"""A micro guest under TCG answers 3 s after power-on, a debian one 16 s."""


@dataclass(frozen=True, slots=True)
class Actions:
    """Performs commands for one vault; `vault` is the owner of everything that is made."""

    hosts: Hosts
    clock: Clock
    vault: str
    histories: Histories

    def __call__(self, command: c.Command[object]) -> object:
        """Perform one command and return its reply."""
        return self._act(command)

    def _owner(self, run: str) -> OwnerTag:
        return OwnerTag(vault=self.vault, run=run)

    @singledispatchmethod
    def _act(self, command: c.Command[object]) -> object:
        raise Usage(problem=f"there is no action for {type(command).__name__}")

    @_act.register
    def _(self, command: c.SeeHost) -> HostSeen:
        seen = self.hosts.hypervisor(command.host).facts()
        return HostSeen(
            at_us=self.clock.now_us(),
            host=command.host,
            site="",
            libvirt=seen.libvirt,
            qemu=seen.qemu,
            kernel=self.hosts.source(command.host).kernel(),
            accelerator=seen.accelerator,
            cpus=seen.cpus,
        )

    @_act.register
    def _(self, command: c.SeePrimary) -> c.PrimarySeen:
        return self.see_primary(command)

    def see_primary(self, command: c.SeePrimary) -> c.PrimarySeen:
        """Look at a primary: its shape from libvirt, its addresses from its agent."""
        hypervisor = self.hosts.hypervisor(command.host)
        machine = hypervisor.machine(command.domain)
        held = self._addresses(command, machine) if command.agent else {}
        return c.PrimarySeen(
            at_us=self.clock.now_us(),
            machine=machine,
            nics=tuple(
                c.NicSeen(mac=one.mac, network=one.network, addresses=held.get(one.mac, ())) for one in machine.nics
            ),
        )

    def _addresses(self, command: c.SeePrimary, machine: Machine) -> dict[str, tuple[str, ...]]:
        """Addresses by MAC once every plugged card has a global one, or as they are after a while: a primary may
        just be booting, or a card may have none."""
        guest = self.hosts.hypervisor(command.host).guest(command.domain)
        plugged = {one.mac for one in machine.nics if one.network}
        deadline = self.clock.monotonic() + PRIMARY_SECONDS
        while True:
            try:
                held = {one.mac: one.addresses for one in guest.nics()}
            except (Unreachable, Unknown):
                if self.clock.monotonic() >= deadline:
                    raise
                held = {}
            complete = all(global_addresses(held.get(mac, ())) for mac in plugged)
            if complete or self.clock.monotonic() >= deadline:
                return held
            self.clock.sleep(0.2)

    @_act.register
    def _(self, command: c.TakePicture) -> PictureTaken:
        picture = self.hosts.source(command.host).picture()
        return PictureTaken(at_us=self.clock.now_us(), when=command.when, picture=picture)

    @_act.register
    def _(self, command: c.DeclareIncident) -> IncidentDeclared:
        del command
        return IncidentDeclared(at_us=self.clock.now_us())

    @_act.register
    def _(self, command: c.ChoosePoint) -> PointChosen:
        kept = self.hosts.receiver(command.host).kept(command.item).points
        whole = tuple(one.point for one in kept if not one.damaged)
        points = whole if whole and command.choice == "latest" else tuple(one.point for one in kept)
        return PointChosen(at_us=self.clock.now_us(), vm=command.vm, point=choose(points, command.choice, command.vm))

    @_act.register
    def _(self, command: c.ReadSourceLedger) -> c.SourceLedger:
        return source_ledger(command, self.hosts, self.clock)

    @_act.register
    def _(self, command: c.ReadHistory) -> rows.RowBounds:
        history = rows.parse(self.histories.read(command.path), command.path)
        point = command.point
        return rows.bounds(history, begun_us=point.begun_us, taken_us=point.taken_us, incident_us=command.incident_us)

    @_act.register
    def _(self, command: c.GuardBridge) -> c.Nothing:
        self.hosts.source(command.host).guard(command.bridge)
        return c.Nothing()

    @_act.register
    def _(self, command: c.UnguardBridge) -> c.Nothing:
        self.hosts.source(command.host).unguard(command.bridge)
        return c.Nothing()

    @_act.register
    def _(self, command: c.MakeBubble) -> c.Nothing:
        self.hosts.hypervisor(command.host).make_bubble(command.network, self._owner(command.run))
        return c.Nothing()

    @_act.register
    def _(self, command: c.RemoveBubble) -> c.Nothing:
        self.hosts.hypervisor(command.host).remove_bubble(command.network, self._owner(command.run))
        return c.Nothing()

    @_act.register
    def _(self, command: c.MakeOverlays) -> c.Overlays:
        receiver = self.hosts.receiver(command.host)
        return c.Overlays(disks=receiver.overlays(command.run, command.item, command.epoch, command.sequence))

    @_act.register
    def _(self, command: c.RemoveOverlays) -> c.Nothing:
        self.hosts.receiver(command.host).remove_overlays(command.run)
        return c.Nothing()

    @_act.register
    def _(self, command: c.DefineMachine) -> c.Nothing:
        self.hosts.hypervisor(command.host).define(command.machine, self._owner(command.run))
        return c.Nothing()

    @_act.register
    def _(self, command: c.StartMachine) -> c.Nothing:
        self.hosts.hypervisor(command.host).start(command.domain, self._owner(command.run))
        return c.Nothing()

    @_act.register
    def _(self, command: c.RemoveMachine) -> c.Nothing:
        self.hosts.hypervisor(command.host).remove(command.domain, self._owner(command.run))
        return c.Nothing()

    @_act.register
    def _(self, command: c.AwaitServices) -> c.ServicesSeen:
        return await_services(command, self.hosts, self.clock)

    @_act.register
    def _(self, command: c.Check) -> c.Evidence:
        return checks.observe(command, self.hosts, self.clock)

    @_act.register
    def _(self, command: c.ProbeIsolation) -> c.Evidence:
        return checks.observe_isolation(command, self.hosts, self.clock)

    @_act.register
    def _(self, command: c.SeeScreen) -> ScreenSeen:
        png = self.hosts.hypervisor(command.host).screenshot(command.domain)
        return ScreenSeen(
            at_us=self.clock.now_us(),
            vm=command.vm,
            png_base64=base64.b64encode(png).decode(),
            sha256=hashlib.sha256(png).hexdigest(),
        )
