"""The picture of a host: everything that a drill might leave behind, as sorted (kind, name) pairs.

Taken before a drill and after its cleanup, the two are equal on a quiet host; what is only in the second was left
over.  In it are the objects of libvirt, the files it keeps of a running domain and of a network, disks, interfaces,
and drill's own firewall tables.  Not in it is what replication changes all the time: the replica store, journals,
scratch files, a backup job's socket, checkpoint definitions.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Failed
from drill.hypervisor.connection import Connection, Handle
from drill.model.point import HostPicture

LEASES_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The folders looked into; a missing one is empty.  Nothing outside them is seen, and no link is followed.

    `runs` holds the overlays of test failovers; `images` the disks of domains; `saved` managed saves and firmware
    variables; `sockets` monitors and agent channels; `leases` what dnsmasq keeps per network.
    """

    runs: str = "/var/lib/drill/runs"
    images: str = "/var/lib/libvirt/images"
    saved: tuple[str, ...] = ("/var/lib/libvirt/qemu/save", "/var/lib/libvirt/qemu/nvram")
    sockets: str = "/var/lib/libvirt/qemu"
    leases: str = "/var/lib/libvirt/dnsmasq"


def take(
    connection: Connection,
    *,
    host: str,
    taken_us: int,
    interfaces: Sequence[str],
    firewall: Sequence[str],
    roots: Roots | None = None,
) -> HostPicture:
    """The picture of the host that this process runs on; `host` and `taken_us` only label it.

    `interfaces` and `firewall` are what drill.host.bridges says of this network namespace.  Unreachable when libvirt
    does not answer, Failed when a folder cannot be read: a picture is whole or there is none.
    """
    entries = {
        *_libvirt_objects(connection),
        *_files(roots or Roots()),
        *(("interfaces", name) for name in interfaces),
        *(("firewall", name) for name in firewall),
    }
    return HostPicture(host=host, taken_us=taken_us, entries=tuple(sorted(entries)))


def _files(roots: Roots) -> Iterator[tuple[str, str]]:
    try:
        for root in (roots.runs, roots.images, *roots.saved):
            yield from (("disks", path) for path in _below(root))
        yield from (("sockets", path) for path in _sockets(roots.sockets))
        yield from (("leases", name) for name in _leases(roots.leases))
    except OSError as error:
        raise Failed(action="look through the host's folders", cause=str(error)) from error


def _libvirt_objects(connection: Connection) -> list[tuple[str, str]]:
    def ask(handle: Handle) -> list[tuple[str, str]]:
        domains = [("domains", f"{domain.name()} {domain.UUIDString()}") for domain in handle.listAllDomains()]
        return domains + [("networks", network.name()) for network in handle.listAllNetworks()]

    return connection.call("list domains and networks", ask)


def _below(root: str) -> Iterator[str]:
    """Every path under `root`, folders too, the root itself left out."""
    for folder, folders, files in os.walk(root, onerror=_unless_missing):
        for name in (*folders, *files):
            yield os.path.join(folder, name)


def _sockets(root: str) -> Iterator[str]:
    """Sockets under `root`, and the folders libvirt makes for a running domain even when they are empty."""
    for path in _below(root):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISSOCK(mode) or (stat.S_ISDIR(mode) and os.path.basename(path).startswith("domain-")):
            yield path


def _leases(root: str) -> Iterator[str]:
    """Files of dnsmasq's, and the leases in them without their times: those are renewed."""
    for path in _below(root):
        yield path
        if path.endswith(".status"):
            for entry in _lease_entries(Path(path)):
                yield f"{path}: {entry}"


def _lease_entries(file: Path) -> list[str]:
    try:
        with file.open("rb") as source:
            text = source.read(LEASES_BYTES_MAX).strip()
    except FileNotFoundError:
        return []
    try:
        leases = json.loads(text or b"[]")
        return [f"{lease['mac-address']} {lease['ip-address']}" for lease in leases]
    except (ValueError, TypeError, KeyError):
        return ["unreadable"]


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
