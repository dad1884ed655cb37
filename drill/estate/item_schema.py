"""The shape of protected items: the machine as declared, what is looked into, and what its replica is to be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from drill.core.groups import MEMBERS_MAX, MEMBERS_MIN
from drill.estate.shapes import (
    AddressText,
    DeviceName,
    GuestPath,
    InterfaceText,
    Mac,
    Name,
    Port,
    Section,
    SqlName,
)

Index = Annotated[int, Field(ge=0, le=63)]


class ServiceSection(Section):
    """A TCP service that must answer after a failover."""

    name: Name
    port: Port
    request: Annotated[str, StringConstraints(max_length=4096)] = ""
    expect: Annotated[str, StringConstraints(max_length=4096)] = ""


class DatabaseSection(Section):
    """A database that must come up sound; with `table` and `history` also its rows are counted.

    `history` is a path on the controller, a relative one from the estate file's folder.
    """

    kind: Literal["postgresql"]
    name: SqlName
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "postgres"
    table: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$")] | None = None
    column: SqlName = "id"
    history: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")] | None = None


class NicSection(Section):
    """A card of the source machine, in its order; `addresses` with prefix lengths, the leading one first.

    Without `network` it is plugged into nothing.
    """

    mac: Mac | None = None
    network: Name | None = None
    subnet: Name | None = None
    mode: Literal["static", "dhcp"] = "static"
    addresses: Annotated[list[InterfaceText], Field(max_length=32)] = []
    gateway: AddressText | None = None


class DiskSection(Section):
    """A disk of the source machine; `location` names the storage location that it lies in."""

    target: DeviceName
    size_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    location: Name | None = None


class TargetNicSection(Section):
    """What is chosen for a card of the replica; `source` is the source card's index from 0 (spec J2, J3, J4)."""

    source: Index
    connected: bool = True
    network: Name | None = None
    subnet: Name | None = None
    addresses: Annotated[list[AddressText], Field(max_length=32)] = []
    chosen: bool = False


class TargetDiskSection(Section):
    """Where a disk of the replica goes: a classification or a location of the target server (spec G, J3)."""

    target: DeviceName
    classification: Name | None = None
    location: Name | None = None


class TargetSection(Section):
    """What the replica is to look like; without a host the first one of the target cloud that fits is taken."""

    name: Name | None = None
    host: Name | None = None
    size: Name | None = None
    group: Name | None = None
    availability_set: Name | None = None
    nics: list[TargetNicSection] = []
    disks: list[TargetDiskSection] = []


class ConsistencyGroupSection(Section):
    """Protected items that share one instant (spec S5)."""

    name: Name
    items: Annotated[list[Name], Field(min_length=MEMBERS_MIN, max_length=MEMBERS_MAX)]


class ProtectedItemSection(Section):
    """A protected virtual machine, by the name libvirt knows."""

    name: Name
    pair: Name
    policy: Name | None = None
    source_host: Name
    os_type: Literal["linux", "windows", "other"] | None = None
    os_disk: DeviceName | None = None
    memory_mib: Annotated[int, Field(ge=0, le=1 << 24)] = 0
    vcpus: Annotated[int, Field(ge=0, le=4096)] = 0
    additional_points: Annotated[int, Field(ge=0, le=24)] | None = None
    nics: Annotated[list[NicSection], Field(max_length=64)] = []
    disks: Annotated[list[DiskSection], Field(max_length=128)] = []
    target: TargetSection = TargetSection()
    services: list[ServiceSection] = []
    databases: list[DatabaseSection] = []
    ledgers: list[GuestPath] = []
    agent: bool = True
