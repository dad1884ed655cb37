"""A whole distribution on a root disk, installed with debootstrap from the machine's own apt sources.

debootstrap mounts /proc and /sys in the new tree and the provisioning script starts a database there.  Both run in
mount and process namespaces of their own, which end with the builder: however it ends, no mount and no process is left.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from drill.errors import Failed
from drill.lab.images.commands import run
from drill.lab.images.filesystem import make_filesystem
from drill.lab.images.recipe import System

INSTALL_S = 900.0
"""Half a minute of processor time and 110 MB to fetch."""
PROVISION_S = 300.0
ROOT_DISK = "root.raw"

_PRIVATE = 'nsenter --mount=/proc/self/ns/mnt mount -n --make-rprivate / && exec "$@"'
"""In a chroot the mount to be made private lies above it: the step out leads there."""
_DPKG = """force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""


def build(system: System, scripts: Path, root: Path, into: Path) -> Mapping[str, str]:
    """Write the root disk `root.raw`, a sparse ext4; returns the versions of the packages in it."""
    settings = root / "etc/dpkg/dpkg.cfg.d/drill"
    settings.parent.mkdir(parents=True)
    settings.write_text(_DPKG)
    suite, mirror = source()
    wanted = ",".join(system.install)
    bootstrap = ["debootstrap", "--variant=minbase", f"--include={wanted}", suite, str(root), mirror]
    _contained(bootstrap, deadline_s=INSTALL_S)
    for name, path in system.files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scripts / name, target)
        target.chmod(0o755 if target.read_bytes().startswith(b"#!") else 0o644)
    provision = root / "provision"
    shutil.copyfile(scripts / system.provision, provision)
    _contained(["chroot", str(root), "/bin/sh", "/provision"], deadline_s=PROVISION_S)
    provision.unlink()
    versions = _versions(root)
    make_filesystem(into / ROOT_DISK, system.size_bytes, root)
    return versions


def source() -> tuple[str, str]:
    """The release that this machine runs, and the mirror its own apt configuration has for it.

    Raises Failed when apt is configured for no archive of that release.
    """
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    targets = run(
        ["apt-get", "indextargets", "--format", "$(RELEASE)|$(COMPONENT)|$(SITE)", "Created-By: Packages"],
        deadline_s=30,
    )
    for line in targets.splitlines():
        suite, component, mirror = line.split("|", 2)
        if suite == release and component == "main":
            return suite, mirror
    raise Failed("find a mirror", f"apt is not configured for {release or 'this release'}, component main")


def _contained(argv: list[str], *, deadline_s: float) -> None:
    """Run a command whose mounts and processes end with it."""
    contain = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    contain += ["--propagation", "unchanged"]
    run(
        [*contain, "sh", "-c", _PRIVATE, "sh", *argv],
        deadline_s=deadline_s,
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
    )


def _versions(root: Path) -> dict[str, str]:
    listed = run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show"], deadline_s=30)
    return dict(line.split("\t", 1) for line in listed.splitlines())
