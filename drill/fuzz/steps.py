"""The steps of a walk: what may happen next, how often, and with which faults.

A step is its kind and plain arguments, so that a walk can be written down, repeated and shrunk.  Faults are arguments:
`["source crash", 7]` kills the source process at its 7th operation within the step.  A step that has nothing to act on
does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple, TypeAlias

from drill.fuzz.papers import INTRUDERS, MIDWAY
from drill.fuzz.world import DiskPlan

Value: TypeAlias = int | float | str | bool | list[list[str | int | float]]
KIB = 1024


class Step(NamedTuple):
    """One step."""

    kind: str
    args: Mapping[str, Value]


WEIGHTS: Final = {
    "write": 22,
    "pages": 9,
    "zero": 9,
    "cycle": 6.2,
    "restart": 2.6,
    "power": 1.0,
    "qemu": 1.0,
    "bitmap": 0.6,
    "define": 0.25,
    "foreign": 0.25,
    "grow": 0.35,
    "plug": 0.4,
    "clock": 0.6,
    "room": 1.0,
    "network": 0.7,
    "stale": 0.7,
    "keep": 0.8,
    "put back": 0.7,
    "rot": 0.7,
    "end": 0.35,
    "forget": 0.12,
    "rehearse": 0.7,
    "rival": 0.25,
    "second": 0.3,
    "hostile": 0.3,
    "old file": 0.5,
    "undo": 0.05,
    "offline": 0.5,
    "pause": 0.3,
    "resync": 0.3,
    "deep": 0.5,
    "usurp": 0.25,
    "pass": 1.6,
    "tend": 3.0,
    "lock": 0.4,
    "retain": 0.9,
    "hold": 0.5,
    "release": 0.4,
    "scrub": 0.12,
    "seed": 0.3,
    "intruder": 0.6,
    "group": 0.35,
}
"""How often each kind comes, relative to the others."""

STORAGE: Final = (
    *("crash", "power", "sync", "write", "stuck", "read", "space"),
    *("close", "descriptors", "memory", "device"),
)
_STORAGE_WEIGHTS: Final = {"sync": 1.6, "close": 0.6, "descriptors": 0.6, "memory": 0.6, "device": 1.2}
CYCLE_FAULTS: Final = {
    **{f"source {kind}": _STORAGE_WEIGHTS.get(kind, 1.0) for kind in STORAGE},
    **{f"receiver {kind}": _STORAGE_WEIGHTS.get(kind, 1.5) for kind in STORAGE},
    "receiver space": 2.5,
    "cut": 1.0,
    "flip": 0.7,
    "truncate": 0.3,
    "lose answer": 2.0,
    "duplicate": 0.5,
    "late": 0.7,
    "stale": 0.5,
    "libvirt fails": 1.0,
    "libvirt answer lost": 1.0,
    "libvirtd down": 0.5,
    "libvirtd killed": 0.3,
    "nbd": 0.5,
    "nbd gone": 0.3,
    "nbd short": 0.3,
    "nbd list": 0.3,
    "guest writes": 2.5,
    "flood": 0.3,
    "qemu killed": 1.4,
    "qemu frozen": 0.3,
    "grown": 0.4,
    "plugged": 0.3,
    "snapshot": 0.3,
    "scratch full": 0.4,
    "scratch nearly full": 0.4,
    "slow scratch": 0.5,
    "rival": 0.25,
    "half open": 0.3,
    "late answer": 0.2,
    "slow": 0.2,
    "reorder": 0.2,
    "skew": 0.2,
    "midway": 0.3,
    **dict.fromkeys(MIDWAY, 0.35),
}
"""Faults of a cycle, and how often each comes."""

TROUBLES: Final = (
    *("member off", "member refuses", "log of a member lost", "guests resumed", "checkpoint slow", "member killed"),
    "nobody watches",
)
"""What befalls one of the other items of a group."""

_GUEST_FAULTS: Final = (
    *("checkpoint refused", "slow checkpoint", "agent absent", "agent no timer", "agent hangs in freeze"),
    *("agent dies frozen", "agent floods", "agent answers late", "agent lies that it froze"),
    *("agent lies that nothing froze", "agent lies that it thawed", "agent lies about how many"),
    "agent lies about its state",
)
_GROUP_FAULTS: Final = ("source crash", "source crash", "libvirt fails", "libvirt answer lost", "libvirtd down")
"""Faults that strike anywhere in the cycles of a group, which ask some ninety things of libvirt."""

_KINDS: Final = tuple(WEIGHTS)
_KIND_SUMS: Final = tuple(accumulate(WEIGHTS.values()))
_FAULTS: Final = tuple(CYCLE_FAULTS)
_FAULT_SUMS: Final = tuple(accumulate(CYCLE_FAULTS.values()))
_CYCLE_OPERATIONS: Final = (60, 80, 120)
"""A cycle takes some 65 operations on either side, one in ten more than 115."""

_REACH: Final = {
    "sync": 14,
    "space": 30,
    "write": 40,
    "stuck": 40,
    "read": 20,
    "close": 20,
    "descriptors": 80,
    "memory": 80,
    "device": 8,
}
_PARTS: Final = ("flip", "truncate", "reorder")
_NUMBERS: Final = {
    **dict.fromkeys(("libvirt fails", "libvirt answer lost", "libvirtd down"), 12),
    **dict.fromkeys(("nbd", "nbd gone", "nbd short", "nbd list", "guest writes", "qemu killed", "stale"), 3),
    **dict.fromkeys(("rival", "qemu frozen", "plugged", "snapshot"), 2),
    **dict.fromkeys(("slow scratch", "scratch full", "scratch nearly full"), 2),
    "libvirtd killed": 1,
    "midway": 12,
    **dict.fromkeys(MIDWAY, 6),
}
DRIFT: Final = 1
"""A step of the clock of so many seconds means that it goes at another rate."""
SECTOR = 512


def disks(rng: Random) -> tuple[DiskPlan, ...]:
    """One to three tiny disks of odd sizes; now and then a large and empty one, of 16 MiB or 5 GiB."""
    found = []
    for target in ("vda", "vdb", "vdc")[: rng.choice((1, 1, 1, 2, 2, 3))]:
        pages = rng.choice((8, 16, 17, 32, 48))
        size = pages * 4 * KIB + rng.choice((0, 0, 512, 1536, -512))
        granule = rng.choice((4 * KIB, 16 * KIB, 64 * KIB, 64 * KIB))
        cluster = rng.choice((4 * KIB, 64 * KIB, 64 * KIB, 2 * KIB))
        if rng.random() < 0.05:
            size = rng.choice((16 << 20, 5 << 30)) + rng.choice((512, 4096, 200 * KIB))
            granule = cluster = 64 * KIB
        found.append(DiskPlan(target, size, granule, cluster, tracked=rng.random() >= 0.06))
    return tuple(found)


def steps(rng: Random, count: int) -> list[Step]:
    """A walk: a first cycle, then whatever comes."""
    kinds = rng.choices(_KINDS, cum_weights=_KIND_SUMS, k=count)
    kinds[min(3, count - 1)] = "cycle"
    return [step(rng, kind) for kind in kinds]


def step(rng: Random, kind: str) -> Step:
    """A step of a kind."""
    make = _MAKERS.get(kind)
    return Step(kind, {} if make is None else make(rng))


def _where(rng: Random) -> dict[str, Value]:
    """A disk and a place on it, as a part of 1; ends are likelier than the middle."""
    return {"disk": rng.randrange(3), "at": rng.choice((0.0, 1.0, rng.random(), rng.random()))}


def _write(rng: Random) -> dict[str, Value]:
    return {**_where(rng), "sectors": rng.choice((1, 1, 2, 8, 8, 9, 24)), "fill": rng.randrange(1, 1 << 30)}


def _pages(rng: Random) -> dict[str, Value]:
    return {**_where(rng), "sectors": 8 * rng.choice((1, 2, 4, 16)), "fill": rng.choice((0, rng.randrange(1 << 30)))}


def _zero(rng: Random) -> dict[str, Value]:
    return {**_where(rng), "sectors": rng.choice((1, 8, 16, 128, 128, 256))}


def _cycle(rng: Random) -> dict[str, Value]:
    chance = rng.random()
    count = 0 if chance < 0.5 else 1 if chance < 0.88 else 2
    faults = [_fault(rng, name) for name in rng.choices(_FAULTS, cum_weights=_FAULT_SUMS, k=count)]
    found: dict[str, Value] = {"faults": faults, "salt": rng.getrandbits(32)} if faults else {}
    return found | _frozen(rng, faults) if rng.random() < 0.2 else found


def _frozen(rng: Random, faults: list[list[str | int | float]]) -> dict[str, Value]:
    """An application-consistent point is asked for, and perhaps the guest is in no state to give one."""
    if rng.random() < 0.6:
        name = rng.choice(_GUEST_FAULTS)
        faults = [*faults, [name, rng.choice((4, 9)) if name == "slow checkpoint" else 1]]
    return {"application": True, "faults": faults, "salt": rng.getrandbits(32)}


def _fault(rng: Random, name: str) -> list[str | int | float]:
    last = name.rpartition(" ")[2]
    if last in STORAGE:
        return [name, rng.randrange(_REACH.get(last, rng.choice(_CYCLE_OPERATIONS)))]
    if name == "cut":
        return [name, rng.choice((0, rng.randrange(3000), rng.randrange(20_000)))]
    if name in _PARTS:
        return [name, round(rng.random(), 4)]
    return [name, rng.randrange(_NUMBERS[name]) if name in _NUMBERS else 1]


def _opening(rng: Random) -> dict[str, Value]:
    """A side that starts, and perhaps what goes wrong at once."""
    side = rng.choice(("source", "receiver"))
    found: dict[str, Value] = {"side": side}
    if rng.random() < 0.35:
        name = rng.choice(("crash", "power", "crash", "sync", "write", "read", "space"))
        found |= {"faults": [[f"{side} {name}", rng.randrange(14)]], "salt": rng.getrandbits(32)}
    return found


def _power(rng: Random) -> dict[str, Value]:
    return {"side": rng.choice(("source", "receiver", "both")), "salt": rng.getrandbits(32)}


def _rehearsal(rng: Random) -> dict[str, Value]:
    """A test failover; its overlays may fill up, or it may be cut short at any point."""
    found: dict[str, Value] = {"which": rng.randrange(16)}
    chance = rng.random()
    if chance < 0.2:
        found |= {"room": rng.choice((1, 2, 3))}
    elif chance < 0.5:
        name = rng.choice(("receiver crash", "receiver crash", "receiver power", "receiver write"))
        found |= {"faults": [[name, rng.randrange(30)]], "salt": rng.getrandbits(32)}
    return found


def _seed(rng: Random) -> dict[str, Value]:
    """A first copy on a medium, what befalls it, and perhaps what goes wrong on the source while it is written."""
    found: dict[str, Value] = {
        "how": rng.choice(("whole", "whole", "lost", "flipped", "cut", "without a part", "of another day")),
        "file": rng.randrange(8),
        "at": rng.random(),
        "bit": rng.randrange(8),
    }
    if rng.random() < 0.3:
        name = rng.choice(("source crash", "source power", "source write", "source sync", "libvirt fails"))
        found |= {"faults": [[name, rng.randrange(30)]], "salt": rng.getrandbits(32)}
    return found


def _group(rng: Random) -> dict[str, Value]:
    """A cycle of a group: something goes wrong for the agent, or with one of the items, or nothing does."""
    found: dict[str, Value] = {"neighbours": rng.choice((1, 1, 1, 2))}
    chance = rng.random()
    if chance < 0.4:
        found["trouble"] = rng.choice(TROUBLES)
    elif chance < 0.7:
        name = rng.choice((*_GROUP_FAULTS, rng.choices(_FAULTS, cum_weights=_FAULT_SUMS)[0]))
        faults: Value = [[name, rng.randrange(80)] if name in _GROUP_FAULTS else _fault(rng, name)]
        found |= {"faults": faults, "salt": rng.getrandbits(32)}
    if rng.random() < 0.2:
        found["application"] = True
    return found


def _end(rng: Random) -> dict[str, Value]:
    found: dict[str, Value] = {"again": rng.random() < 0.8}
    if rng.random() < 0.5:
        name = rng.choice(("source crash", "source power", "source write", "libvirt fails", "libvirt answer lost"))
        found |= {"faults": [[name, rng.randrange(12)]], "salt": rng.getrandbits(32)}
    return found


def _tend(rng: Random) -> dict[str, Value]:
    """Some slices of upkeep or all that are due, and perhaps what goes wrong within them."""
    found: dict[str, Value] = {"slices": rng.choice((1, 2, 3, 5, 8, 500, 500, 500, 500))}
    if rng.random() < 0.35:
        name = rng.choice(("crash", "crash", "power", "power", "sync", "write", "read", "space", "stuck"))
        found |= {"faults": [[f"receiver {name}", rng.randrange(_REACH.get(name, 60))]], "salt": rng.getrandbits(32)}
    return found


_MAKERS: Final[Mapping[str, Callable[[Random], dict[str, Value]]]] = {
    "write": _write,
    "pages": _pages,
    "zero": _zero,
    "cycle": _cycle,
    "restart": _opening,
    "power": _power,
    "qemu": lambda rng: {"how": rng.choice(("kill", "kill", "stop", "freeze")), "back": rng.random() < 0.8},
    "bitmap": lambda rng: {"disk": rng.randrange(3), "in use": rng.random() < 0.5},
    "grow": lambda rng: {"disk": rng.randrange(3), "sectors": rng.choice((1, 7, 8, 64, 128))},
    "plug": lambda rng: {"disk": rng.randrange(3), "sectors": rng.choice((64, 65, 200))},
    "clock": lambda rng: {"seconds": rng.choice((3600, -3600, 365 * 86400, -365 * 86400, 0, DRIFT))},
    "room": lambda rng: {"side": rng.choice(("source", "receiver")), "pages": rng.choice((-1, 0, 2, 6, 14))},
    "network": lambda rng: {"up": rng.random() < 0.7, "deaf": rng.random() < 0.3},
    "stale": lambda rng: {"which": rng.randrange(4)},
    "keep": lambda rng: {"side": rng.choice(("source", "receiver"))},
    "put back": lambda rng: {"side": rng.choice(("source", "receiver"))},
    "rot": lambda rng: {
        "side": rng.choice(("source", "receiver")),
        "file": rng.randrange(64),
        "at": rng.random(),
        "bit": rng.randrange(8),
        "mend": rng.random() < 0.5,
    },
    "pass": lambda rng: {"minutes": rng.choice((5, 10, 30, 61, 130))},
    "tend": _tend,
    "lock": lambda rng: {"which": rng.randrange(16), "on": rng.random() < 0.7},
    "retain": lambda rng: {"window": rng.choice((0, 0, 600, 3600)), "additional": rng.choice((0, 0, 1, 24))},
    "hold": lambda rng: {"which": rng.randrange(16)},
    "scrub": lambda rng: {
        "file": rng.randrange(64),
        "at": rng.random(),
        "bit": rng.randrange(8),
        "leave": rng.random() < 0.5,
    },
    "end": _end,
    "seed": _seed,
    "group": _group,
    "rehearse": _rehearsal,
    "foreign": lambda rng: {"what": rng.choice(("checkpoint", "checkpoint", "bitmap", "snapshot"))},
    "intruder": lambda rng: {"who": rng.randrange(len(INTRUDERS)), "which": rng.randrange(1 << 16)},
    "hostile": lambda rng: {"which": rng.randrange(1 << 16)},
    "offline": lambda rng: {
        "disk": rng.randrange(3),
        "at": rng.random(),
        "revert": rng.random() < 0.5,
        "which": rng.randrange(64),
    },
    "undo": lambda rng: {"disk": rng.randrange(3), "at": rng.random()},
    "deep": lambda rng: {"disk": rng.randrange(3), "at": rng.random(), "lie": rng.random() < 0.7},
    "old file": lambda rng: {"side": rng.choice(("source", "receiver")), "file": rng.randrange(64)},
}
