"""What befalls the guest: writes, ends and starts of QEMU, lost bitmaps, other disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drill.fuzz.scene import Args, Deed, Scene, integer, real
from drill.fuzz.steps import SECTOR
from drill.sim.disk import Bitmap, BitmapState, SimDisk


def _write(scene: Scene, args: Args) -> str:
    scene.write(integer(args, "disk"), real(args, "at"), integer(args, "sectors"), integer(args, "fill"))
    return "wrote"


def _zero(scene: Scene, args: Args) -> str:
    disk = scene.disk(integer(args, "disk"))
    if scene.world.hypervisor.writes:
        disk.zero(*scene.place(disk, real(args, "at"), integer(args, "sectors")))
    return "zeroed"


def _qemu(scene: Scene, args: Args) -> str:
    hypervisor = scene.world.hypervisor
    if args["how"] == "kill":
        hypervisor.kill()
        scene.world.note("QEMU killed")
    elif args["how"] == "freeze":
        hypervisor.freeze()
        scene.world.note("QEMU frozen")
        return "frozen"
    else:
        hypervisor.stop()
        scene.world.note("QEMU stopped")
    if args["back"]:
        hypervisor.start()
    return "off and on" if args["back"] else "off"


def _bitmap(scene: Scene, args: Args) -> str:
    bitmaps = scene.disk(integer(args, "disk")).bitmaps
    if not bitmaps:
        return "no bitmap"
    if args["in use"]:
        for bitmap in bitmaps.values():
            bitmap.state = BitmapState.IN_USE
        scene.world.note("bitmap in use")
    else:
        bitmaps.clear()
        scene.world.note("bitmap vanished")
    return "lost"


def _define(scene: Scene, _: Args) -> str:
    scene.world.hypervisor.define_anew()
    scene.world.note("domain defined anew")
    return "defined"


def _foreign(scene: Scene, args: Args) -> str:
    """Another tool's checkpoint, or a bitmap that libvirt knows nothing of, or a snapshot that it commits at once."""
    hypervisor = scene.world.hypervisor
    if not hypervisor.running or hypervisor.frozen or hypervisor.job is not None:
        return "impossible"
    if args["what"] == "bitmap":
        for disk in hypervisor.disks.values():
            disk.bitmaps[f"theirs-{scene.fresh()}"] = Bitmap()
        scene.world.note("foreign bitmap")
        return "made"
    if args["what"] == "snapshot":  # bitmaps and content go on as they were (ground 1.12)
        scene.world.note("foreign snapshot")
        return "committed"
    hypervisor.begin(f"theirs-{scene.fresh()}", dict.fromkeys(hypervisor.disks)).end()
    scene.world.note("foreign checkpoint")
    return "taken"


def _grow(scene: Scene, args: Args) -> str:
    hypervisor = scene.world.hypervisor
    target = sorted(hypervisor.disks)[integer(args, "disk") % len(hypervisor.disks)]
    if not hypervisor.resize(target, hypervisor.disks[target].size + integer(args, "sectors") * SECTOR):
        return "refused"
    scene.world.note("disk grown")
    return "grown"


def _plug(scene: Scene, args: Args) -> str:
    hypervisor, target = scene.world.hypervisor, "vdb" if integer(args, "disk") % 2 else "vdc"
    if hypervisor.remove(target):
        scene.world.note("disk removed")
        return "removed"
    if not hypervisor.add(target, SimDisk(integer(args, "sectors") * SECTOR, granule=65536, cluster=65536)):
        return "refused"
    scene.world.note("disk added")
    return "added"


GUEST_DEEDS: Final[Mapping[str, Deed]] = {
    "write": _write,
    "pages": _write,
    "zero": _zero,
    "qemu": _qemu,
    "bitmap": _bitmap,
    "define": _define,
    "foreign": _foreign,
    "grow": _grow,
    "plug": _plug,
}
"""Steps of the guest and its hypervisor."""
