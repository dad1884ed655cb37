"""What a lab's hosts have at this moment: the objects that a test's record names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from drill.lab.standing import Lab

_LOOK = "list --all --uuid --name; net-list --all --uuid; domstats --block --nowait"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SHAPES = (
    ("domain", re.compile(rf"({_UUID} \S+)")),
    ("network", re.compile(rf"({_UUID})")),
    ("disk", re.compile(r"block\.\d+\.path=(.+)")),
)
"""What a line of virsh's names, told by its shape."""


def objects(lab: Lab) -> Iterator[str]:
    """Domains with UUID and name, networks with UUID, disks with path: `host kind …` each, by virsh on every host.

    Raises Failed or Unknown for a host that cannot be asked.
    """
    for host in lab.hosts:
        yield from named(host.name, host.run(["virsh", "-q", _LOOK]).stdout)


def named(host: str, said: str) -> Iterator[str]:
    """What the lines that virsh said name."""
    for line in said.splitlines():
        for kind, shape in _SHAPES:
            if found := shape.fullmatch(" ".join(line.split())):
                yield f"{host} {kind} {found[1]}"
