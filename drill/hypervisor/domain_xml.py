"""A `Machine` read out of domain XML, and domain XML written from a `Machine`: the allow-list between two sites.

Nothing is copied.  `parse` takes what it knows and ignores the rest, but refuses whatever would make the rebuilt
domain another machine than the one protected (a disk that is no file, a card that is on no network, UEFI, a disk
whose format would have to be guessed).  A document with any DOCTYPE is refused (guarantees § Security 8, 9).
`render` builds elements and never pastes strings.  Both are pure; libvirt's schema is at
https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import NoReturn
from xml.etree import ElementTree as ET

from drill.errors import BadInput
from drill.hypervisor.owner_xml import append_owner
from drill.hypervisor.safe_xml import read
from drill.model.machine import Disk, KernelBoot, Machine, Nic, OwnerTag

AGENT_CHANNEL = "org.qemu.guest_agent.0"
MEMORY_MIB_MAX = 16 * 1024 * 1024
VCPUS_MAX = 4096
DISKS_MAX = 128
NICS_MAX = 64
_WHERE = "domain XML"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TARGET = re.compile(r"vd[a-z]{1,3}")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_FORMATS = ("qcow2", "raw")
_UNIT_BYTES = {
    "b": 1,
    "bytes": 1,
    "KB": 10**3,
    "k": 2**10,
    "KiB": 2**10,
    "MB": 10**6,
    "M": 2**20,
    "MiB": 2**20,
    "GB": 10**9,
    "G": 2**30,
    "GiB": 2**30,
    "TB": 10**12,
    "T": 2**40,
    "TiB": 2**40,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a machine is run, which is the host's matter and no part of the machine.

    `tb_cache_mib` is TCG's translation cache: QEMU's own choice is 1 GiB of address space, of which each guest ends
    up holding some 240 MB.  `disk_cache` is QEMU's cache mode.
    """

    chipset: str = "q35"
    disk_cache: str = "none"
    tb_cache_mib: int = 32


def parse(text: str) -> Machine:
    """The machine that a domain definition describes; disks get `size_bytes` 0, which XML does not tell.

    Raises BadInput with the field that cannot be accepted.
    """
    root = read(text, where=_WHERE)
    if root.tag != "domain":
        _refuse(f"the document is <{root.tag}>, not <domain>")
    if root.get("type") not in {"kvm", "qemu"}:
        _refuse(f"type {root.get('type')!r} is neither 'kvm' nor 'qemu'")
    _check_platform(root)
    return Machine(
        name=_name(root),
        uuid=_uuid(root),
        memory_mib=_memory_mib(root),
        vcpus=_integer(_text(root, "vcpu"), "vcpu", VCPUS_MAX),
        disks=_disks(root),
        nics=_nics(root),
        boot=_boot(root),
    )


def disks(text: str) -> tuple[Disk, ...]:
    """The disks alone, of a definition that may be the live one: there a card names its bridge, not its network."""
    root = read(text, where=_WHERE)
    return _disks(root)


def render(machine: Machine, owner: OwnerTag | None, accelerator: str, tuning: Tuning | None = None) -> str:
    """The definition of a domain: virtio disks and cards, a serial console, a picture, the guest agent's channel.

    `accelerator` is `kvm` or `tcg`.  No balloon, no USB, no sound, no graphics server: a screenshot needs only the
    card.  Raises ValueError for an accelerator that is neither.
    """
    if accelerator not in {"kvm", "tcg"}:
        raise ValueError(f"accelerator {accelerator!r} is neither 'kvm' nor 'tcg'")
    tuning = tuning or Tuning()
    root = ET.Element("domain", {"type": "kvm" if accelerator == "kvm" else "qemu"})
    _add(root, "name", machine.name)
    _add(root, "uuid", machine.uuid)
    if owner is not None:
        append_owner(root, owner)
    _add(root, "memory", str(machine.memory_mib), unit="MiB")
    _add(root, "vcpu", str(machine.vcpus))
    _add_boot(root, machine.boot, tuning)
    _add_processor(root, accelerator, tuning)
    _add(root, "clock", offset="utc")
    _add(root, "on_poweroff", "destroy")
    _add(root, "on_reboot", "restart")
    _add(root, "on_crash", "destroy")
    devices = _add(root, "devices")
    for disk in machine.disks:
        _add_disk(devices, disk, tuning)
    for nic in machine.nics:
        _add_nic(devices, nic)
    _add_consoles(devices)
    return ET.tostring(root, encoding="unicode")


def _refuse(problem: str) -> NoReturn:
    raise BadInput(where=_WHERE, problem=problem)


def _text(root: ET.Element, path: str) -> str:
    found = root.findall(path)
    if len(found) != 1 or not (found[0].text or "").strip():
        _refuse(f"<{path}> must be there once, with content")
    return (found[0].text or "").strip()


def _integer(text: str, what: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or not 1 <= int(text) <= most:
        _refuse(f"<{what}> {text[:40]!r} is not a whole number from 1 to {most}")
    return int(text)


def _name(root: ET.Element) -> str:
    name = _text(root, "name")
    if len(name) > 200 or not name.isprintable() or "/" in name or name in {".", ".."}:
        _refuse(f"name {name[:40]!r} is not a printable name of at most 200 characters without '/'")
    return name


def _uuid(root: ET.Element) -> str:
    text = _text(root, "uuid").lower()
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        canonical = ""
    if canonical != text:
        _refuse(f"uuid {text[:40]!r} is not a UUID in its usual form")
    return canonical


def _memory_mib(root: ET.Element) -> int:
    element = root.find("memory")
    unit = "KiB" if element is None else element.get("unit", "KiB")
    if unit not in _UNIT_BYTES:
        _refuse(f"memory unit {unit[:20]!r} is not known")
    size = _integer(_text(root, "memory"), "memory", MEMORY_MIB_MAX * 2**20) * _UNIT_BYTES[unit]
    mib = -(-size // 2**20)
    if mib > MEMORY_MIB_MAX:
        _refuse(f"memory of {mib} MiB is more than {MEMORY_MIB_MAX}")
    return mib


def _check_platform(root: ET.Element) -> None:
    kind = root.find("os/type")
    if kind is None or (kind.text or "").strip() != "hvm":
        _refuse("os type is not 'hvm'")
    if kind.get("arch", "x86_64") != "x86_64":
        _refuse(f"architecture {kind.get('arch')!r} is not x86_64")
    system = root.find("os")
    if root.find("os/loader") is not None or (system is not None and system.get("firmware") is not None):
        _refuse("it boots through a firmware of its own (UEFI), which cannot be rebuilt yet")


def _path(text: str | None, what: str) -> str:
    path = (text or "").strip()
    if not path.startswith("/") or len(path) > 1024 or not path.isprintable() or ".." in path.split("/"):
        _refuse(f"{what} {path[:60]!r} is not an absolute path")
    return path


def _boot(root: ET.Element) -> KernelBoot | None:
    kernel = root.find("os/kernel")
    if kernel is None:
        return None
    initrd, cmdline = root.find("os/initrd"), (root.findtext("os/cmdline") or "").strip()
    if len(cmdline) > 4096 or not cmdline.isprintable():
        _refuse("the kernel's command line is longer than 4096 characters or not printable")
    return KernelBoot(
        kernel=_path(kernel.text, "kernel"),
        initrd="" if initrd is None else _path(initrd.text, "initrd"),
        cmdline=cmdline,
    )


def _disks(root: ET.Element) -> tuple[Disk, ...]:
    found = [disk for disk in root.findall("devices/disk") if disk.get("device", "disk") in {"disk", "lun"}]
    disks = tuple(_disk(element) for element in found[: DISKS_MAX + 1])
    if len(disks) > DISKS_MAX:
        _refuse(f"more than {DISKS_MAX} disks")
    for field, values in (("target", [d.target for d in disks]), ("file", [d.path for d in disks])):
        if len(set(values)) < len(values):
            _refuse(f"two disks with one {field}")
    return disks


def _disk(element: ET.Element) -> Disk:
    target, driver, source = element.find("target"), element.find("driver"), element.find("source")
    name = "" if target is None else target.get("dev", "")
    if not _TARGET.fullmatch(name) or (target is not None and target.get("bus", "virtio") != "virtio"):
        _refuse(f"disk {name[:20]!r} is not on the virtio bus")
    if element.get("type") != "file" or element.get("device", "disk") != "disk" or source is None:
        _refuse(f"disk {name} is not a file")
    if driver is None or driver.get("type") not in _FORMATS:
        _refuse(f"disk {name} does not name its format as one of {', '.join(_FORMATS)}")
    for feature in ("encryption", "shareable", "transient"):
        if element.find(feature) is not None or source.find(feature) is not None:
            _refuse(f"disk {name} has <{feature}>, which cannot be replicated")
    return Disk(target=name, path=_path(source.get("file"), f"disk {name}"), format=driver.attrib["type"], size_bytes=0)


def _nics(root: ET.Element) -> tuple[Nic, ...]:
    nics = tuple(_nic(element) for element in root.findall("devices/interface")[: NICS_MAX + 1])
    if len(nics) > NICS_MAX:
        _refuse(f"more than {NICS_MAX} network cards")
    if len({nic.mac for nic in nics}) < len(nics):
        _refuse("two network cards with one MAC")
    return nics


def _nic(element: ET.Element) -> Nic:
    mac, source, link = (element.find(tag) for tag in ("mac", "source", "link"))
    address = "" if mac is None else mac.get("address", "").lower()
    if not _MAC.fullmatch(address) or int(address[:2], 16) & 1:
        _refuse(f"a network card's MAC {address[:20]!r} is not a unicast address")
    kind, is_down = element.get("type"), link is not None and link.get("state") == "down"
    if kind == "null" or (kind == "ethernet" and is_down):
        return Nic(mac=address, network=None)
    network = "" if source is None else source.get("network", "")
    if kind != "network" or not _NETWORK.fullmatch(network):
        _refuse(f"network card {address} is not on a libvirt network")
    return Nic(mac=address, network=network)


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    if text:
        element.text = text
    return element


def _add_boot(root: ET.Element, boot: KernelBoot | None, tuning: Tuning) -> None:
    system = _add(root, "os")
    _add(system, "type", "hvm", arch="x86_64", machine=tuning.chipset)
    if boot is None:
        _add(system, "boot", dev="hd")
        return
    _add(system, "kernel", boot.kernel)
    if boot.initrd:
        _add(system, "initrd", boot.initrd)
    if boot.cmdline:
        _add(system, "cmdline", boot.cmdline)


def _add_processor(root: ET.Element, accelerator: str, tuning: Tuning) -> None:
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if accelerator == "kvm":
        _add(root, "cpu", mode="host-passthrough", check="none", migratable="on")
        return
    _add(_add(features, "tcg"), "tb-cache", str(tuning.tb_cache_mib), unit="MiB")


def _add_disk(devices: ET.Element, disk: Disk, tuning: Tuning) -> None:
    element = _add(devices, "disk", type="file", device="disk")
    _add(element, "driver", name="qemu", type=disk.format, cache=tuning.disk_cache, discard="unmap")
    _add(element, "source", file=disk.path)
    _add(element, "target", dev=disk.target, bus="virtio")


def _add_nic(devices: ET.Element, nic: Nic) -> None:
    """A card without boot ROM; one that is on no network is a tap on no bridge with its link down.

    `type='null'` would be the word for it, and makes libvirtd 9.0.0 die of a segmentation fault at the domain's start.
    QEMU itself drops the frames of a link that is down, and `driver='qemu'` keeps the kernel's vhost out of it.
    """
    element = _add(devices, "interface", type="ethernet" if nic.network is None else "network")
    _add(element, "mac", address=nic.mac)
    if nic.network is not None:
        _add(element, "source", network=nic.network)
    _add(element, "model", type="virtio")
    if nic.network is None:
        _add(element, "driver", name="qemu")
        _add(element, "link", state="down")
    _add(element, "rom", enabled="no")


def _add_consoles(devices: ET.Element) -> None:
    _add(devices, "controller", type="usb", model="none")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name=AGENT_CHANNEL)
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")
    _add(_add(devices, "video"), "model", type="vga", vram="16384", heads="1")
    _add(devices, "memballoon", model="none")
    _add(devices, "panic", model="isa")  # so that a panic is seen as a crash instead of one restart after another
