"""What a guest boots from: a distribution kernel, and an initramfs of distribution files and of a recipe's scripts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from drill.errors import Failed
from drill.lab.images import initramfs
from drill.lab.images.commands import run
from drill.lab.images.initramfs import Entry
from drill.lab.images.recipe import Recipe, folder

_FOLDERS = ("proc", "sys", "dev", "run", "tmp", "data", "data2", "usr/bin", "usr/sbin")


def build(name: str, recipe: Recipe, tree: Path, into: Path) -> None:
    """Write `vmlinuz` and `initrd.img` of the image `name` out of unpacked packages.

    The initramfs is not compressed: under TCG that boots as fast as lz4 or zstd and 0.1 s faster than gzip, and QEMU
    maps the file, so that guests share it.
    """
    shutil.copyfile(kernel(tree), into / "vmlinuz")
    (into / "initrd.img").write_bytes(initramfs.archive(entries(recipe, tree, folder(name))))


def kernel(tree: Path) -> Path:
    """The one kernel image of an unpacked tree.  Raises Failed when there is none or more than one."""
    images = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise Failed("find the kernel", f"{len(images)} images in the kernel's packages")
    return images[0]


def entries(recipe: Recipe, tree: Path, scripts: Path) -> Iterator[Entry]:
    """Everything that the initramfs holds."""
    for name in _FOLDERS:
        yield initramfs.directory(f"/{name}")
    yield Entry("/dev/console", 0o020600, device=(5, 1))
    yield from _busybox(initramfs.found(tree, recipe.busybox))
    if recipe.programs:
        yield from initramfs.libraries(tree, recipe.programs)
    modules = initramfs.modules(tree, recipe.modules, recipe.modules_where_present)
    for name, content in modules.items():
        yield Entry(f"/lib/modules/{name}.ko", 0o100644, content)
    yield initramfs.text("/lib/modules/order", "".join(f"{name}.ko\n" for name in modules))
    for name in recipe.perl:
        page = initramfs.found(tree, f"/usr/lib/x86_64-linux-gnu/perl-base/{name}")
        yield Entry(f"/usr/lib/x86_64-linux-gnu/perl-base/{name}", 0o100644, page.read_bytes())
    for name, path in recipe.files.items():
        source = scripts / name
        executable = source.read_bytes().startswith(b"#!")
        yield Entry(path, 0o100755 if executable else 0o100644, source.read_bytes())


def _busybox(binary: Path) -> Iterator[Entry]:
    """The binary, a link for each of its applets, and itself as the first process where the recipe has no other."""
    yield initramfs.program("/bin/busybox", binary.read_bytes())
    for applet in run([str(binary), "--list"], deadline_s=10).split():
        if applet != "busybox":
            yield initramfs.link(f"/bin/{applet}", "/bin/busybox")
    yield initramfs.link("/init", "/bin/busybox")
    yield initramfs.link("/sbin/init", "/bin/busybox")
