"""The other tools, whichever are on this machine.  None of their code is part of drill.

virtnbdbackup copies the running machine, inside its host; the rest read the image of a disk that nobody uses, which is
easier than what drill does.  borg gets chunks of a fixed size, as its manual advises for disks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from drill.bench.command import Runner, sync
from drill.bench.premises import TARGET, Premises
from drill.model.machine import Machine

PACKAGES = {"virtnbdbackup": "virtnbdbackup", "borg": "borgbackup", "restic": "restic"}
"""Program and the Debian package it comes in: `./run --peers` installs them."""


class _Offline:
    """A tool that reads the image `source`, and keeps what it makes in `folder`."""

    name = ""

    def __init__(self, source: Path, folder: Path) -> None:
        self.runner = Runner()
        self._source = source
        self._folder = folder

    def serving(self) -> Sequence[int]:
        """Nobody: it is a program that ends."""
        return ()

    def memory(self) -> Sequence[int]:
        """Its own."""
        return ()

    def stores(self) -> Path:
        """Its folder."""
        return self._folder

    def clear(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Convert(_Offline):
    """qemu-img convert: all of it, every time."""

    name = "qemu-img-convert"

    def full(self) -> None:
        """Convert."""
        self._folder.mkdir(exist_ok=True)
        self._copy("first")

    def incremental(self) -> None:
        """Convert again."""
        self._copy("second")

    def restore(self, target: Path) -> str:
        """Convert back."""
        copy = str(self._folder / "second")
        self.runner.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", copy, str(target)])
        sync(target)
        return "qcow2"

    def _copy(self, name: str) -> None:
        copy = self._folder / name
        self.runner.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(self._source), str(copy)])
        sync(copy)


class NbdCopy(_Offline):
    """nbdcopy from qemu-nbd into a raw file: all of it, every time."""

    name = "nbdcopy"

    def full(self) -> None:
        """Copy."""
        self._folder.mkdir(exist_ok=True)
        self._copy("first")

    def incremental(self) -> None:
        """Copy again."""
        self._copy("second")

    def restore(self, target: Path) -> str:
        """Copy back."""
        self.runner.run(["cp", "--sparse=always", str(self._folder / "second"), str(target)])
        sync(target)
        return "raw"

    def _copy(self, name: str) -> None:
        copy = self._folder / name
        server = [
            "[",
            "qemu-nbd",
            "--read-only",
            "--persistent",
            "--shared=8",
            "--format=qcow2",
            str(self._source),
            "]",
        ]
        self.runner.run(["nbdcopy", "--", *server, str(copy)])
        sync(copy)


class Borg(_Offline):
    """borg, into a repository without encryption."""

    name = "borg"
    _ENV = {  # noqa: RUF012 - never changed
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }

    def full(self) -> None:
        """The first archive."""
        self._run("init", "--encryption=none", str(self._repository()))
        self._archive("first")

    def incremental(self) -> None:
        """The second archive."""
        self._archive("second")

    def restore(self, target: Path) -> str:
        """Extract the second archive, away from the image: borg writes to the name that it read."""
        out = self._folder / "restored"
        out.mkdir()
        self._run("extract", "--sparse", f"{self._repository()}::second", cwd=out)
        (out / self._source.name).replace(target)
        out.rmdir()
        sync(target)
        return "qcow2"

    def stores(self) -> Path:
        """The repository."""
        return self._repository()

    def _repository(self) -> Path:
        return self._folder / "repository"

    def _archive(self, name: str) -> None:
        chunks = "--chunker-params=fixed,65536"
        self._run("create", chunks, f"{self._repository()}::{name}", self._source.name, cwd=self._source.parent)
        sync(self._folder)

    def _run(self, *arguments: str, cwd: Path | None = None) -> None:
        self._folder.mkdir(exist_ok=True)
        env = {**self._ENV, "BORG_BASE_DIR": str(self._folder / "base")}
        argv = ["env", "-C", str(cwd or self._folder), "borg", *arguments]
        self.runner.run(argv, env)


class Restic(_Offline):
    """restic, into a local repository."""

    name = "restic"

    def full(self) -> None:
        """The first snapshot."""
        self._run("init", "--quiet")
        self._snapshot()

    def incremental(self) -> None:
        """The second snapshot."""
        self._snapshot()

    def restore(self, target: Path) -> str:
        """Restore the newest snapshot."""
        out = self._folder / "restored"
        self._run("restore", "latest", "--quiet", "--target", str(out))
        shutil.move(out / str(self._source).lstrip("/"), target)
        shutil.rmtree(out)
        sync(target)
        return "qcow2"

    def stores(self) -> Path:
        """The repository."""
        return self._folder / "repository"

    def _snapshot(self) -> None:
        self._run("backup", "--quiet", str(self._source))
        sync(self.stores())

    def _run(self, *arguments: str) -> None:
        self._folder.mkdir(exist_ok=True)
        where = ["--repo", str(self.stores()), "--cache-dir", str(self._folder / "cache")]
        self.runner.run(["restic", *where, *arguments], {"RESTIC_PASSWORD": "bench"})


class VirtNbdBackup:
    """virtnbdbackup, in the host of the running machine."""

    name = "virtnbdbackup"

    def __init__(self, premises: Premises, machine: Machine) -> None:
        self.runner = Runner()
        self._premises = premises
        self._machine = machine
        self._folder = premises.images / "virtnbdbackup"

    def serving(self) -> Sequence[int]:
        """QEMU serves what it reads."""
        return [self._premises.qemu(self._machine.name)]

    def memory(self) -> Sequence[int]:
        """Its own."""
        return ()

    def full(self) -> None:
        """A full backup."""
        self._backup("full")

    def incremental(self) -> None:
        """An incremental one."""
        self._backup("inc")

    def stores(self) -> Path:
        """Its folder."""
        return self._folder

    def restore(self, target: Path) -> str:
        """What its own tool makes of the chain."""
        out = self._premises.images / "restored-by-virtnbdbackup"
        out.mkdir()
        where = ["-i", self._premises.inside(self._folder), "-o", self._premises.inside(out)]
        self.runner.run(self._premises.host.argv_inside(["virtnbdrestore", "-U", "qemu:///system", *where]))
        made = max((file for file in out.iterdir() if file.is_file()), key=lambda file: file.stat().st_blocks)
        made.replace(target)
        shutil.rmtree(out)
        sync(target)
        return "qcow2"

    def clear(self) -> None:
        """Remove checkpoints and files."""
        self._premises.drop_checkpoints(self._machine.name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _backup(self, level: str) -> None:
        name = ["-U", "qemu:///system", "-d", self._machine.name, "-l", level, "-i", TARGET]
        argv = ["virtnbdbackup", *name, "-o", self._premises.inside(self._folder)]
        self.runner.run(self._premises.host.argv_inside(argv))
        sync(self._folder)


def missing() -> dict[str, str]:
    """Programs that are not on this machine, and the packages they come in."""
    return {program: package for program, package in PACKAGES.items() if shutil.which(program) is None}
