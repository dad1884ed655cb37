"""Fixed life-cycle scripts, of which the last step is crashed at every operation (drill/fuzz/crash.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drill.fuzz.steps import Step
from drill.fuzz.world import DiskPlan

DISKS: Final = (
    DiskPlan("vda", 48 * 4096, granule=4096, cluster=4096),
    DiskPlan("vdb", 16 * 4096 + 512, granule=65536, cluster=65536),
)
_WRITE: Final = Step("write", {"disk": 0, "at": 0.0, "sectors": 65, "fill": 7})
_OTHER: Final = Step("pages", {"disk": 1, "at": 1.0, "sectors": 64, "fill": 100})
_ZERO: Final = Step("zero", {"disk": 0, "at": 0.0, "sectors": 16})
_CYCLE: Final = Step("cycle", {})


def _with(*fault: str | int) -> Step:
    return Step("cycle", {"faults": [list(fault)], "salt": 1})


SCRIPTS: Final[Mapping[str, tuple[Step, ...]]] = {
    "first copy": (_WRITE, _OTHER, _CYCLE),
    "increment": (_OTHER, _CYCLE, _WRITE, _CYCLE),
    "nothing changed": (_WRITE, _CYCLE, _CYCLE, _CYCLE),
    "zeros": (_WRITE, _CYCLE, _ZERO, _OTHER, _CYCLE),
    "acknowledgement lost before": (_WRITE, _CYCLE, _OTHER, _with("lose answer", 1), _WRITE, _CYCLE),
    "no room before": (
        *(_WRITE, _CYCLE, _OTHER, _with("receiver space", 4), _WRITE, _with("receiver space", 5)),
        *(_OTHER, _with("receiver space", 6), _WRITE, _with("receiver space", 7), _OTHER, _CYCLE),
    ),
    "no room for the data before": (_WRITE, _CYCLE, _OTHER, _with("receiver space", 18), _WRITE, _CYCLE),
    "reading failed before": (_CYCLE, _WRITE, _with("nbd", 0), _OTHER, _CYCLE),
    "bitmap lost on one disk": (_WRITE, _CYCLE, Step("bitmap", {"disk": 1, "in use": False}), _OTHER, _CYCLE),
    "QEMU killed": (_WRITE, _CYCLE, Step("qemu", {"how": "kill", "back": True}), _OTHER, _CYCLE),
    "disk grown": (_WRITE, _CYCLE, Step("grow", {"disk": 0, "sectors": 8}), _CYCLE),
    "disk added": (_WRITE, _CYCLE, Step("plug", {"disk": 0, "sectors": 65}), _OTHER, _CYCLE),
    "receiver put back": (
        _WRITE,
        _CYCLE,
        Step("keep", {"side": "receiver"}),
        _OTHER,
        _CYCLE,
        Step("put back", {"side": "receiver"}),
        _CYCLE,
    ),
    "edited while off": (
        *(_WRITE, _CYCLE, Step("offline", {"disk": 0, "at": 0.3, "revert": False, "which": 0})),
        *(_OTHER, _CYCLE),
    ),
    "receiver put back, digests committed": (
        *(_WRITE, _CYCLE, Step("keep", {"side": "receiver"}), _OTHER, _CYCLE, _WRITE, _CYCLE),
        *(Step("put back", {"side": "receiver"}), _ZERO, _CYCLE),
    ),
    "resync of everything": (_WRITE, _CYCLE, _OTHER, Step("resync", {}), _CYCLE),
    "third point": (_WRITE, _CYCLE, _OTHER, _CYCLE, _ZERO, _WRITE, _CYCLE),
    "end of replication": (_WRITE, _CYCLE, _OTHER, _CYCLE, Step("end", {"again": True})),
    "cycle of a group": (_WRITE, _CYCLE, _OTHER, Step("group", {"neighbours": 1})),
    "protected again": (_WRITE, _CYCLE, Step("end", {"again": True}), _OTHER, _CYCLE),
}
"""What happens before the step under test, which is the last one."""
