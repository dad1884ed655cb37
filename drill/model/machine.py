"""A virtual machine as drill knows it: an allow-list of what may cross from one site to another.

Domain XML is never copied.  The source side reads a domain into a `Machine`, and the target side writes a new domain
out of one (guarantees § Security: rebuilt from an allow-list); whatever has no field here does not travel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One virtio disk; `target` is the guest's device name (`vda`), `size_bytes` may be any number."""

    target: str
    path: str
    format: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One network card.  `network` is the libvirt network it is plugged into, None when it is plugged into nothing."""

    mac: str
    network: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBoot:
    """Direct kernel boot; both paths name files that the *host's* operator put there, on either site."""

    kernel: str
    initrd: str
    cmdline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The shape of a domain: `memory_mib` MiB, disks and NICs in their order.  `boot` is None for a boot from vda."""

    name: str
    uuid: str
    memory_mib: int
    vcpus: int
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    boot: KernelBoot | None = None


class PowerState(StrEnum):
    """libvirt's domain states, as far as a procedure distinguishes them."""

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerTag:
    """Written into the metadata of every object drill makes on a host; what lacks it is never changed or removed."""

    vault: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRecord:
    """A domain as a host lists it; `owner` is None for everything drill did not make."""

    name: str
    uuid: str
    state: PowerState
    owner: OwnerTag | None
