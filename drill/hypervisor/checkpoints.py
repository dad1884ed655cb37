"""Checkpoints of one domain: what they prove, and how they are dropped without leaving bitmaps behind (ground § 1).

A checkpoint is a definition in libvirt and a dirty bitmap in each disk's qcow2, and the two part easily: a killed QEMU
loses bitmaps while libvirt lists the checkpoint on.  Dropping one whose bitmap is gone on one disk fails as a whole and
would leave the bitmaps of the other disks for ever; dropping one of a domain that is off fails always.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import libvirt

from drill.hypervisor import domain_xml, safe_xml
from drill.hypervisor.images import remove_bitmap

Domain: TypeAlias = Any  # a virDomain
Checkpoint: TypeAlias = Any  # a virDomainCheckpoint


def xml_of(name: str, bases: Iterable[str], targets: Iterable[str]) -> str:
    """The definition of a checkpoint over the disks in `bases`; all other disks of the domain are left out by name."""
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    disks, wanted = ET.SubElement(root, "disks"), set(bases)
    for target in targets:
        ET.SubElement(disks, "disk", name=target, checkpoint="bitmap" if target in wanted else "no")
    return ET.tostring(root, encoding="unicode")


def all_targets(domain: Domain) -> tuple[str, ...]:
    """Every disk of the running domain, read-only media included."""
    root = safe_xml.read(domain.XMLDesc(0), where="domain XML")
    return tuple(element.get("dev", "") for element in root.findall("devices/disk/target"))


def without_bitmap(domain: Domain) -> frozenset[str]:
    """Disks that can hold no dirty bitmap: raw images, and qcow2 of version 2 (ground 1.15)."""
    disks = domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).disks
    return frozenset(disk.target for disk in disks if disk.format != "qcow2" or _version(disk.path) == 2)


def _version(path: str) -> int:
    """The version in a qcow2's header; 3 where it cannot be read from here, so that libvirt has the say."""
    try:
        with open(path, "rb") as image:
            start = image.read(8)
    except OSError:
        return 3
    return int.from_bytes(start[4:8], "big") if start[:4] == b"QFI\xfb" else 3


def find(domain: Domain, name: str) -> Checkpoint | None:
    """The checkpoint of that name, None when there is none."""
    try:
        return domain.checkpointLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT:
            return None
        raise


def tracked(checkpoint: Checkpoint) -> dict[str, int]:
    """Disks whose bitmap is whole, with the bytes that have changed since: libvirt gives a size for those alone (a lost
    or in-use bitmap has none)."""
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_SIZE | libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
    root = safe_xml.read(checkpoint.getXMLDesc(flags), where="checkpoint XML")
    sizes = {disk.get("name", ""): disk.get("size") for disk in root.findall("disks/disk")}
    return {name: int(size) for name, size in sizes.items() if size is not None}


def drop(domain: Domain, name: str) -> None:
    """Delete a checkpoint of a running domain with all bitmaps that are left of it; one that is gone is fine.

    A delete fails as a whole when one disk's bitmap is gone (ground 1.2): then the definition is narrowed in place to
    the disks that still have theirs.  libvirt keeps parent and creation time, so that bits are merged as ever.
    """
    found = find(domain, name)
    if found is None:
        return
    try:
        found.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR or "not found" not in str(error):
            raise
        whole = tracked(found)
        if not whole:
            found.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
            return
        narrowed = _narrowed(found.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN), whole)
        domain.checkpointCreateXML(narrowed, libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE).delete(0)


def _narrowed(text: str, targets: Iterable[str]) -> str:
    """A checkpoint's own definition with no other disks than `targets`."""
    root, kept = safe_xml.read(text, where="checkpoint XML"), set(targets)
    for disk in root.findall("disks/disk"):
        if disk.get("name") not in kept:
            disk.set("checkpoint", "no")
            disk.attrib.pop("bitmap", None)
    return ET.tostring(root, encoding="unicode")


def drop_offline(domain: Domain, name: str) -> None:
    """Bitmaps by qemu-img, then the definition.  Bits are lost, not merged: only for dropping all of them."""
    found = find(domain, name)
    if found is None:
        return
    paths = {disk.target: disk.path for disk in domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).disks}
    root = safe_xml.read(found.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN), where="checkpoint XML")
    for disk in root.findall("disks/disk"):
        path, bitmap = paths.get(disk.get("name", "")), disk.get("bitmap")
        if path is not None and bitmap is not None:
            remove_bitmap(path, bitmap)
    found.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
