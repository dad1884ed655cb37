"""Images that drill's own tools made, through qemu-img and qemu-nbd.

The format is named on every open and written into every overlay: qemu-img never probes, and never follows a name that
a guest wrote into its disk (guarantees § 6, 5 and 6).  Paths are absolute and follow `--`.
"""

from __future__ import annotations

import json
import subprocess

from drill.errors import Damaged, Failed, Unknown, Usage
from drill.hypervisor import image_header
from drill.hypervisor.export import sha256_of
from drill.ports import ImageFacts

TOOL_SECONDS = 60
"""Creating an overlay or reading a header takes milliseconds; a minute is a disk that does not answer."""


class QemuImages:
    """The Images port on this host.

    What an image stands on must lie in its own folder or below one of `folders`.
    """

    def __init__(self, folders: tuple[str, ...] = ()) -> None:
        self._folders = folders

    def create_overlay(self, path: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """A new qcow2 over `backing`; Usage for an existing path, Damaged or Refused for what is no image of ours."""
        _check(path, "qcow2")
        _check(backing, backing_format)
        image_header.check_chain(backing, backing_format, self._folders)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", backing, "--", path]
        try:
            with open(path, "xb"):
                pass
        except FileExistsError as error:
            raise Usage(f"{path} exists already") from error
        _run([*argv, str(size_bytes)], f"creating the overlay {path}")

    def describe(self, path: str, format: str) -> ImageFacts:
        """The image as its header has it; Damaged when the tool cannot read it."""
        _check(path, format)
        image_header.check(path, format)
        text = _run(["qemu-img", "info", "--output=json", "-f", format, "--", path], f"reading the header of {path}")
        try:
            facts = json.loads(text)
            return ImageFacts(
                format=str(facts["format"]),
                size_bytes=int(facts["virtual-size"]),
                backing=facts.get("backing-filename"),
                backing_format=facts.get("backing-filename-format"),
            )
        except (ValueError, KeyError) as error:
            raise Damaged(path, f"qemu-img says something else than was asked: {error}") from error

    def content_sha256(self, path: str, format: str) -> str:
        """SHA-256 (hex) of what a guest would read, served by qemu-nbd and read by nbdcopy."""
        _check(path, format)
        image_header.check_chain(path, format, self._folders)
        size = self.describe(path, format).size_bytes
        server = ["[", "qemu-nbd", "--read-only", f"--format={format}", "--", path, "]"]
        return sha256_of(server, size, f"reading {path} whole")


def remove_bitmap(path: str, name: str) -> None:
    """Remove a dirty bitmap from a qcow2 that nothing has open; none of that name is fine."""
    _check(path, "qcow2")
    try:
        _run(["qemu-img", "bitmap", "--remove", "-f", "qcow2", "--", path, name], f"removing a bitmap of {path}")
    except Failed as error:
        if "not found" not in error.cause:
            raise


def _check(path: str, format: str) -> None:
    if format not in image_header.FORMATS:
        raise Usage(f"image format {format!r} is neither raw nor qcow2")
    if not path.startswith("/"):
        raise Usage(f"{path!r} is not an absolute path")


def _run(argv: list[str], action: str) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=TOOL_SECONDS, check=False, stdin=subprocess.DEVNULL, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise Unknown(action, f"{argv[0]} took more than {TOOL_SECONDS} s") from error
    if done.returncode != 0:
        raise Failed(action, done.stderr.strip() or f"{argv[0]} ended with {done.returncode}")
    return done.stdout
