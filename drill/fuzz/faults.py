"""The faults of a step: planned into the simulated parts before it, taken out of them after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drill.errors import Failed, Unknown, Unreachable
from drill.fuzz.papers import INTRUDERS, MIDWAY
from drill.fuzz.steps import TROUBLES, Value
from drill.fuzz.world import RECEIVER, SOURCE, World
from drill.sim.guest import Mood
from drill.sim.network import Weather
from drill.sim.process import Planned, io_error, killed, no_descriptors, no_memory, no_space

SIDES: Final = (SOURCE, RECEIVER)
_WRITES = frozenset({"write", "truncate", "create", "replace", "punch", "remove", "make_folder"})
_MISPLACED = frozenset({"device leaves", "device chunks", "device staged", "device cycle"})
"""What is checked whenever it is read.  (Points at rest await the scrub.)"""

_STORAGE: Final = {
    "crash": ("killed", frozenset[str](), killed),
    "power": ("power lost", frozenset[str](), killed),
    "sync": ("fsync failed", frozenset({"sync", "sync_folder"}), io_error),
    "write": ("EIO on write", _WRITES, io_error),
    "stuck": ("EIO that stays", _WRITES | {"sync", "sync_folder"}, io_error),
    "read": ("EIO on read", frozenset({"read"}), io_error),
    "space": ("ENOSPC", frozenset({"write", "truncate", "create", "make_folder"}), no_space),
    "close": ("EIO on close", frozenset({"close"}), io_error),
    "descriptors": ("out of descriptors", frozenset({"open"}), no_descriptors),
    "memory": ("out of memory", _WRITES | {"read", "sync"}, no_memory),
    "device": ("write misplaced", _MISPLACED, io_error),
}
_FREEZER = ("arm", "freeze", "thaw", "is_frozen", "disarm")
_BACKUPS = (
    "machine",
    "lineage",
    "without_bitmap",
    "provable",
    "checkpoints",
    "drop",
    "drop_all",
    "begin",
    "abort_leftover",
)
_SUSPENDER = ("watch", "suspend", "state", "resume")
_LIBVIRT = (*_BACKUPS, *_FREEZER, *_SUSPENDER)
_ASKED = frozenset({*(f"libvirt {name}" for name in _LIBVIRT), "libvirt end"})
_ANSWERED = frozenset(f"libvirt answer {name}" for name in _LIBVIRT)

_LIBVIRT_FAULTS: Final = ("libvirt fails", "libvirt answer lost", "libvirtd down", "libvirtd killed")
_NBD: Final = {
    "nbd": ("NBD error", frozenset({"nbd read", "nbd extents"})),
    "nbd gone": ("NBD disconnected", frozenset({"nbd read", "nbd extents"})),
    "nbd short": ("NBD short read", frozenset({"nbd short"})),
    "nbd list": ("list of extents broken off", frozenset({"nbd list"})),
}
EVENTS: Final = (
    "guest writes",
    "flood",
    "qemu killed",
    "qemu frozen",
    "grown",
    "plugged",
    "snapshot",
    "slow scratch",
    "scratch full",
    "scratch nearly full",
    "rival",
)
"""What happens to the guest, or beside us, while an export is read."""
AGENT: Final = (*(f"agent {mood}" for mood in Mood if mood is not Mood.WELL), "slow checkpoint")
"""Kinds that make an application-consistent point a crash-consistent one, and no cycle fail."""

FAULTS: Final = (
    *AGENT,
    "checkpoint refused",
    "scratch full",
    "scratch at 80 %",
    *(f"{side} {kind}" for side in SIDES for kind, *_ in _STORAGE.values()),
    *(f"{side} power lost idle" for side in SIDES),
    *(f"{side} put back" for side in SIDES),
    *(f"{side} rot" for side in SIDES),
    *(f"{side} old file put back" for side in SIDES),
    *(f"{side} killed while starting" for side in SIDES),
    "name lost",
    "write lost",
    "write torn",
    "write reordered",
    "phantom or misdirected write",
    "disk full",
    "reserve given back",
    "connection cut",
    "flipped bit",
    "truncated log",
    "lost acknowledgement",
    "duplicated log",
    "late log",
    "stale log",
    "log broken off",
    "network down",
    "asymmetric partition",
    "half-open connection",
    "slow network",
    "reordered log",
    "late acknowledgement",
    "version skew",
    "hostile log",
    *(f"medium {kind}" for kind in ("lost", "flipped", "cut", "without a part", "of another day")),
    *MIDWAY,
    *(f"{kind} peer" for kind in INTRUDERS),
    "looked at in the middle of a log",
    "libvirt failed",
    "libvirt answer lost",
    "libvirtd down",
    "libvirtd killed in the middle of a job",
    "NBD error",
    "NBD disconnected",
    "NBD short read",
    "list of extents broken off",
    "scratch slow",
    "guest writes during a cycle",
    "guest writes more than the link carries",
    "QEMU killed",
    "QEMU killed during a cycle",
    "QEMU killed during a resync",
    "QEMU frozen",
    "QEMU stopped",
    "bitmap vanished",
    "bitmap in use",
    "domain defined anew",
    "foreign checkpoint",
    "foreign bitmap",
    "foreign snapshot",
    "foreign snapshot during a cycle",
    "two agents",
    "two agents during a cycle",
    "second receiver",
    "left-over job",
    "left-over checkpoint",
    "disk grown",
    "disk grown during a cycle",
    "disk plugged during a cycle",
    "disk added",
    "disk removed",
    "clock jumped",
    "clock frozen",
    "clock drifts",
    "disk edited while off",
    "snapshot reverted",
    "tracker lied",
    "item paused",
    "resync asked for",
    "source of an old term",
    "overlay full",
    "test failover killed",
    *(f"group: {trouble}" for trouble in TROUBLES),
    "receiver forgot",
    "protected anew",
    "journal given up",
)
"""Every kind of fault that walks inject; each is counted when it happens, not when it is planned."""

HARMLESS: Final = frozenset(
    {
        *AGENT,
        "clock jumped",
        "clock frozen",
        "clock drifts",
        "disk grown",
        "disk grown during a cycle",
        "disk plugged during a cycle",
        "disk added",
        "guest writes during a cycle",
        "guest writes more than the link carries",
        "foreign checkpoint",
        "foreign bitmap",
        "foreign snapshot",
        "foreign snapshot during a cycle",
        "left-over checkpoint",
        "late acknowledgement",
        "slow network",
        "scratch slow",
        "looked at in the middle of a log",
        "disk edited while off",
        "snapshot reverted",
        "tracker lied",
        "resync asked for",
        "source of an old term",
        "second receiver",
        "certificate rotated",
        *(f"group: {trouble}" for trouble in TROUBLES),
        *(f"{kind} peer" for kind in INTRUDERS),
        "overlay full",
    }
)
"""Kinds that must not make a cycle fail."""

UNANSWERED: Final = frozenset(
    {
        "libvirt failed",
        "libvirtd down",
        "libvirtd killed in the middle of a job",
        "libvirt answer lost",
        "QEMU frozen",
        "two agents during a cycle",
    }
)
"""Kinds after which a job may be open still."""


def plan(world: World, args: Mapping[str, Value], write: Callable[[int, float], None]) -> None:
    """Plan the faults of a step's arguments; `write` is what a guest writes in the middle of a cycle."""
    faults = args.get("faults", [])
    for name, number in faults if isinstance(faults, list) else []:
        _plan_one(world, str(name), float(number), write)


def settle(world: World) -> None:
    """The step is over, and so are its faults."""
    world.network.weather = Weather()
    world.papers.renew()
    hypervisor = world.hypervisor
    hypervisor.guest.recover()
    hypervisor.during, hypervisor.begin_seconds, hypervisor.refuses_checkpoints = [], 0.0, False
    for process in world.processes.values():
        process.disarm()


def _plan_one(world: World, name: str, number: float, write: Callable[[int, float], None]) -> None:
    side, _, kind = name.partition(" ")
    if side in SIDES:
        label, operations, raises = _STORAGE[kind]
        sticky = kind == "stuck"
        fault = Planned(f"{side} {label}", int(number), operations, raises, sticky=sticky, lasting=sticky)
        world.processes[side].plan(fault)
    elif name in _LIBVIRT_FAULTS or name.startswith("nbd"):
        world.processes[SOURCE].plan(_of_libvirt(name, int(number)))
    elif side == "agent":
        world.hypervisor.guest.mood = Mood(kind)
    elif name == "slow checkpoint":
        world.note(name)
        world.hypervisor.begin_seconds = number
    elif name == "checkpoint refused":
        world.note(name)
        world.hypervisor.refuses_checkpoints = True
    elif name in MIDWAY:
        world.network.weather.certificate = (1 + int(number), name)
    elif name in EVENTS:
        world.hypervisor.during += [*(_nothing for _ in range(int(number))), *_event(world, name, write)]
    else:
        _plan_weather(world, world.network.weather, name, number)


def _of_libvirt(name: str, at: int) -> Planned:
    if name == "libvirt fails":
        return Planned("libvirt failed", at, _ASKED, lambda *_: Failed("a call to libvirt", "injected"))
    if name == "libvirt answer lost":
        return Planned(name, at, _ANSWERED, lambda *_: Unknown("a call to libvirt", "injected"))
    if name in ("libvirtd down", "libvirtd killed"):
        label, where = {
            "libvirtd down": (name, _ASKED | _ANSWERED),
            "libvirtd killed": ("libvirtd killed in the middle of a job", frozenset({"libvirt end"})),
        }[name]
        return Planned(label, at, where, lambda *_: Unreachable("libvirt", "qemu:///system", "injected"), sticky=True)
    label, operations = _NBD[name]
    return Planned(label, at, operations, lambda *_: Failed("reading an export", "injected"), sticky=name == "nbd gone")


def _event(world: World, name: str, write: Callable[[int, float], None]) -> list[Callable[[], None]]:
    """What happens to the guest while its export is read, one entry at each look."""

    def writes() -> None:
        for disk, place in enumerate((0.0, 0.5, 1.0)):
            write(disk, place)

    kind, times, deed = {
        "guest writes": ("guest writes during a cycle", 1, writes),
        "flood": ("guest writes more than the link carries", 24, writes),
        "qemu killed": ("QEMU killed during a cycle", 1, lambda: _kill(world)),
        "qemu frozen": ("QEMU frozen", 1, world.hypervisor.freeze),
        "grown": ("disk grown during a cycle", 1, lambda: _refused(world)),
        "plugged": ("disk plugged during a cycle", 1, lambda: _refused(world)),
        "snapshot": ("foreign snapshot during a cycle", 1, lambda: _refused(world)),
        "slow scratch": ("scratch slow", 4, lambda: world.clock.sleep(20.0)),
        "scratch full": ("scratch full", 1, world.hypervisor.starve),
        "scratch nearly full": ("scratch at 80 %", 1, world.hypervisor.give_up),
        "rival": ("two agents during a cycle", 1, world.on_rival),
    }[name]

    def happen() -> None:
        world.note(kind)
        deed()

    return [happen] * times


def _kill(world: World) -> None:
    """QEMU is killed and comes back at once."""
    hypervisor = world.hypervisor
    if hypervisor.job is not None and None in hypervisor.job.bases.values():
        world.note("QEMU killed during a resync")
    hypervisor.kill()
    hypervisor.start()


def _refused(world: World) -> None:
    """While a job is open QEMU refuses to resize, to plug in and to take a snapshot."""
    hypervisor = world.hypervisor
    if hypervisor.job is not None and (
        hypervisor.resize(min(hypervisor.disks), 1 << 30) or hypervisor.add("vdz", world.spare())
    ):
        raise RuntimeError("a disk was changed while a job was open")


def _plan_weather(world: World, weather: Weather, name: str, number: float) -> None:
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
        case "reorder":
            weather.reorder = number
        case "midway":
            weather.midway = int(number)
        case "skew":
            weather.spoil = lambda log: _of_tomorrow(world, log)
        case _:
            _plan_silence(weather, name)


def _plan_silence(weather: Weather, name: str) -> None:
    match name:
        case "half open":
            weather.half_open = True
        case "late answer":
            weather.late_answer = True
        case "slow":
            weather.slow = True
        case _:
            weather.late = True


def _of_tomorrow(world: World, log: bytes) -> bytes:
    """A log whose prologue names a version that nobody here knows."""
    world.note("version skew")
    return log[:8] + bytes([log[8] + 1]) + log[9:]


def _nothing() -> None:
    """Nothing happens."""
