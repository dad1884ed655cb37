"""A vault as a process opens it: by its location, its credential and its proxy; and what a server tells of itself."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from drill import __version__
from drill.errors import BadInput, DrillError, Refused, Usage
from drill.host.clock import HostClock
from drill.hypervisor.host import LibvirtHypervisor
from drill.identity.bundle import IDENTITY
from drill.model.estate import Estate
from drill.model.server import Server
from drill.model.vault import CloudFacts, Particulars, SeenVersion, VaultProxy
from drill.ports import Clock, Hosts
from drill.vault import membership
from drill.vault.credentials import Credentials
from drill.vault.database import Database
from drill.vault.location import Location, in_file, location
from drill.vault.tunnel import Tunnel, dial
from drill.vault.vault import Vault

VAULT_FILE = "vault.sqlite"
CERTIFICATE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Doors:
    """How this machine reaches vaults: `state` is the controller's state folder, `chosen` what the operator named."""

    state: Path
    chosen: str = ""
    clock: Clock | None = None

    @property
    def credentials(self) -> Credentials:
        """The named credentials of this machine."""
        return Credentials(self.state / "credentials")

    def location(self) -> Location:
        """What was named, else where this server registered, else the file in the state folder."""
        if self.chosen:
            return location(self.chosen)
        known = membership.read(self.state)
        return location(known.location) if known is not None else in_file(self.state / VAULT_FILE)

    def has_vault(self) -> bool:
        """Whether one was named, registered with, or made in the state folder."""
        named = bool(self.chosen) or membership.read(self.state) is not None
        return named or (self.state / VAULT_FILE).exists()

    @contextmanager
    def database(self, *, proxy: VaultProxy | None = None) -> Iterator[Database]:
        """The database at the location, through `proxy` or the one that this server registered with."""
        place = self.location()
        known = membership.read(self.state)
        if proxy is None and known is not None and location(known.location) == place:
            proxy = known.proxy
        with ExitStack() as stack:
            password = self.credentials.get(place.credential) if place.credential else ""
            through = stack.enter_context(self._tunnel(proxy, place)).address if proxy is not None else None
            database = Database(place, through=through, password=password)
            stack.callback(database.close)
            yield database

    @contextmanager
    def vault(self, *, proxy: VaultProxy | None = None) -> Iterator[Vault]:
        """The vault at the location."""
        with self.database(proxy=proxy) as database, Vault.open(database, self.now(), actor()) as opened:
            yield opened

    def try_proxy(self, proxy: VaultProxy) -> None:
        """Look whether a proxy leads to the vault (spec B7); raises what is in the way, a refusal naming the rule."""
        target = _endpoint(self.location())
        dial(proxy, self._password(proxy), target).close()
        try:
            with self.vault(proxy=proxy) as found:
                found.facts()
        except DrillError as error:
            where = f"{proxy.address}:{proxy.port}"
            raise Refused(f"the proxy {where} does not lead to the vault: {error}", "B7", error.remedy) from error

    def now(self) -> Clock:
        """The clock that rules are asked with."""
        return self.clock or HostClock()

    def _tunnel(self, proxy: VaultProxy, place: Location) -> Tunnel:
        return Tunnel(proxy, self._password(proxy), _endpoint(place))

    def _password(self, proxy: VaultProxy) -> str:
        return self.credentials.get(proxy.credential) if proxy.credential else ""


def _endpoint(place: Location) -> tuple[str, int]:
    if place.endpoint is None:
        cure = "leave the proxy out, or give the vault a host in its location"
        raise Usage("the vault is on this machine: no proxy leads there", cure)
    return place.endpoint


def actor() -> str:
    """Who acts, for the audit log: the user as the system knows it, and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class EstateServer:
    """The port `ServerFacts` for a server of an estate: its clouds, and versions as hosts and guests report them."""

    estate: Estate
    server: Server
    hosts: Hosts
    identity: Path

    @classmethod
    def named(cls, estate: Estate, name: str, hosts: Hosts, identity: Path) -> EstateServer:
        """The server of that name; Usage when the estate has none."""
        if name not in estate.servers:
            known = ", ".join(sorted(estate.servers)) or "none"
            raise Usage(f"the estate has no server {name[:80]!r}", f"the estate has: {known}")
        return cls(estate, estate.servers[name], hosts, identity)

    def site(self) -> str:
        """Its site."""
        return self.server.site

    def particulars(self) -> Particulars:
        """What this machine is; its certificate, where it has one."""
        certificate = ""
        with suppress(FileNotFoundError):
            found = x509.load_pem_x509_certificate((self.identity / IDENTITY).read_bytes())
            certificate = found.public_bytes(serialization.Encoding.PEM).decode("ascii")
        return Particulars(host_name=socket.gethostname(), drill=__version__, certificate=certificate)

    def versions(self) -> tuple[SeenVersion, ...]:
        """What this machine and every host of its clouds report, and the agents of guests that run there."""
        found = [SeenVersion(component="kernel", place=socket.gethostname(), version=platform.release())]
        groups = [group for cloud in self.clouds() for group in cloud.host_groups.values()]
        for name in sorted({host for group in groups for host in group}):
            found += self._host(name)
        return tuple(found)

    def clouds(self) -> tuple[CloudFacts, ...]:
        """Its clouds, sorted by name."""
        mine = [self.estate.clouds[name] for name in sorted(self.server.clouds)]
        return tuple(
            CloudFacts(
                name=cloud.name,
                profile=cloud.capability_profile,
                host_groups={
                    self.estate.host_groups[key].name: self.estate.host_groups[key].hosts for key in cloud.host_groups
                },
            )
            for cloud in mine
        )

    def _host(self, name: str) -> list[SeenVersion]:
        hypervisor = LibvirtHypervisor(self.estate.hosts[name].libvirt)
        try:
            seen = hypervisor.facts()
            agents = hypervisor.guest_agents()
        finally:
            hypervisor.connection.close()
        found = [SeenVersion(component="libvirt", place=name, version=seen.libvirt)]
        found.append(SeenVersion(component="qemu", place=name, version=seen.qemu))
        found.append(SeenVersion(component="kernel", place=name, version=self.hosts.source(name).kernel()))
        return found + [
            SeenVersion(component="agent", place=f"{name}/{domain}", version=version)
            for domain, version in sorted(agents.items())
        ]


def certificate_digest(file: Path) -> str:
    """SHA-256 of an encryption certificate's file; BadInput for one that is none, Usage when there is no file."""
    try:
        with file.open("rb") as opened:
            content = opened.read(CERTIFICATE_BYTES_MAX + 1)
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}", "name the certificate's .pfx file") from None
    if len(content) > CERTIFICATE_BYTES_MAX or not content.startswith(b"\x30"):
        raise BadInput(str(file), "not a certificate in the format of .pfx files (PKCS #12)")
    return hashlib.sha256(content).hexdigest()
