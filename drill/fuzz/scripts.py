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


_SCATTERED: Final = tuple(
    Step("write", {"disk": number % 2, "at": place, "sectors": 9, "fill": 1000 * (number + 1)})
    for number, place in enumerate((0.0, 0.1, 0.25, 0.4, 0.5, 0.7, 0.85, 1.0))
)
"""Small writes at eight places of both disks."""
_EMPTY: Final = Step("zero", {"disk": 0, "at": 0.0, "sectors": 48 * 8})
_PASS: Final = Step("pass", {"minutes": 130})
_FOUR_POINTS: Final = (
    *(_WRITE, _CYCLE, _PASS, *_SCATTERED[:3], _CYCLE, _PASS, _OTHER, _ZERO, _CYCLE, _PASS),
    *(*_SCATTERED[3:], _CYCLE, _PASS),
)
_NONE_KEPT: Final = Step("retain", {"window": 0, "additional": 0})
_LOCK: Final = Step("lock", {"which": 1, "on": True})
_UNLOCK: Final = Step("lock", {"which": 1, "on": False})
_TEND: Final = Step("tend", {"slices": 500})
_SEED: Final = Step("seed", {"how": "whole", "file": 0, "at": 0.5, "bit": 0})


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
    "points retired": (*_FOUR_POINTS, _NONE_KEPT, _TEND),
    "points retired, one locked": (*_FOUR_POINTS, _LOCK, _NONE_KEPT, _TEND),
    "points retired, one unlocked": (*_FOUR_POINTS, _LOCK, _NONE_KEPT, _TEND, _UNLOCK, _PASS, _TEND),
    "points retired after a resync": (*_FOUR_POINTS, Step("resync", {}), _CYCLE, _PASS, _NONE_KEPT, _TEND),
    "points retired after a disk grew": (
        *(_WRITE, _CYCLE, Step("grow", {"disk": 0, "sectors": 128}), _ZERO, _CYCLE, _SCATTERED[0], _CYCLE),
        *(_PASS, _NONE_KEPT, _TEND),
    ),
    "cycle while points retire": (
        *(*_FOUR_POINTS, _NONE_KEPT, Step("tend", {"slices": 5}), Step("restart", {"side": "receiver"})),
        *(_WRITE, _CYCLE),
    ),
    "point locked": (*_FOUR_POINTS, _LOCK),
    "point unlocked": (*_FOUR_POINTS, _LOCK, _UNLOCK),
    "retention changed": (*_FOUR_POINTS, _NONE_KEPT),
    "written all over": (_WRITE, _CYCLE, *_SCATTERED, _CYCLE),
    "first copy of what was written all over": (*_SCATTERED, _CYCLE),
    "written all over twice": (*_SCATTERED, _CYCLE, *_SCATTERED[1:], _ZERO, _CYCLE, *_SCATTERED, _CYCLE),
    "resync of what was written all over": (*_SCATTERED, _CYCLE, _OTHER, Step("resync", {}), *_SCATTERED[2:], _CYCLE),
    "seed written": (*_SCATTERED, _SEED),
    "cycle after a seed": (*_SCATTERED, _SEED, _OTHER, _CYCLE),
    "seed again": (_WRITE, _CYCLE, _OTHER, _SEED),
    "application-consistent": (_WRITE, _CYCLE, _OTHER, Step("cycle", {"application": True, "faults": [], "salt": 1})),
    "application-consistent cycle of a group": (
        *(_WRITE, _CYCLE, *_SCATTERED[:2], Step("group", {"neighbours": 2, "application": True})),
    ),
    "second cycle of a group": (
        *(_WRITE, _CYCLE, Step("group", {"neighbours": 2}), *_SCATTERED, Step("group", {"neighbours": 2})),
    ),
    "end after a cycle of a group": (_WRITE, Step("group", {"neighbours": 1}), _OTHER, Step("end", {"again": True})),
    "next term": (_WRITE, _CYCLE, Step("usurp", {}), _OTHER, _CYCLE),
    "rotten pages repaired": (
        *(*_SCATTERED, _CYCLE, Step("scrub", {"file": 0, "at": 0.0, "bit": 3, "leave": True})),
        *(_WRITE, _CYCLE, _CYCLE),
    ),
    "source put back": (
        *(_WRITE, _CYCLE, Step("keep", {"side": "source"}), *_SCATTERED, _CYCLE),
        *(Step("put back", {"side": "source"}), _ZERO, _CYCLE),
    ),
    "rival before": (_WRITE, _CYCLE, _OTHER, Step("rival", {}), *_SCATTERED[1:], _CYCLE),
    "every bitmap in use": (
        *(_WRITE, _CYCLE, Step("bitmap", {"disk": 0, "in use": True}), Step("bitmap", {"disk": 1, "in use": True})),
        *(*_SCATTERED, _CYCLE),
    ),
    "paused and resumed": (_WRITE, _CYCLE, Step("pause", {}), *_SCATTERED, Step("pause", {}), _CYCLE),
    "snapshot reverted": (
        *(_WRITE, _CYCLE, *_SCATTERED, _CYCLE),
        *(Step("offline", {"disk": 0, "at": 0.3, "revert": True, "which": 0}), _OTHER, _CYCLE),
    ),
    "guest writes meanwhile": (_WRITE, _CYCLE, *_SCATTERED, _with("guest writes", 1), _ZERO, _CYCLE),
    "guest forgets all": (*_SCATTERED, _CYCLE, _EMPTY, _CYCLE),
    "disk in the place of another": (*_SCATTERED, _CYCLE, Step("plug", {"disk": 0, "sectors": 64}), _ZERO, _CYCLE),
}
"""What happens before the step under test, which is the last one."""
