"""The middle tier: the same walk with the receiver on real files and real qcow2, read back by QEMU's own tools.

Only the ground is another: files in a temporary folder instead of simulated ones, so that a process can be killed at
any operation, but the power cannot fail, and nothing rots or is put back.  Every invariant is checked as ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from drill.errors import Damaged, Failed
from drill.fuzz.steps import Step, Value
from drill.fuzz.walk import Fall, Route, Tally, route, walk
from drill.fuzz.world import DiskPlan, Ground
from drill.host.files import LocalFiles
from drill.hypervisor.images import QemuImages
from drill.ports import ImageFacts
from drill.sim.content import PAGE, ZERO_PAGE, Content
from drill.sim.files import SimFiles
from drill.sim.images import SimImages
from drill.sim.process import Process

TOOL_SECONDS: Final = 60
SIZE_MAX: Final = 1 << 20
_KINDS: Final = frozenset(
    {"write", "pages", "zero", "cycle", "restart", "qemu", "bitmap", "define", "foreign", "grow", "network", "stale"}
)
_FAULTS: Final = frozenset({"receiver crash", "receiver write", "receiver read", "receiver close"})


def fitted(found: Route) -> Route:
    """The same walk without what this ground cannot do: disks are small, and power stays."""
    small = DiskPlan("vda", SIZE_MAX, granule=65536, cluster=65536)
    disks = tuple(disk for disk in found.disks if disk.size <= SIZE_MAX) or (small,)
    return Route(disks, tuple(_fitted(step) for step in found.steps if step.kind in _KINDS))


def _fitted(step: Step) -> Step:
    faults = step.args.get("faults")
    if not isinstance(faults, list):
        return step
    kept: Value = [
        one for one in faults if not str(one[0]).startswith("receiver ") or str(one[0]) in _FAULTS or one[0] == "midway"
    ]
    return Step(step.kind, {**step.args, "faults": kept})


class RealFiles(SimFiles):
    """A real folder that a simulated process uses; what only simulated disks can do, it refuses to do."""

    def __init__(self, process: Process, folder: Path) -> None:
        super().__init__(process, Random(0), folder.name)  # noqa: S311 - nothing is drawn
        folder.mkdir()
        self._root = folder
        self._real = LocalFiles(str(folder))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """As the system reads."""
        self.process.ask("read", path)
        return self._real.read(path, offset, length)

    def write(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """As the system writes."""
        self._changing("write", path)
        self._real.write(path, offset, data)
        self.process.ask_for("close", path)

    def truncate(self, path: str, size: int) -> None:
        """Set the size."""
        self._changing("truncate", path)
        self._real.truncate(path, size)

    def punch(self, path: str, offset: int, length: int) -> None:
        """Make a hole."""
        self._changing("punch", path)
        self._real.punch(path, offset, length)

    def sync(self, path: str) -> None:
        """Fdatasync."""
        self._changing("sync", path)
        self._real.sync(path)

    def sync_folder(self, path: str) -> None:
        """Fsync of a folder."""
        self._changing("sync_folder", path)
        self._real.sync_folder(path)

    def replace(self, source: str, target: str) -> None:
        """Rename."""
        self._changing("replace", target)
        self._real.replace(source, target)

    def remove(self, path: str) -> None:
        """Unlink."""
        self._changing("remove", path)
        self._real.remove(path)

    def make_folder(self, path: str) -> None:
        """Mkdir."""
        self._changing("make_folder", path)
        self._real.make_folder(path)

    def remove_folder(self, path: str) -> None:
        """Rmdir."""
        self._changing("remove_folder", path)
        self._real.remove_folder(path)

    def list(self, path: str) -> tuple[str, ...]:
        """Names."""
        self.process.ask("list", path)
        return self._real.list(path)

    def size(self, path: str) -> int | None:
        """Size."""
        self.process.ask("size", path)
        return self._real.size(path)

    def next_data(self, path: str, offset: int) -> int | None:
        """As the system knows it."""
        self.process.ask("read", path)
        return self._real.next_data(path, offset)

    def locate(self, path: str) -> str:
        """The real path."""
        return self._real.locate(path)

    def paths(self) -> frozenset[str]:
        """Every file."""
        return frozenset(str(found.relative_to(self._root)) for found in self._root.rglob("*") if found.is_file())

    def certain(self, path: str) -> bool:
        """The power does not fail here."""
        return (self._root / path).is_file()

    def lose_power(self) -> None:
        """The power does not fail here."""

    def empty(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self._root)
        self._root.mkdir()

    def _changing(self, operation: str, path: str) -> None:
        self.process.ask(operation, path)
        self.version += 1


class RealImages(SimImages):
    """Images on real files: what a guest would read is what qemu-img makes of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__({})
        self._folder = folder
        self._known: dict[tuple[str, int, int], Content] = {}
        self._qemu = QemuImages((str(folder),))

    def create_overlay(self, path: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """As qemu-img makes it."""
        self._qemu.create_overlay(path, backing, backing_format, size_bytes)

    def describe(self, path: str, format: str) -> ImageFacts:
        """As qemu-img reads it."""
        return self._qemu.describe(self._placed(path), format)

    def content_sha256(self, path: str, format: str) -> str:
        """As nbdcopy reads it."""
        return self._qemu.content_sha256(self._placed(path), format)

    def content(self, path: str, format: str) -> Content:
        """What a guest would read; Damaged where the tool refuses the image.  Sealed files never change: read once."""
        real = self._placed(path)
        try:
            stat = os.stat(real)
        except FileNotFoundError as error:
            raise Failed("reading an image", f"no file {path}") from error
        key = (real, stat.st_mtime_ns, stat.st_size)
        if key not in self._known:
            self._known[key] = self._converted(real, format)
        return self._known[key]

    def contents(self, images: Iterable[tuple[str, str]]) -> dict[str, Content]:
        """The same of several."""
        return {path: self.content(path, kind) for path, kind in images}

    def _placed(self, path: str) -> str:
        return f"{self._folder}{path}" if path.startswith(("/store/", "/runs/")) else path

    def _converted(self, path: str, format: str) -> Content:
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".raw") as raw:
            argv = ["qemu-img", "convert", "-f", format, "-O", "raw", "--", path, raw.name]
            ended = subprocess.run(argv, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
            if ended.returncode:
                raise Damaged(path, f"qemu-img refuses it: {ended.stderr.strip()[-200:]}")
            data = Path(raw.name).read_bytes()
        count = -(-len(data) // PAGE)
        pages = {n: data[n * PAGE : (n + 1) * PAGE].ljust(PAGE, b"\0") for n in range(count)}
        return Content(len(data), {n: page for n, page in pages.items() if page != ZERO_PAGE})


def ground(folder: Path) -> Ground:
    """The receiver's files and images for one walk, in an empty folder."""
    nobody = Process(_unnoted)
    return Ground(RealFiles(nobody, folder / "store"), RealFiles(nobody, folder / "runs"), RealImages(folder))


def run(seed: int, seconds: float, tally: Tally, *, most: int | None = None) -> Iterator[tuple[int, Route, Fall]]:
    """Walk for a while; yields every walk that failed."""
    until, begun = time.monotonic() + seconds, time.process_time()
    for number in range(most if most is not None else 1 << 40):
        found = fitted(route(seed, number))
        with tempfile.TemporaryDirectory(prefix="drill-walk-") as folder:
            fall, _ = walk(found, tally.faults, tally.invariants, ground(Path(folder)))
        tally.sequences += 1
        tally.steps += len(found.steps)
        tally.cpu_seconds = time.process_time() - begun
        if fall is not None:
            yield number, found, fall
        if time.monotonic() > until:
            return


def _unnoted(_kind: str) -> None:
    """Nobody counts."""
