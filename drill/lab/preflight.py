"""Can a lab stand on this machine?  Asked before anything is made, answered in one sentence.

Tools are looked for where they are run from, not where the caller's PATH points.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from drill.errors import DrillError, Unsupported
from drill.lab.place import SEARCH_PATH, base_environment, root_is_mount_point, run

LIBVIRT_OLDEST = (7, 2)
"""Incremental backup is complete from here on."""
QEMU = "qemu-system-x86_64"
PACKAGES = {
    "libvirtd": "libvirt-daemon",
    QEMU: "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "virsh": "libvirt-clients",
    "dnsmasq": "dnsmasq-base",
    "iptables": "iptables",
    "ip": "iproute2",
    "bridge": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "prlimit": "util-linux",
    "mount": "mount",
}
"""Every tool a lab runs, and the Debian package it comes in."""


def tool(name: str) -> Path | None:
    """Where a tool lies, or None."""
    found = shutil.which(name, path=SEARCH_PATH)
    return Path(found) if found else None


def require() -> None:
    """Raise Unsupported, with one sentence and its cure, when no lab can stand here; nothing is changed."""
    if os.geteuid() != 0:
        raise Unsupported("the right to make namespaces", "a lab needs root", "run it as root, or with sudo")
    for path in ("/dev/net/tun", "/dev/null", "/proc/self/ns/mnt", "/sys/class/net"):
        if not Path(path).exists():
            raise Unsupported(path, "guests and hosts of a lab need it", _cure_of_path(path))
    for name, package in PACKAGES.items():
        if tool(name) is None:
            raise Unsupported(name, f"a lab runs it; it is in the Debian package {package}", f"apt install {package}")
    _require_libvirt()
    _require_private_mounts()


def libvirt_version(said: str) -> tuple[int, int] | None:
    """The version in what `libvirtd --version` prints, e.g. (9, 0)."""
    found = re.search(r"\b(\d+)\.(\d+)\.\d+", said)
    return (int(found[1]), int(found[2])) if found else None


def _require_libvirt() -> None:
    done = subprocess.run(
        ["libvirtd", "--version"], capture_output=True, text=True, timeout=20, check=False, env=base_environment()
    )
    version = libvirt_version(done.stdout)
    if version is None or version < LIBVIRT_OLDEST:
        oldest = ".".join(map(str, LIBVIRT_OLDEST))
        found = ".".join(map(str, version)) if version else f"no version ({(done.stdout + done.stderr).strip()})"
        raise Unsupported(f"libvirt {oldest} or newer", f"this machine has {found}", "use a newer distribution")


def _require_private_mounts() -> None:
    """In a chroot the mounts above its root must be made private from outside it, with the outer system's mount."""
    if root_is_mount_point():
        argv = ["unshare", "--mount", "--net", "--uts", "--propagation", "private", "true"]
    else:
        argv = ["unshare", "--mount", "--net", "--uts", "--propagation", "unchanged"]
        argv += ["nsenter", "--mount=/proc/self/ns/mnt", "mount", "-n", "--make-rprivate", "/"]
    try:
        run(argv, base_environment(), 20)
    except DrillError as error:
        cure = "run drill where root may unshare mount and network namespaces"
        if not root_is_mount_point():
            cure = "bind the chroot's folder onto itself (mount --bind DIR DIR) and enter it again"
        raise Unsupported("a private mount namespace", str(error), cure) from error


def _cure_of_path(path: str) -> str:
    if path == "/dev/net/tun":
        return "load the module tun (modprobe tun), or give the container this device"
    return f"mount {'/' + path.split('/')[1]}"
