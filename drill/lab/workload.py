"""A workload: virtual machines that stand in for somebody's production, made on one host of a lab from one YAML page.

The machines carry no mark of drill's: they are what is protected, and drill never changes or removes them.  Their
disks hold everything that makes one machine differ from another, in /data/etc of the first:

    hostname     the machine's name
    interfaces   one line per address: MAC, `static` or `dhcp`, address/prefix, gateway (fixtures/guests/micro/network)
    role         what it serves, `db`, `app` or `web`
    upstream     the address of the machine that its service asks
    no-agent, churn   flags, see `Primary`
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from drill import data
from drill.errors import BadInput, Usage
from drill.estate import yaml
from drill.hypervisor import domain_xml
from drill.hypervisor.connection import Connection, Handle
from drill.lab import images
from drill.lab.disk_image import DATA_BYTES_MIN, empty_disk, installed_disk
from drill.lab.images import recipe
from drill.lab.standing import LabHost
from drill.model.machine import Disk, KernelBoot, Machine, Nic

IMAGES_INSIDE = "/var/lib/libvirt/images"
BOOT_INSIDE = "/var/lib/libvirt/boot"
SECTOR_BYTES = 512
_IDENTITIES = uuid.UUID("7c1a3f0e-3f0b-5d3e-9f3a-5d1c0a61d211")
Progress = Callable[[str], None]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$", to_lower=True)]
Target = Annotated[str, StringConstraints(pattern=r"^vd[a-z]$")]


class Definer(Protocol):
    """What creating a workload asks of a host's hypervisor."""

    def define(self, xml: str) -> None:
        """Make a domain known; the same definition again is harmless."""
        ...

    def start(self, name: str) -> None:
        """Power a domain on; one that runs already is fine."""
        ...


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrimaryDisk(_Part):
    """One disk.  `size_bytes` is a multiple of 512 and of nothing else."""

    target: Target
    size_bytes: int = Field(ge=DATA_BYTES_MIN, multiple_of=SECTOR_BYTES)
    payload_bytes: int = Field(default=0, ge=0)
    """Noise in the file /payload of this disk, so that there is something to copy."""


class PrimaryNic(_Part):
    """One card, with static addresses or an address by DHCP."""

    mac: Mac
    network: str
    addresses: tuple[IPv4Interface, ...] = ()
    gateway: IPv4Address | None = None
    dhcp: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> PrimaryNic:
        if self.dhcp and (self.addresses or self.gateway):
            raise ValueError("a card has addresses of its own or dhcp, not both")
        return self

    def lines(self) -> list[str]:
        """Its lines in the guest's /data/etc/interfaces."""
        if self.dhcp:
            return [f"{self.mac} dhcp"]
        gateways = [str(self.gateway or "-"), *["-"] * len(self.addresses)]
        return [f"{self.mac} static {one} {via}" for one, via in zip(self.addresses, gateways, strict=False)]


class Primary(_Part):
    """One machine.  `agent: false` leaves the guest agent out; `churn_seconds` makes it write, zero and discard."""

    name: Name
    image: Literal["micro", "debian"] = "micro"
    memory_mib: int = Field(default=128, ge=64)
    vcpus: int = Field(default=1, ge=1)
    role: Literal["db", "app", "web"] | None = None
    upstream: IPv4Address | None = None
    agent: bool = True
    churn_seconds: int | None = Field(default=None, ge=1)
    disks: tuple[PrimaryDisk, ...] = Field(min_length=1)
    nics: tuple[PrimaryNic, ...] = ()

    @model_validator(mode="after")
    def _disks_fit(self) -> Primary:
        targets = [disk.target for disk in self.disks]
        if len(set(targets)) < len(targets) or targets[0] != "vda":
            raise ValueError("disks have different targets, the first is vda")
        return self

    def identity(self) -> dict[str, str]:
        """The files of /data/etc on its first disk."""
        files = {
            "hostname": f"{self.name}\n",
            "interfaces": "".join(f"{line}\n" for nic in self.nics for line in nic.lines()),
        }
        if self.role is not None:
            files["role"] = f"{self.role}\n"
        if self.upstream is not None:
            files["upstream"] = f"{self.upstream}\n"
        if not self.agent:
            files["no-agent"] = ""
        if self.churn_seconds is not None:
            files["churn"] = f"{self.churn_seconds}\n"
        return files


class Workload(_Part):
    """All machines of one page, in the order in which they are started."""

    name: Name
    machines: tuple[Primary, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _nothing_twice(self) -> Workload:
        names = [machine.name for machine in self.machines]
        macs = [nic.mac for machine in self.machines for nic in machine.nics]
        for what, values in (("name", names), ("MAC", macs)):
            if len(set(values)) < len(values):
                raise ValueError(f"two machines or cards with one {what}")
        return self

    def machine(self, name: str) -> Primary:
        """The machine of that name.  Raises Usage when there is none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise Usage(f"workload {self.name} has no machine {name}")


def load(path_or_name: str | Path) -> Workload:
    """The workload in a file, or the shipped one of that name.

    Raises Usage when there is no such file and BadInput, naming file, line and column, when it is wrong.
    """
    shipped = data.path("fixtures", "workloads", f"{path_or_name}.yaml")
    file = next((path for path in (Path(path_or_name), shipped) if path.is_file()), None)
    if file is None:
        raise Usage(f"there is no workload {path_or_name}", "give a file, or the name of one in fixtures/workloads/")
    document = yaml.read(file)
    try:
        return Workload.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(document.where(first["loc"]), first["msg"].removeprefix("Value error, ")) from error


def machine_of(workload: Workload, primary: Primary) -> Machine:
    """The shape of a primary's domain; its UUID follows from the names, so that making it again changes nothing."""
    boot = f"{BOOT_INSIDE}/{primary.image}"
    return Machine(
        name=primary.name,
        uuid=str(uuid.uuid5(_IDENTITIES, f"{workload.name}/{primary.name}")),
        memory_mib=primary.memory_mib,
        vcpus=primary.vcpus,
        disks=tuple(
            Disk(
                target=disk.target,
                path=f"{IMAGES_INSIDE}/{file_name(primary, disk)}",
                format="qcow2",
                size_bytes=disk.size_bytes,
            )
            for disk in primary.disks
        ),
        nics=tuple(Nic(mac=nic.mac, network=nic.network) for nic in primary.nics),
        boot=KernelBoot(
            kernel=f"{boot}/vmlinuz", initrd=f"{boot}/initrd.img", cmdline=recipe.read(primary.image).cmdline
        ),
    )


def file_name(primary: Primary, disk: PrimaryDisk) -> str:
    """The name of a primary's disk in its host's images folder."""
    return f"{primary.name}.{disk.target}.qcow2"


def create(workload: Workload, host: LabHost, accelerator: str, progress: Progress = lambda _: None) -> None:
    """Build the disks of every machine on a host of a standing lab, define its domain there and power it on.

    Disks that exist are kept, a domain that runs goes on, so a killed creation is repeated by calling again; returns
    when all are powered on, not when they have booted.  Called from the machine's own namespaces.
    """
    library = host.folder / "lib"
    definer = LibvirtDefiner(uri_outside(host))
    try:
        for primary in workload.machines:
            provide_boot(primary.image, library, progress)
            progress(f"{primary.name}: disks")
            build_disks(primary, library / "images")
            progress(f"{primary.name}: power on")
            definer.define(domain_xml.render(machine_of(workload, primary), None, accelerator))
            definer.start(primary.name)
    finally:
        definer.close()


def uri_outside(host: LabHost) -> str:
    """The libvirt URI of a host's daemon for whoever is outside the lab's network but sees the host's folder."""
    return f"qemu+unix:///system?socket={host.folder}/run/libvirt-sock"


def provide_boot(image: str, library: Path, progress: Progress = lambda _: None) -> None:
    """Put an image's kernel and initramfs where a host's domains look for them; every host that may run it needs it.

    `library` is the host's /var/lib/libvirt, seen from outside.  The lab itself has put the micro guest's there.
    """
    if image == "micro":
        return
    source, target = images.ensure(image, progress), library / "boot" / image
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        fresh = target / f".{name}.new"
        fresh.write_bytes((source / name).read_bytes())
        fresh.rename(target / name)


def build_disks(primary: Primary, folder: Path) -> None:
    """Write the disks of a primary that are not there yet, each a qcow2 that stands alone, into an existing folder."""
    for disk in primary.disks:
        file = folder / file_name(primary, disk)
        if file.exists():
            continue
        identity = primary.identity() if disk is primary.disks[0] else {}
        if primary.image == "debian" and disk is primary.disks[0]:
            installed_disk(file, images.ensure("debian") / "root.raw", disk.size_bytes, identity)
        else:
            empty_disk(file, disk.size_bytes, identity, disk.payload_bytes)


class LibvirtDefiner:
    """A host's libvirt as `Definer`."""

    def __init__(self, uri: str) -> None:
        self._connection = Connection(uri)

    def define(self, xml: str) -> None:
        """Make a domain known."""
        self._connection.call("define a primary", lambda handle: handle.defineXML(xml), changes=True)

    def start(self, name: str) -> None:
        """Power a domain on, unless it is."""

        def act(handle: Handle) -> None:
            domain = handle.lookupByName(name)
            if not domain.isActive():
                domain.create()

        self._connection.call(f"start {name}", act, changes=True)

    def close(self) -> None:
        """Let go of the daemon."""
        self._connection.close()
