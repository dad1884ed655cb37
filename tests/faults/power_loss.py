"""R5: a source's journal and a receiver's store on a real file system whose disk loses power, again and again.

    unshare --mount --propagation unchanged python -m tests.faults.power_loss ext4 --states 40 --seed 1

No device-mapper is needed: the file system lies on a loop device over a file that `qemu-storage-daemon` serves by FUSE,
and below that `blklogwrites` writes down every request.  The shipped engine runs its cycles there, and whatever it
promises is noted outside, with the size of the log at that moment.  Then legal states of the disk are built from the
log, each is mounted and recovered by the file system and by the engine, and checked: every promise that was made before
the cut is kept, every visible point is exact, and a next cycle is too.

Prints JSON: `states` that were checked, `bad` of them, `first_bad` of each kind, `unmountable`, `promises`, `requests`,
`flushes`.  A file system may not survive a torn write of its own superblock (ext4: one in 1,200): such a state says
nothing about the engine and is not counted; one that does not come up untorn is bad.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drill.host.files import LocalFiles
from tests.faults import write_log
from tests.faults.recorded_life import Judge, Writer
from tests.faults.write_log import Replay

MIB = 1 << 20
MAKE = {
    # The journal is written at once, so that the log holds what the engine caused and nothing else.
    "ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "--unsupported", "-d", "size=48m", "-l", "size=8m"],
}
SIZE = {"ext4": 24 * MIB, "xfs": 48 * MIB}


class WithoutFolderSync(LocalFiles):
    """The planted writer: it never makes names durable."""

    def sync_folder(self, path: str) -> None:
        """Nothing."""


class WithoutFileSync(LocalFiles):
    """Another: it never makes content durable."""

    def sync(self, path: str) -> None:
        """Nothing."""


class NotMounted(Exception):
    """The file system itself does not survive a state."""


PLANTS: dict[str, type[LocalFiles]] = {"no-folder-sync": WithoutFolderSync, "no-file-sync": WithoutFileSync}


def record(filesystem: str, folder: Path, files: type[LocalFiles], seed: int) -> tuple[Writer, bytes]:
    """Run the writer's life over a recorded disk; the log is `folder`/log then.  Returns it and the disk before."""
    disk, log, served, mounted = (folder / name for name in ("disk", "log", "served", "mounted"))
    for path in (disk, log, served):
        path.touch()
    os.truncate(disk, SIZE[filesystem])
    run([*MAKE[filesystem], str(disk)])
    before = disk.read_bytes()
    mounted.mkdir()
    with served_by_fuse(disk, log, served), mounted_at(served, mounted, filesystem):
        writer = Writer(mounted, log, files, seed)
        writer.live()
    return writer, before


@contextmanager
def served_by_fuse(disk: Path, log: Path, served: Path) -> Iterator[None]:
    """`served` is the disk; what is asked of it stands in `log`."""
    argv = ["qemu-storage-daemon"]
    for name, path in (("disk", disk), ("log", log)):
        argv += ["--blockdev", f"driver=file,node-name={name},filename={path}"]
    argv += ["--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log"]
    argv += ["--export", f"type=fuse,id=out,node-name=logged,mountpoint={served},writable=on"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            until = time.monotonic() + 30
            while served.stat().st_size == 0:
                if daemon.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"no FUSE export: {daemon.communicate(timeout=5)[1]}")
                time.sleep(0.01)
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)


@contextmanager
def mounted_at(image: Path, folder: Path, filesystem: str) -> Iterator[None]:
    """The file system in a file, by a loop device that goes with the mount."""
    try:
        run(["mount", "-n", "-t", filesystem, "-o", "loop,noatime", str(image), str(folder)])
    except RuntimeError as error:
        raise NotMounted(f"the file system does not come up: {error}") from error
    try:
        yield
    finally:
        run(["umount", "-n", str(folder)])


def run(argv: list[str]) -> None:
    """A tool that must succeed within a minute."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip()}")


def bench(filesystem: str, count: int, seed: int, files: type[LocalFiles], folder: Path) -> dict[str, object]:
    """Record once, lose power `count` times."""
    writer, before = record(filesystem, folder, files, seed)
    log = write_log.read(folder / "log")
    moments = [write_log.entries_before(log, promise.log_bytes) for promise in writer.promises]
    rng, judge, replay = random.Random(seed), Judge(writer, log), Replay(log, before)
    chosen = write_log.states(log, rng, count, rng.sample(moments, len(moments)))
    bad: dict[str, list[str]] = {}
    unmountable: list[str] = []
    image, mounted = folder / "image", folder / "mounted"
    for state in chosen:
        image.write_bytes(replay.disk(state))
        try:
            with mounted_at(image, mounted, filesystem):
                problem = judge.problem(mounted, state)
        except NotMounted as error:
            unmountable.append(f"{error} in {state}")
            problem = "" if state.torn else str(error)
        if problem:
            bad.setdefault(problem.split(":")[0], []).append(f"{problem} in {state}")
    return {
        "states": len(chosen) - len(unmountable),
        "unmountable": unmountable,
        "bad": sum(len(found) for found in bad.values()),
        "first_bad": {kind: found[0] for kind, found in bad.items()},
        "promises": len(writer.promises),
        "requests": len(log),
        "flushes": sum(entry.is_flush for entry in log),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("filesystem", choices=sorted(MAKE))
    parser.add_argument("--states", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", choices=sorted(PLANTS))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="drill-power-loss-"))
    try:
        # What is mounted here is nobody else's, and goes with this process.
        run(["mount", "-n", "-t", "tmpfs", "-o", "size=512m,mode=700", "power-loss", str(folder)])
        run(["mount", "-n", "--make-private", str(folder)])
        files = PLANTS[asked.plant] if asked.plant else LocalFiles
        sys.stdout.write(json.dumps(bench(asked.filesystem, asked.states, asked.seed, files, folder)) + "\n")
    finally:
        with suppress(RuntimeError):
            run(["umount", "-n", "--recursive", "--lazy", str(folder)])
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
