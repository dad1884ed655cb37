"""One host's libvirt behind the port `Hypervisor`.

Commands may run twice, so each looks before it acts and is named by what it makes.  Every domain and network that
drill makes carries an ownership tag in its metadata; what carries another tag, or none, is never changed, started,
stopped or removed (ground 3.7: "another's VM deleted").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import libvirt

from drill.errors import BadInput, DrillError, Failed, Refused, Unknown, Usage
from drill.hypervisor import console, domain_xml, network_xml
from drill.hypervisor.connection import Connection, Handle, is_absent, version_text
from drill.hypervisor.guest_agent import LibvirtGuest
from drill.hypervisor.owner_xml import find_owner
from drill.hypervisor.safe_xml import read
from drill.model.machine import DomainRecord, Machine, OwnerTag, PowerState
from drill.model.network import BubbleNetwork
from drill.ports import Guest, HypervisorFacts

GONE_SECONDS = 60.0
"""How long a domain may take to be gone; `destroy` of one TCG guest takes up to 2 s (ground 1.27)."""
_POLL_SECONDS = 0.1
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.OFF,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
}
_Object: TypeAlias = Any  # a virDomain or a virNetwork


class LibvirtHypervisor:
    """The host at `uri`.  `accelerator` is `kvm`, `tcg`, or None for what the host's libvirt offers for new domains.

    Where a probe has shown that guests do not boot under KVM although the device is there, name `tcg`, or hide the
    device from the daemon as the lab does.
    """

    def __init__(self, uri: str, *, accelerator: str | None = None, tuning: domain_xml.Tuning | None = None) -> None:
        self.uri = uri
        self.connection = Connection(uri)
        self._accelerator = accelerator
        self._tuning = tuning or domain_xml.Tuning()

    def facts(self) -> HypervisorFacts:
        """Versions and processors."""

        def ask(handle: Handle) -> HypervisorFacts:
            return HypervisorFacts(
                libvirt=version_text(handle.getLibVersion()),
                qemu=version_text(handle.getVersion()),
                accelerator=self._chosen(handle),
                cpus=int(handle.getInfo()[2]),
            )

        return self.connection.call("read the host's versions", ask)

    def machine(self, name: str) -> Machine:
        """A domain read into the allow-list, with the sizes of its disks; Usage when there is none of that name."""

        def ask(handle: Handle) -> Machine:
            domain = handle.lookupByName(name)
            machine = domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            sized = tuple(replace(disk, size_bytes=int(domain.blockInfo(disk.target)[0])) for disk in machine.disks)
            return replace(machine, disks=sized)

        return self.connection.call(f"read domain {name}", ask)

    def domains(self) -> tuple[DomainRecord, ...]:
        """All domains, sorted by name; one that vanishes while it is looked at is left out."""

        def ask(handle: Handle) -> tuple[DomainRecord, ...]:
            records = (_record(domain) for domain in handle.listAllDomains())
            return tuple(sorted((record for record in records if record), key=lambda record: record.name))

        return self.connection.call("list domains", ask)

    def networks(self) -> tuple[str, ...]:
        """All networks, sorted."""
        return self.connection.call(
            "list networks", lambda handle: tuple(sorted(network.name() for network in handle.listAllNetworks()))
        )

    def define(self, machine: Machine, owner: OwnerTag) -> None:
        """Define a domain written from the allow-list; the same again is harmless, another's is Refused."""

        def act(handle: Handle) -> None:
            holder = _find(handle.lookupByUUIDString, machine.uuid)
            if holder is not None and holder.name() != machine.name:
                raise Refused(
                    reason=f"domain {holder.name()} has the UUID {machine.uuid} that {machine.name} should get"
                )
            domain = _find(handle.lookupByName, machine.name)
            if domain is not None:
                _check_owner("domain", machine.name, _domain_owner(domain), owner)
                if domain.UUIDString() != machine.uuid:
                    raise Refused(reason=f"domain {machine.name} exists with another UUID, {domain.UUIDString()}")
            handle.defineXMLFlags(
                domain_xml.render(machine, owner, self._chosen(handle), self._tuning),
                libvirt.VIR_DOMAIN_DEFINE_VALIDATE,
            )

        self.connection.call(f"define domain {machine.name}", act, changes=True)

    def start(self, name: str, owner: OwnerTag) -> None:
        """Start a domain of ours, without a saved state; one that runs already is fine, a paused one goes on."""

        def act(handle: Handle) -> None:
            domain = handle.lookupByName(name)
            _check_owner("domain", name, _domain_owner(domain), owner)
            try:
                if not domain.isActive():
                    domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
                elif _power(domain) is PowerState.PAUSED:
                    domain.resume()
            except libvirt.libvirtError as error:
                started_meanwhile = error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and domain.isActive()
                if not started_meanwhile:
                    raise

        self.connection.call(f"start domain {name}", act, changes=True)

    def power(self, name: str) -> PowerState:
        """The power state now; Usage when there is no such domain."""
        return self.connection.call(f"read the power state of {name}", lambda handle: _power(handle.lookupByName(name)))

    def remove(self, name: str, owner: OwnerTag) -> None:
        """Destroy and undefine a domain of ours with all that libvirt keeps of it; one that is gone is fine.

        Its disks stay.  Unknown when it is not gone after `GONE_SECONDS`.
        """

        def act(handle: Handle) -> bool:
            domain = _find(handle.lookupByName, name)
            if domain is None:
                return True
            _check_owner("domain", name, _domain_owner(domain), owner)
            _take_away(domain)
            return _find(handle.lookupByName, name) is None

        self._until_gone(f"remove domain {name}", act)

    def make_bubble(self, network: BubbleNetwork, owner: OwnerTag) -> None:
        """Define and start an isolated network; the same again is harmless, another's of that name is Refused.

        The bridge is cut off from its host only by the agent's guard, which must be set before a guest starts.
        """
        text = network_xml.render(network, owner)

        def act(handle: Handle) -> None:
            known = _find(handle.networkLookupByName, network.name)
            if known is not None:
                _check_owner("network", network.name, _network_owner(known), owner)
                if known.bridgeName() != network.bridge:
                    raise Refused(reason=f"network {network.name} exists with another bridge, {known.bridgeName()}")
            if known is None or not known.isActive():
                known = handle.networkDefineXMLFlags(text, libvirt.VIR_NETWORK_DEFINE_VALIDATE)
                known.create()

        self.connection.call(f"make network {network.name}", act, changes=True)

    def remove_bubble(self, name: str, owner: OwnerTag) -> None:
        """Stop and undefine a network of ours; one that is gone is fine."""

        def act(handle: Handle) -> bool:
            network = _find(handle.networkLookupByName, name)
            if network is None:
                return True
            _check_owner("network", name, _network_owner(network), owner)
            if network.isActive():
                network.destroy()
            network.undefine()
            return _find(handle.networkLookupByName, name) is None

        self._until_gone(f"remove network {name}", act)

    def taps(self, name: str) -> tuple[str, ...]:
        """Host-side interfaces of a running domain's cards, in their order; empty for one that is off."""

        def ask(handle: Handle) -> tuple[str, ...]:
            root = read(handle.lookupByName(name).XMLDesc(), where=f"domain {name}")
            return tuple(tap for card in root.iterfind("devices/interface") if (tap := _tap(card)))

        return self.connection.call(f"read cards of {name}", ask)

    def screenshot(self, name: str) -> bytes:
        """The console's picture as PNG; Failed when the domain does not run."""
        return self.connection.call(f"take a screenshot of {name}", lambda handle: console.screenshot(handle, name))

    def console(self, name: str, seconds: float) -> bytes:
        """What the serial console prints within `seconds`; an earlier reader is displaced."""
        return self.connection.call(f"read the console of {name}", lambda handle: console.listen(handle, name, seconds))

    def guest(self, name: str) -> Guest:
        """The guest's agent; nothing is asked of it yet."""
        return LibvirtGuest(self.connection, name)

    def guest_agents(self) -> dict[str, str]:
        """The version that the agent of each running domain says it has; domains without an answer are left out."""
        found = {}
        for record in self.domains():
            if record.state is PowerState.RUNNING:
                with suppress(DrillError):
                    told = LibvirtGuest(self.connection, record.name).ask("guest-info", {}, seconds=1, changes=False)
                    found[record.name] = told.field("version").text(40)
        return found

    def _chosen(self, handle: Handle) -> str:
        """The accelerator; asked of the daemon once, by whether it offers KVM domains at all."""
        if self._accelerator is None:
            try:
                handle.getDomainCapabilities(None, None, None, "kvm", 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                    raise
                self._accelerator = "tcg"
            else:
                self._accelerator = "kvm"
        return self._accelerator

    def _until_gone(self, action: str, act: Callable[[Handle], bool]) -> None:
        """Repeat `act`, which looks first, until it says that nothing is left.

        What libvirt refuses for now (a process that will not end yet, a lock held by a job) is tried again until the
        deadline; then it is Unknown.
        """
        deadline = time.monotonic() + GONE_SECONDS
        while True:
            try:
                if self.connection.call(action, act, changes=True):
                    return
                cause = "it is still there"
            except (Failed, Unknown) as failure:
                cause = failure.cause
            except Usage:
                cause = "it went between two looks"
            if time.monotonic() > deadline:
                raise Unknown(action=action, cause=f"after {GONE_SECONDS:g} s: {cause}")
            time.sleep(_POLL_SECONDS)


def _tap(card: ET.Element) -> str | None:
    target = card.find("target")
    return None if target is None else target.get("dev")


def _find(lookup: Callable[[str], _Object], key: str) -> _Object:
    """The object, or None when libvirt knows none."""
    try:
        return lookup(key)
    except libvirt.libvirtError as error:
        if is_absent(error):
            return None
        raise


def _domain_owner(domain: _Object) -> OwnerTag | None:
    return _owner(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def _network_owner(network: _Object) -> OwnerTag | None:
    return _owner(network.XMLDesc(0))


def _owner(text: str) -> OwnerTag | None:
    """The tag in a definition; what cannot be read within bounds carries none, so it is left alone."""
    try:
        return find_owner(read(text, where="a definition"))
    except BadInput:
        return None


def _check_owner(kind: str, name: str, found: OwnerTag | None, owner: OwnerTag) -> None:
    if found == owner:
        return
    whose = "has no ownership tag" if found is None else f"belongs to vault {found.vault}, run {found.run}"
    raise Refused(reason=f"{kind} {name} {whose}", cure="rename it, or remove it yourself if it is left over")


def _record(domain: _Object) -> DomainRecord | None:
    try:
        owner = _domain_owner(domain)
        return DomainRecord(name=domain.name(), uuid=domain.UUIDString(), state=_power(domain), owner=owner)
    except libvirt.libvirtError as error:
        if is_absent(error):
            return None
        raise


def _power(domain: _Object) -> PowerState:
    state = domain.state()[0]
    if state not in _POWER:
        raise Failed(action=f"read the power state of {domain.name()}", cause=f"libvirt says state {state}")
    return _POWER[state]


def _take_away(domain: _Object) -> None:
    if domain.isActive():
        domain.destroy()
    if domain.isPersistent():
        domain.undefineFlags(_UNDEFINE)
