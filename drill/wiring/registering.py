"""A server registers with its vault, and leaves it: the whole of `drill vault register`, but for its command line.

    key file → rules about it → consent to stopping what runs → proxy tried → versions and clouds looked at
             → the running controller stopped → one transaction in the vault → `server.json` on this machine

Whatever is refused before the transaction leaves everything as it was, the key included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drill.core import registration
from drill.core.instants import instant
from drill.errors import Refused
from drill.host import holders
from drill.host.holders import Holder
from drill.model.vault import Goal, Membership, Probe, Registration, VaultProxy
from drill.ports import ServerFacts
from drill.vault import membership
from drill.vault.keyfile import KeyFile
from drill.vault.membership import ServerState
from drill.wiring.vaults import Doors, certificate_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for beyond key and facts."""

    cluster: Membership | None = None
    proxy: VaultProxy | None = None
    certificate: Path | None = None
    synchronise: bool = True


def check_key(key: KeyFile, name: str, role: str, now_us: int) -> None:
    """What a key file says against registering under a name, or as a node of that role, before anything is asked."""
    cure = registration.ANOTHER_KEY.format(server=name)
    if role and role != name:
        reason = f"the friendly name of a server cluster is its role's, {role}, not {name}"
        raise Refused(reason, "B6", f"register it with --name {role}")
    if key.server != name:
        raise Refused(f"the key file is for the server {key.server}, not {name}", "B2", cure)
    if now_us > key.expires_us:
        raise Refused(f"the registration key expired on {instant(key.expires_us)}", "B2", cure)


def running(state: Path) -> list[Holder]:
    """Controllers that run on this machine: whoever holds the lock of a controller's folder."""
    return list(holders.holders(sorted(state.glob("controller/*/controller.lock"))))


def register(
    way: Doors, key: KeyFile, facts: ServerFacts, asked: Asked, stopping: list[Holder], tell: Callable[[str], None]
) -> tuple[str, ...]:
    """Register with the vault at `way`; sentences to be told.  Raises what is in the way."""
    if asked.proxy is not None:
        tell(f"trying the proxy {asked.proxy.address}:{asked.proxy.port}")
        way.try_proxy(asked.proxy)
    with way.vault(proxy=asked.proxy) as vault:
        known = vault.facts()
        if known.id != key.vault_id:
            raise Refused(
                f"the key is of another vault than that in {way.location().shown}", "B2", "use that one's key"
            )
        certificate = _certificate(asked.certificate, known.goal)
        tell("looking at the versions on this machine and on its hosts")
        told = _told(key, facts, asked, certificate)
        for one in stopping:
            tell(f"stopping process {one.pid}")
            holders.stop(one)
        notes = vault.servers.register(told)
        vault.probes.note([_probe(way, told)])
    node = asked.cluster.node if asked.cluster else key.server
    shown = way.location().shown
    state = ServerState(location=shown, vault_id=key.vault_id, server=key.server, node=node, proxy=asked.proxy)
    membership.write(way.state, state)
    return notes


def unregister(way: Doors, server: str) -> tuple[str, ...]:
    """Take a server and its clouds out of the vault; on the server itself its memory of the vault goes too."""
    with way.vault() as vault:
        clouds = vault.servers.unregister(server)
    known = membership.read(way.state)
    if known is not None and known.server == server:
        membership.forget(way.state)
    return clouds


def _probe(way: Doors, told: Registration) -> Probe:
    """That the server has just reached its vault (spec A9)."""
    place = way.location()
    at = f"{place.endpoint[0]}:{place.endpoint[1]}" if place.endpoint else place.shown
    now_us = way.now().now_us()
    return Probe(looker=told.particulars.host_name, purpose="vault", at=at, at_us=now_us, reached=True)


def _certificate(file: Path | None, goal: Goal) -> str:
    if file is None:
        return ""
    registration.check_certificate_file(goal, file.name)
    return certificate_digest(file)


def _told(key: KeyFile, facts: ServerFacts, asked: Asked, certificate: str) -> Registration:
    return Registration(
        key=key.key,
        secret=key.secret,
        server=key.server,
        site=facts.site(),
        particulars=facts.particulars(),
        versions=facts.versions(),
        clouds=facts.clouds(),
        cluster=asked.cluster,
        proxy=asked.proxy,
        encryption_certificate=certificate,
        synchronise=asked.synchronise,
    )
