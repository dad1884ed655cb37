"""Observers of a machine's place in the network, and of the walls around the bubble.

Cards and addresses are what the guest's agent says (a claim) beside what libvirt says it plugged in; isolation is
tried, from inside the guest and from the host, each try beside a control that must succeed at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from drill.core.landing import global_addresses
from drill.errors import DrillError
from drill.model.command import BubbleSeenFrom, Check, GuestProbe, HostProbe, ProbeIsolation
from drill.model.fact import Json
from drill.ports import Clock, GuestNic, Hosts

PING_SECONDS = 2
PROBES_AT_ONCE = 8
ADDRESS_SECONDS = 10.0


def nic_count(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """How many cards the guest has."""
    del clock
    nics = hosts.hypervisor(check.host).guest(check.domain).nics()
    shown: list[Json] = [{"name": one.name, "mac": one.mac} for one in nics]
    return {"count": len(nics), "nics": shown}, None


def subnet(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Per card the VM network its bubble stands for (libvirt) and the named subnet of its address (guest)."""
    plugged = {one.mac: one.network for one in hosts.hypervisor(check.host).machine(check.domain).nics}
    bubbles = {one.name: one for one in check.networks}
    placed: list[Json] = []
    for nic in _settled(check, hosts, clock):
        plug = plugged.get(nic.mac)
        bubble = bubbles.get(plug) if plug else None
        held = global_addresses(nic.addresses)
        names = [one.name for one in bubble.subnets if any(one.holds(text) for text in held)] if bubble else []
        network = bubble.copies if bubble else plug
        placed.append({"mac": nic.mac, "network": network, "subnet": names[0] if names else None})
    return {"nics": placed}, {"plugged": dict(plugged)}


def address(check: Check, hosts: Hosts, clock: Clock) -> tuple[Json, Json]:
    """Per card every address that the guest reports."""
    held: list[Json] = [{"mac": one.mac, "addresses": list(one.addresses)} for one in _settled(check, hosts, clock)]
    return {"nics": held}, None


def _settled(check: Check, hosts: Hosts, clock: Clock) -> tuple[GuestNic, ...]:
    """The guest's cards once each has a global address, or as they are after a while (DHCP takes a moment)."""
    guest = hosts.hypervisor(check.host).guest(check.domain)
    deadline = clock.monotonic() + ADDRESS_SECONDS
    nics = guest.nics()
    while clock.monotonic() < deadline and not all(global_addresses(one.addresses) for one in nics):
        clock.sleep(0.2)
        nics = guest.nics()
    return nics


def isolation(command: ProbeIsolation, hosts: Hosts) -> tuple[Json, Json, Json]:
    """Expected and observed of all probes and bridges; a probe that could not be tried is named in the evidence and
    missing from what was observed."""
    owed: list[Json] = [*(one.name for one in command.guest_probes), *(one.name for one in command.host_probes)]
    with ThreadPoolExecutor(max_workers=PROBES_AT_ONCE) as pool:
        inner = pool.map(lambda one: _tried(one.name, lambda: _from_guest(one, hosts)), command.guest_probes)
        outer = pool.map(lambda one: _tried(one.name, lambda: _from_host(one, hosts)), command.host_probes)
        results = [*inner, *outer]
    probes: list[Json] = [one for one in results if not isinstance(one, str)]
    untried: list[Json] = [one for one in results if isinstance(one, str)]
    unasked: list[Json] = []
    bridges: list[Json] = [_bridge(one, hosts, unasked) for one in command.bridges]
    how = f"from inside the guest an ICMP echo ({PING_SECONDS} s) and ARP; from the host's own network a TCP connection"
    evidence: Json = {"how": how, "untried": untried, "unasked": unasked}
    return {"probes": owed}, {"probes": probes, "bridges": bridges}, evidence


def _tried(name: str, probe: Callable[[], Json]) -> Json:
    """What the probe saw, or the sentence of what kept it from being tried."""
    try:
        return probe()
    except DrillError as error:
        return f"{name}: {error}"


def _from_guest(probe: GuestProbe, hosts: Hosts) -> Json:
    return {
        "name": probe.name,
        "target": probe.target,
        "from": f"{probe.domain} on {probe.host}",
        "reached": _answers(hosts, probe.host, probe.domain, probe.target),
        "control": {
            "from": f"{probe.control_domain} on {probe.control_host}",
            "reached": _answers(hosts, probe.control_host, probe.control_domain, probe.target),
        },
    }


# $1 target, $2 seconds.  An address that answers ARP is reached, though no echo comes back: a bridge without any
# address answers for all addresses of its host (docs/ground.md § Isolation).
_ANSWERS = """
ping -c 1 -W "$2" "$1" >/dev/null 2>&1 && exit 0
ip neigh show "$1" 2>/dev/null | grep -q lladdr && exit 0
exit 1
"""


def _answers(hosts: Hosts, host: str, domain: str, target: str) -> bool:
    """Whether a target answers a guest; a guest that cannot even try raises, so that nothing is concluded."""
    argv = ["sh", "-c", _ANSWERS, "probe", target, str(PING_SECONDS)]
    return hosts.hypervisor(host).guest(domain).run(argv, timeout_seconds=PING_SECONDS + 8).exit_code == 0


def _from_host(probe: HostProbe, hosts: Hosts) -> Json:
    return {
        "name": probe.name,
        "target": f"{probe.target}:{probe.port}",
        "from": f"host {probe.host}",
        "reached": hosts.source(probe.host).reach(probe.target, probe.port, float(PING_SECONDS)),
        "control": {
            "from": f"host {probe.control_host}",
            "reached": hosts.source(probe.control_host).reach(probe.target, probe.port, float(PING_SECONDS)),
        },
    }


def _bridge(seen: BubbleSeenFrom, hosts: Hosts, unasked: list[Json]) -> Json:
    """A bridge, its members, and the cards of the bubble's machines; one that is gone has none and is another check's
    finding, but why it could not be asked is added to `unasked`."""
    hypervisor = hosts.hypervisor(seen.host)
    taps: list[Json] = []
    for domain in seen.domains:
        try:
            taps += list(hypervisor.taps(domain))
        except DrillError as error:
            unasked.append(f"{domain}: {error}")
    members: list[Json] = list(hosts.source(seen.host).bridge_members(seen.bridge))
    return {"bridge": seen.bridge, "members": members, "allowed": taps}
