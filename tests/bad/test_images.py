"""Disk images that drill must not open (tests/bad/README.md): files in a receiver's store, put there by somebody else.

`recipe` says what the file `disk` is: a sound qcow2 of 1 MiB over `base.raw`, but for
set           fields of its header                        backing   [name, format] of what it stands on
extensions    [[kind, hex], …] in the header, after its backing format
bytes         hex, in place of everything                 file      what it is instead of a plain file
beside        other things in its folder: {name: recipe}
The way is what is done with it.

describe · content (read whole by a foreign tool) · over (an overlay on it) · point (disks for a test failover)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from drill.host.files import LocalFiles
from drill.hypervisor import image_header
from drill.hypervisor.images import QemuImages
from drill.model.machine import Machine
from drill.model.point import DiskSeal, Point
from drill.replication.manifest import Manifests, SealedPoint, StoredDisk
from drill.replication.receiver import Receiver
from drill.replication.store import Store
from tests.bad.cases import Case, check_refused, parameters, read, tree
from tests.contract.pair import OneLane, StillClock

CLUSTER = 1 << 16
SIZE = 1 << 20
FIELDS = (
    "magic", "version", "backing_offset", "backing_size", "cluster_bits", "size", "crypt", "l1_size", "l1_offset",
    "refcount_offset", "refcount_clusters", "snapshots", "snapshots_offset", "incompatible", "compatible", "autoclear",
    "refcount_order", "header_length",
)  # fmt: skip
SOUND: dict[str, Any] = {
    "magic": b"QFI\xfb", "version": 3, "backing_offset": 0, "backing_size": 0, "cluster_bits": 16, "size": SIZE,
    "crypt": 0, "l1_size": 1, "l1_offset": CLUSTER, "refcount_offset": 2 * CLUSTER, "refcount_clusters": 1,
    "snapshots": 0, "snapshots_offset": 0, "incompatible": 0, "compatible": 0, "autoclear": 0, "refcount_order": 4,
    "header_length": 104,
}  # fmt: skip
SECRET = b"root:secret:".ljust(SIZE, b"x")


def image(recipe: Mapping[str, Any]) -> bytes:
    name, kind = recipe.get("backing", ["base.raw", "raw"])
    extensions = b""
    for number, data in [*([[0xE2792ACA, kind.encode().hex()]] if kind else []), *recipe.get("extensions", [])]:
        content = bytes.fromhex(data)
        extensions += struct.pack(">II", number, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")
    extensions = bytes.fromhex(recipe["raw_extensions"]) if "raw_extensions" in recipe else extensions + bytes(8)
    fields = {**SOUND, "backing_offset": 104 + len(extensions), "backing_size": len(name.encode())}
    fields = {**fields, **recipe.get("set", {})}
    if isinstance(fields["magic"], str):
        fields["magic"] = fields["magic"].encode()
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", *(fields[field] for field in FIELDS))
    found = bytearray((head + extensions + name.encode()).ljust(4 * CLUSTER, b"\0"))
    found[2 * CLUSTER : 2 * CLUSTER + 8] = struct.pack(">Q", 3 * CLUSTER)
    found[3 * CLUSTER : 3 * CLUSTER + 8] = b"\0\1" * 4
    return bytes(found)


def put(path: Path, recipe: Mapping[str, Any]) -> None:
    match recipe.get("file", "plain"):
        case "plain":
            path.write_bytes(bytes.fromhex(recipe["bytes"]) if "bytes" in recipe else image(recipe))
        case "raw":
            path.touch()
            os.truncate(path, recipe["size"])
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "missing":
            pass
        case link:
            path.symlink_to(link)
    for name, beside in recipe.get("beside", {}).items():
        put(path.parent / name, beside)


class Place:
    """A store with one point of one item, whose disk is the file in question, and a secret outside of it."""

    def __init__(self, folder: Path, way: str, recipe: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / "store" / "item" / "disk"
        self.path.parent.mkdir(parents=True)
        (folder / "secret").write_bytes(SECRET)
        self.format = "raw" if recipe.get("file") == "raw" else "qcow2"
        files = LocalFiles(folder / "store")
        if way == "point":
            Manifests(files).append(sealed(self.format))
        (self.path.parent / "base.raw").write_bytes(bytes(SIZE))
        put(self.path, recipe)
        self.images = QemuImages((str(folder / "store"),))
        store = Store(files, StillClock(), OneLane())
        self.receiver = Receiver(store, self.images, LocalFiles(folder / "runs"))

    def over(self) -> None:
        self.images.create_overlay(str(self.folder / "new.qcow2"), str(self.path), self.format, SIZE)

    def ways(self) -> dict[str, Callable[[], object]]:
        return {
            "describe": lambda: self.images.describe(str(self.path), self.format),
            "content": lambda: self.images.content_sha256(str(self.path), self.format),
            "over": self.over,
            "point": lambda: self.receiver.overlays("run", "item", "epoch1", 1),
        }


def sealed(format: str) -> SealedPoint:
    seals = tuple(DiskSeal(target=target, size_bytes=SIZE, digest="0" * 64) for target in ("vda", "vdb"))
    point = Point(
        item="item", epoch="epoch1", sequence=1, begun_us=1, taken_us=1, sealed_us=1, full=True,
        application_consistent=False, disks=seals,
        log_digest="0" * 64, parent_digest="", sent_bytes=1,
    )  # fmt: skip
    machine = Machine(name="vm", uuid="u", memory_mib=64, vcpus=1, disks=(), nics=())
    disk = StoredDisk(target="vda", file="disk", format=format)
    base = StoredDisk(target="vdb", file="base.raw", format="raw")
    return SealedPoint(point=point, machine=machine, disks=(disk, base))


@parameters("images")
def test_an_image_that_is_not_ours_is_not_opened(case: Case, tmp_path: Path) -> None:
    place = Place(tmp_path, case.through, case.recipe)
    check_refused(case, place.ways()[case.through], lambda: tree(tmp_path))


@pytest.mark.parametrize("way", ["describe", "content", "over", "point"])
def test_a_sound_image_is_opened(way: str, tmp_path: Path) -> None:
    Place(tmp_path, way, {}).ways()[way]()


def test_a_case_is_red_when_no_header_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the tools of QEMU read what the header names: this is what the other cases keep from happening."""
    case = next(case for case in read("images") if case.name == "backing-outside-the-store")
    monkeypatch.setattr(image_header, "check_chain", lambda *_: None)
    monkeypatch.setattr(image_header, "check", lambda *_: None)
    place = Place(tmp_path, case.through, case.recipe)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, place.ways()[case.through], lambda: tree(tmp_path))
