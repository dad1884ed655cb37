"""The faults of a step: planned into the simulated parts before it, taken out of them after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drill.errors import Failed, Unknown, Unreachable
from drill.fuzz.steps import Value
from drill.fuzz.world import RECEIVER, SOURCE, World
from drill.sim.network import Weather
from drill.sim.process import Planned, io_error, killed, no_space

SIDES: Final = (SOURCE, RECEIVER)
_WRITES = frozenset({"write", "truncate", "create", "replace", "punch", "remove", "make_folder"})
_STORAGE: Final = {
    "crash": ("killed", frozenset[str](), killed),
    "power": ("power lost", frozenset[str](), killed),
    "sync": ("fsync failed", frozenset({"sync", "sync_folder"}), io_error),
    "write": ("EIO on write", _WRITES, io_error),
    "stuck": ("EIO that stays", _WRITES | {"sync", "sync_folder"}, io_error),
    "read": ("EIO on read", frozenset({"read"}), io_error),
    "space": ("ENOSPC", frozenset({"write", "truncate", "create", "make_folder"}), no_space),
}
_LIBVIRT = ("machine", "provable", "checkpoints", "drop", "drop_all", "begin", "abort_leftover")
_ASKED = frozenset({*(f"libvirt {name}" for name in _LIBVIRT), "libvirt end"})
_ANSWERED = frozenset(f"libvirt answer {name}" for name in _LIBVIRT)

FAULTS: Final = (
    *(f"{side} {kind}" for side in SIDES for kind, *_ in _STORAGE.values()),
    *(f"{side} power lost idle" for side in SIDES),
    *(f"{side} put back" for side in SIDES),
    *(f"{side} rot" for side in SIDES),
    "disk full",
    "connection cut",
    "flipped bit",
    "truncated log",
    "lost acknowledgement",
    "duplicated log",
    "late log",
    "stale log",
    "log broken off",
    "network down",
    "libvirt failed",
    "libvirt answer lost",
    "libvirtd down",
    "NBD error",
    "guest writes during a cycle",
    "QEMU killed",
    "QEMU killed during a cycle",
    "QEMU stopped",
    "bitmap vanished",
    "bitmap in use",
    "domain defined anew",
    "foreign checkpoint",
    "left-over job",
    "disk grown",
    "disk grown during a cycle",
    "disk added",
    "disk removed",
    "clock jumped",
    "clock frozen",
    "receiver forgot",
    "protected anew",
    "journal given up",
)
"""Every kind of fault that walks inject; each is counted when it happens, not when it is planned."""

HARMLESS: Final = frozenset(
    {"clock jumped", "clock frozen", "disk grown", "disk added", "guest writes during a cycle", "foreign checkpoint"}
)
"""Kinds that must not make a cycle fail."""

UNANSWERED: Final = frozenset({"libvirt failed", "libvirtd down", "libvirt answer lost"})
"""Kinds after which a job may be open still."""


def plan(world: World, args: Mapping[str, Value], write: Callable[[int, float], None]) -> None:
    """Plan the faults of a step's arguments; `write` is what a guest writes in the middle of a cycle."""
    faults = args.get("faults", [])
    for name, number in faults if isinstance(faults, list) else []:
        _plan_one(world, str(name), float(number), write)


def settle(world: World) -> None:
    """The step is over, and so are its faults."""
    world.network.weather = Weather()
    world.hypervisor.during = []
    for process in world.processes.values():
        process.disarm()


def _plan_one(world: World, name: str, number: float, write: Callable[[int, float], None]) -> None:
    side, _, kind = name.partition(" ")
    if side in SIDES:
        label, operations, raises = _STORAGE[kind]
        sticky = kind == "stuck"
        fault = Planned(f"{side} {label}", int(number), operations, raises, sticky=sticky, lasting=sticky)
        world.processes[side].plan(fault)
    elif name in ("libvirt fails", "libvirt answer lost", "libvirtd down", "nbd"):
        world.processes[SOURCE].plan(_of_libvirt(name, int(number)))
    elif name in ("guest writes", "qemu killed", "grown"):
        world.hypervisor.during = [*(_nothing for _ in range(int(number))), _event(world, name, write)]
    else:
        _plan_weather(world.network.weather, name, number)


def _of_libvirt(name: str, at: int) -> Planned:
    if name == "libvirt fails":
        return Planned("libvirt failed", at, _ASKED, lambda *_: Failed("a call to libvirt", "injected"))
    if name == "libvirt answer lost":
        return Planned(name, at, _ANSWERED, lambda *_: Unknown("a call to libvirt", "injected"))
    if name == "libvirtd down":
        down = _ASKED | _ANSWERED
        return Planned(name, at, down, lambda *_: Unreachable("libvirt", "qemu:///system", "injected"), sticky=True)
    operations = frozenset({"nbd read", "nbd extents"})
    return Planned("NBD error", at, operations, lambda *_: Failed("reading an export", "injected"))


def _event(world: World, name: str, write: Callable[[int, float], None]) -> Callable[[], None]:
    """What happens to the guest while its export is read."""

    def writes() -> None:
        world.note("guest writes during a cycle")
        for disk, place in enumerate((0.0, 0.5, 1.0)):
            write(disk, place)

    def kill() -> None:
        world.note("QEMU killed during a cycle")
        world.hypervisor.kill()
        world.hypervisor.start()

    def grow() -> None:
        """QEMU refuses it while the job is open."""
        world.note("disk grown during a cycle")
        world.hypervisor.resize(min(world.hypervisor.disks), 1 << 30)

    return {"guest writes": writes, "qemu killed": kill, "grown": grow}[name]


def _plan_weather(weather: Weather, name: str, number: float) -> None:
    match name:
        case "cut":
            weather.cut = int(number)
        case "flip":
            weather.flip = number
        case "truncate":
            weather.truncate = number
        case "stale":
            weather.stale = int(number)
        case "lose answer":
            weather.lose_answer = True
        case "duplicate":
            weather.duplicate = True
        case _:
            weather.late = True


def _nothing() -> None:
    """Nothing happens."""
