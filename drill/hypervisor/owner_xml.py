"""The ownership tag in a libvirt object's metadata: what lacks it is never changed and never removed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from drill.model.machine import OwnerTag

NAMESPACE = "https://drill.invalid/owner"


def append_owner(root: ET.Element, owner: OwnerTag) -> None:
    """Add `<metadata>` with the tag to a domain or network under construction."""
    metadata = ET.SubElement(root, "metadata")
    attributes = {"xmlns:drill": NAMESPACE, "vault": owner.vault, "run": owner.run}
    ET.SubElement(metadata, "drill:owner", attributes)


def find_owner(root: ET.Element) -> OwnerTag | None:
    """The tag of a domain or network, None when it has none or a broken one."""
    element = root.find(f"metadata/{{{NAMESPACE}}}owner")
    if element is None:
        return None
    vault, run = element.get("vault"), element.get("run")
    return None if vault is None or run is None else OwnerTag(vault=vault, run=run)
