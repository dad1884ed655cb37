"""Distribution packages for guests: fetched with the machine's own apt sources, unpacked, never installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from drill.errors import DrillError, Failed
from drill.lab.images.commands import run

DOWNLOAD_S = 300.0
"""For some 50 MB over a slow line; apt itself gives up on a dead one after its own two minutes."""
QUERY_S = 60.0
UNPACK_S = 120.0

_KERNEL = re.compile(r"linux-(?:image|modules)-[0-9][a-z0-9.+-]*")


def refresh_lists() -> None:
    """Let apt fetch its package lists, for a machine that has none yet."""
    run(["apt-get", "-qq", "update"], deadline_s=DOWNLOAD_S)


def known(names: Iterable[str]) -> str:
    """The first of these package names that apt's lists know.  Raises Failed when none is."""
    candidates = list(names)
    for name in candidates:
        try:
            run(["apt-cache", "show", "--no-all-versions", name], deadline_s=QUERY_S)
        except Failed:
            continue
        return name
    raise Failed(f"look for {' or '.join(candidates)}", "apt's lists know none of them", "apt-get update")


def kernel_packages(meta: str) -> tuple[str, ...]:
    """The packages that hold a kernel's image and its modules, from the name of its meta package."""
    found: list[str] = []
    waiting = [meta]
    while waiting:
        described = run(["apt-cache", "show", "--no-all-versions", waiting.pop()], deadline_s=QUERY_S)
        for line in described.splitlines():
            if line.startswith(("Depends:", "Pre-Depends:")):
                fresh = [name for name in _KERNEL.findall(line) if name not in found]
                found += fresh
                waiting += fresh
    if not found:
        raise Failed(f"resolve {meta}", "it depends on no kernel image")
    return tuple(dict.fromkeys(found))


def download(names: Iterable[str], into: Path) -> None:
    """Fetch exactly these packages, without what they depend on, into an existing folder."""
    run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names],
        deadline_s=DOWNLOAD_S,
        folder=into,
    )


def download_closure(names: Iterable[str], into: Path) -> None:
    """Fetch these packages and all they depend on, as for a machine that has nothing, into an existing folder."""
    (into / "partial").mkdir(exist_ok=True)
    status = into / "nothing-installed"
    status.touch()
    settings = {
        "Dir::State::status": status,
        "Dir::Cache::archives": into,
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    run(
        ["apt-get", "-qq", "-y", *options, "--no-install-recommends", "--download-only", "install", *names],
        deadline_s=DOWNLOAD_S,
    )


def versions(folder: Path) -> Mapping[str, str]:
    """Package name to version of every .deb in a folder, by name."""
    found = {}
    for deb in sorted(folder.glob("*.deb")):
        name, version, _ = deb.name.split("_", 2)
        found[name] = version.replace("%3a", ":")
    return found


def unpack(folder: Path, into: Path) -> None:
    """Unpack every .deb of a folder over one another into a tree, in which /bin and /usr/bin may be folders apart."""
    into.mkdir(exist_ok=True)
    for deb in sorted(folder.glob("*.deb")):
        run(["dpkg-deb", "--extract", str(deb), str(into)], deadline_s=UNPACK_S)


def fetched(names: Iterable[str], kernel: Iterable[str], into: Path) -> Mapping[str, str]:
    """Fetch a closure and a kernel into a folder, refreshing apt's lists once when something is not known or gone."""
    wanted, kernels = list(names), list(kernel)

    def fetch() -> None:
        download_closure(wanted, into)
        download(kernel_packages(known(kernels)), into)

    try:
        fetch()
    except DrillError:
        refresh_lists()
        fetch()
    return versions(into)
