"""The simulated reading of qcow2 against qemu-img, on overlays that the engine wrote and on QEMU's own."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from drill.errors import Damaged, Failed
from drill.fuzz import walk
from drill.fuzz.perform import Walk
from drill.fuzz.world import ITEM, RECEIVER
from drill.sim.content import PAGE, Content
from drill.sim.files import SimFiles
from drill.sim.images import SimImages
from drill.sim.process import Process


def qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, timeout=60)


def as_qemu_reads(path: Path, format: str) -> bytes:
    raw = path.with_suffix(".out")
    qemu_img("convert", "-f", format, "-O", "raw", "--", str(path), str(raw))
    return raw.read_bytes()


def whole(content: Content) -> bytes:
    pages = range(-(-content.size // PAGE))
    return b"".join(content.pages.get(number, bytes(PAGE)) for number in pages)[: content.size]


@pytest.mark.parametrize("number", [2, 5, 11])
def test_every_point_of_a_walk_reads_as_qemu_img_reads_it(tmp_path: Path, number: int) -> None:
    route = walk.route(6, number)
    walker = Walk(route.disks, Counter(), Counter())
    for step in route.steps:
        walker.step(step)
    walker.finish()
    world, read = walker.scene.world, 0
    for path in world.files[RECEIVER].paths():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if world.files[RECEIVER].inode(path).size < 100 << 20:
            place.write_bytes(world.files[RECEIVER].read(path))
    for sealed, (_, disks) in zip(world.points(), world.contents(world.points()), strict=True):
        for disk in sealed.disks:
            if disks[disk.target].size < 100 << 20:
                assert as_qemu_reads(tmp_path / ITEM / disk.file, disk.format) == whole(disks[disk.target])
                read += 1
    assert read


@pytest.mark.parametrize("options", ["cluster_size=65536", "cluster_size=4096", "extended_l2=on,cluster_size=65536"])
def test_images_that_qemu_wrote_are_read_alike(tmp_path: Path, options: str) -> None:
    rng = random.Random(3)
    base = bytearray(300 * 1024 + 512)
    base[70_000:90_000] = rng.randbytes(20_000)
    (tmp_path / "base").write_bytes(base)
    over = tmp_path / "over"
    qemu_img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "-o", options, str(over))
    commands = ["write -P 7 4096 8192", "write -z 65536 65536", "write -P 9 307200 512"]
    argv = ["qemu-io", "-f", "qcow2", *(part for command in commands for part in ("-c", command)), str(over)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    files = SimFiles(Process(lambda kind: None), rng)
    for name in ("base", "over"):
        files.write(name, 0, (tmp_path / name).read_bytes())
    assert whole(SimImages({"sim": files}).content("/sim/over", "qcow2")) == as_qemu_reads(over, "qcow2")


def test_an_overlay_reads_as_what_is_below_and_is_refused_twice() -> None:
    files = SimFiles(Process(lambda kind: None), random.Random(1))
    files.write("base", 0, b"x" * 5000)
    files.truncate("base", 8192)
    images = SimImages({"sim": files})
    images.create_overlay("/sim/over", "/sim/base", "raw", 8192)
    assert images.content_sha256("/sim/over", "qcow2") == images.content_sha256("/sim/base", "raw")
    assert images.describe("/sim/over", "qcow2").backing == "/sim/base"
    with pytest.raises(Failed):
        images.create_overlay("/sim/over", "/sim/base", "raw", 8192)


def test_what_is_no_image_or_lacks_what_is_below_is_not_read() -> None:
    files = SimFiles(Process(lambda kind: None), random.Random(1))
    files.write("junk", 0, b"junk" * 2000)
    images = SimImages({"sim": files})
    with pytest.raises(Damaged):
        images.content("/sim/junk", "qcow2")
    images.create_overlay("/sim/over", "/sim/junk", "raw", 8192)
    files.remove("junk")
    with pytest.raises(Failed):
        images.content("/sim/over", "qcow2")
