"""An invented run of the three-tier shop, every check passing: what the tests of verdicts and reports start from.

facts = passing()
judge(crashed(facts, "db"))                                        # a defect in one observation
judge(without(facts, 7))                                          # a fact gone
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from drill.model.fact import (
    ChecksPlanned,
    DiskPredicted,
    Fact,
    HostSeen,
    IncidentDeclared,
    Json,
    LedgerRead,
    MachinePredicted,
    NicPredicted,
    Observed,
    PictureTaken,
    PointChosen,
    RunEnded,
    RunStarted,
    ScreenSeen,
    ServiceAnswered,
    StepEnded,
)
from drill.model.point import DiskSeal, HostPicture, Point

START_US = 1_795_204_991_482_000  # 2026-11-20 20:03:11 UTC
RUN = "20261120-200311-shop"
EPOCH = "e7f3a1c2"
MACHINE_CHECKS = (
    "boot",
    "heartbeat",
    "disk_content",
    "point_digest",
    "primary",
    "agent",
    "nic_count",
    "subnet",
    "address",
    "prediction",
    "ledger",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One machine of the shop and how its drill went; times in seconds after the run began."""

    vm: str
    group: int
    disks: tuple[str, ...]
    nics: tuple[NicPredicted, ...]
    service: str
    begun: float
    sequence: int
    sent_bytes: int
    started: float
    answered: float
    source_last: int
    replica_last: int


def passing() -> tuple[Fact, ...]:
    """All facts of a run whose verdict is *pass*, in the order in which they were written."""
    facts: list[Fact] = [_started(), *_hosts(), _picture(0.31, "before")]
    facts += [_predicted(tier) for tier in TIERS]
    facts += [IncidentDeclared(at_us=at(0.94)), _planned()]
    for tier in TIERS:
        facts += [_point(tier), _ledger_read(tier, "source", 1.3, tier.source_last)]
    for tier in TIERS:
        facts += [
            ServiceAnswered(at_us=at(tier.answered), vm=tier.vm, service=tier.service),
            _seen("service", tier.vm, tier.answered + 0.02, *_service(tier)),
        ]
    for tier in TIERS:
        facts += [*_machine_observed(tier), _ledger_read(tier, "replica", 21.9, tier.replica_last)]
    facts += [_isolation(), *(screen(tier.vm, png(tier.vm)) for tier in TIERS)]
    facts += [*_steps(), _picture(30.6, "after"), RunEnded(at_us=at(30.9), outcome="done", detail="")]
    return tuple(facts)


def at(seconds: float) -> int:
    """Microseconds since the epoch, that many seconds after the run began."""
    return START_US + round(seconds * 1_000_000)


def without(facts: tuple[Fact, ...], index: int) -> tuple[Fact, ...]:
    """The facts with one of them gone."""
    return facts[:index] + facts[index + 1 :]


def crashed(facts: tuple[Fact, ...], vm: str) -> tuple[Fact, ...]:
    """The run where one machine was seen crashed."""
    seen = observation(facts, "boot", vm).observed
    return with_observed(facts, "boot", vm, {**seen, "state": "crashed"} if isinstance(seen, dict) else None)


def with_observed(facts: tuple[Fact, ...], check: str, vm: str, observed: Json) -> tuple[Fact, ...]:
    """The facts with another observation of one check."""
    old = observation(facts, check, vm)
    return _swapped(facts, old, replace(old, observed=observed))


def with_expected(facts: tuple[Fact, ...], check: str, vm: str, expected: Json) -> tuple[Fact, ...]:
    """The facts with another expectation of one check."""
    old = observation(facts, check, vm)
    return _swapped(facts, old, replace(old, expected=expected))


def observation(facts: tuple[Fact, ...], check: str, vm: str) -> Observed:
    """The one observation of a check."""
    (found,) = (fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == (check, vm))
    return found


def png(seed: str, width: int = 72, height: int = 40) -> bytes:
    """A small valid picture."""
    shade = hashlib.sha256(seed.encode()).digest()[0] // 4
    pixels = b"".join(b"\x00" + bytes([shade]) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def screen(vm: str, picture: bytes) -> ScreenSeen:
    """A screenshot as a fact."""
    return ScreenSeen(
        at_us=at(23.4),
        vm=vm,
        png_base64=base64.b64encode(picture).decode(),
        sha256=hashlib.sha256(picture).hexdigest(),
    )


def _swapped(facts: tuple[Fact, ...], old: Observed, new: Observed) -> tuple[Fact, ...]:
    return tuple(new if fact is old else fact for fact in facts)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _nic(mac: str, network: str, address: str, mode: str, *, index: int = 0, dropped: bool = False) -> NicPredicted:
    subnet = "web" if network == "VMNetwork1" else "data"
    rule = f"F1: {network} → {network}-Chicago; F5: subnet {subnet} has the source's name; J4: {mode} address "
    rule += "reserved by DHCP" if mode == "dhcp" else "kept"
    if dropped:
        rule = "J1: size one-nic has 1 of the source's cards; this one is not built"
    return NicPredicted(
        index=index,
        mac=mac,
        source_network=network,
        source_subnet=subnet,
        network=None if dropped else f"{network}-Chicago",
        subnet=None if dropped else subnet,
        address=None if dropped else address,
        mode=mode,
        dropped=dropped,
        rule=rule,
    )


TIERS = (
    Tier(
        vm="db",
        group=1,
        disks=("vda", "vdb", "vdc"),
        nics=(_nic("52:54:00:61:02:0a", "VMNetwork2", "10.61.2.10", "static"),),
        service="database",
        begun=-21.4,
        sequence=8,
        sent_bytes=3_481_600,
        started=2.4,
        answered=8.1,
        source_last=1204,
        replica_last=1157,
    ),
    Tier(
        vm="app",
        group=2,
        disks=("vda", "vdb"),
        nics=(
            _nic("52:54:00:61:01:14", "VMNetwork1", "10.61.1.104", "dhcp"),
            _nic("52:54:00:61:02:14", "VMNetwork2", "10.61.2.20", "static", index=1),
        ),
        service="application",
        begun=-18.9,
        sequence=8,
        sent_bytes=1_269_760,
        started=8.2,
        answered=13.7,
        source_last=1188,
        replica_last=1149,
    ),
    Tier(
        vm="web",
        group=3,
        disks=("vda", "vdb"),
        nics=(
            _nic("52:54:00:61:01:1e", "VMNetwork1", "10.61.1.30", "static"),
            _nic("52:54:00:61:02:1e", "VMNetwork2", "10.61.2.30", "static", index=1, dropped=True),
        ),
        service="http",
        begun=-16.2,
        sequence=8,
        sent_bytes=1_019_904,
        started=13.8,
        answered=19.2,
        source_last=1176,
        replica_last=1142,
    ),
)


def _started() -> RunStarted:
    return RunStarted(
        at_us=at(0),
        run=RUN,
        plan="shop",
        source_site="new-york",
        target_site="chicago",
        point_choice="latest",
        network_choice="isolated",
        drill_version="0.1.0",
        rpo_objective_seconds=60.0,
        rto_objective_seconds=120.0,
    )


def _hosts() -> list[Fact]:
    return [
        HostSeen(
            at_us=at(0.2),
            host=host,
            site=site,
            libvirt="9.0.0",
            qemu="7.2.22",
            kernel="6.1.0-40-amd64",
            accelerator="tcg",
            cpus=2,
        )
        for host, site in (("ny1", "new-york"), ("chi1", "chicago"))
    ]


def _picture(seconds: float, when: str) -> PictureTaken:
    entries = (
        ("interfaces", "site0"),
        ("networks", "VMNetwork1-Chicago"),
        ("networks", "VMNetwork2-Chicago"),
    )
    return PictureTaken(
        at_us=at(seconds), when=when, picture=HostPicture(host="chi1", taken_us=at(seconds), entries=entries)
    )


def _predicted(tier: Tier) -> MachinePredicted:
    size = "one-nic" if tier.vm == "web" else "standard"
    return MachinePredicted(
        at_us=at(0.7), vm=tier.vm, host="chi1", group=tier.group, size=size, nics=tier.nics, memory_mib=192, vcpus=1,
        disks=tuple(
            DiskPredicted(disk=one, location="default", classification="", rule="G2: its storage class is not mapped")
            for one in tier.disks
        ),
        rpo_seconds=30.0, rto_seconds=30.0 * tier.group,
    )  # fmt: skip


def _planned() -> ChecksPlanned:
    owed = [
        (check, tier.vm)
        for tier in TIERS
        for check in (*MACHINE_CHECKS, *(DATABASE_CHECKS if tier.vm == "db" else ()), "service")
    ]
    return ChecksPlanned(at_us=at(0.94), checks=(*owed, *((check, "") for check in RUN_CHECKS)))


DATABASE_CHECKS = ("one_instant", "database", "database_rows")
RUN_CHECKS = ("isolation", "leftovers", "rpo", "rto")


def _point(tier: Tier) -> PointChosen:
    sizes = {"vda": 256 * 2**20, "vdb": 512 * 2**20, "vdc": 256 * 2**20}
    point = Point(
        item=f"6f1d2c3e-0000-4000-8000-0000000000{tier.group:02d}",
        epoch=EPOCH,
        sequence=tier.sequence,
        begun_us=at(tier.begun),
        taken_us=at(tier.begun + 0.044),
        sealed_us=at(tier.begun + 0.61),
        full=False,
        application_consistent=False,
        disks=tuple(
            DiskSeal(
                target=disk,
                size_bytes=sizes[disk],
                digest=_digest("content", tier.vm, disk),
                witness=_digest("witness", tier.vm, disk),
            )
            for disk in tier.disks
        ),
        log_digest=_digest("log", tier.vm, str(tier.sequence)),
        parent_digest=_digest("log", tier.vm, str(tier.sequence - 1)),
        sent_bytes=tier.sent_bytes,
    )
    return PointChosen(at_us=at(1.0), vm=tier.vm, point=point)


def _ledger_read(tier: Tier, side: str, seconds: float, last: int) -> LedgerRead:
    return LedgerRead(
        at_us=at(seconds),
        vm=tier.vm,
        side=side,
        records=last,
        last_sequence=last,
        last_us=at(tier.begun if side == "replica" else 0.9),
        torn_bytes=0,
        damage="",
    )


def _seen(check: str, vm: str, seconds: float, expected: Json, observed: Json, *, evidence: Json = None) -> Observed:
    return Observed(
        at_us=at(seconds), check=check, vm=vm, expected=expected, observed=observed, evidence=evidence, error=""
    )


def _service(tier: Tier) -> tuple[Json, Json]:
    detail = {"db": "ready", "app": "up", "web": "HTTP/1.0 200 OK"}[tier.vm]
    return {"services": [tier.service]}, {"services": [{"name": tier.service, "answers": True, "detail": detail}]}


def _machine_observed(tier: Tier) -> Iterator[Fact]:
    built = [nic for nic in tier.nics if not nic.dropped]
    witnesses: Json = {"disks": {disk: _digest("witness", tier.vm, disk) for disk in tier.disks}}
    digests: Json = {"disks": {disk: _digest("content", tier.vm, disk) for disk in tier.disks}}
    places: Json = {"nics": [{"mac": nic.mac, "network": nic.network, "subnet": nic.subnet} for nic in built]}
    macs: list[Json] = [nic.mac for nic in built]
    primary: Json = {"state": "running", "item_state": "replicating"}
    late = 19.4 + tier.group * 0.3
    shape: Json = {"host": "chi1", "memory_mib": 192, "vcpus": 1, "disks": list(tier.disks)}
    state: Json = {"state": "running"}
    yield _seen("boot", tier.vm, late, state, {**state, **shape}, evidence=f"{tier.vm}-test-{RUN}")  # type: ignore[dict-item]
    console = "\n".join(f"drill-heartbeat {beat}" for beat in (14, 15, 16))
    yield _seen("heartbeat", tier.vm, late + 2.6, {"beats_min": 2}, {"beats": [14, 15, 16]}, evidence=console)
    yield _seen("disk_content", tier.vm, late + 1.1, witnesses, witnesses)
    yield _seen("point_digest", tier.vm, late + 1.3, digests, digests)
    yield _seen("primary", tier.vm, late + 0.1, primary, primary)
    yield _seen("agent", tier.vm, late + 0.1, {"answers": True}, {"answers": True, "seconds": 0.012})
    yield _seen("nic_count", tier.vm, late + 0.1, {"count": len(built)}, {"count": len(built), "nics": macs})
    yield _seen("subnet", tier.vm, late + 0.1, places, places)
    yield _seen(
        "address",
        tier.vm,
        late + 0.2,
        {"nics": [{"mac": nic.mac, "address": nic.address} for nic in built]},
        {
            "nics": [
                {"mac": nic.mac, "addresses": [f"{nic.address}/24", f"fe80::5054:ff:fe61:{nic.mac[-2:]}/64"]}
                for nic in built
            ]
        },
    )
    bounds: Json = {"acknowledged_before": tier.replica_last - 1, "sent_before": tier.replica_last + 1}
    found: Json = {"last_sequence": tier.replica_last, "records": tier.replica_last, "torn_bytes": 0, "damage": ""}
    yield _seen("ledger", tier.vm, late + 0.4, bounds, found)
    if tier.vm == "db":
        pair: Json = {"first": tier.replica_last, "second": tier.replica_last - 1}
        yield _seen("one_instant", tier.vm, late + 0.4, {"lag_max": 1}, pair)
        yield from _database_observed(tier.vm, late)


def _database_observed(vm: str, late: float) -> Iterator[Fact]:
    """Rows 1 to 690 were acknowledged before the point but for 688, whose acknowledgement was lost; 691 and 692 were
    on their way, and one of the two came in."""
    examined: Json = [{"name": "shop", "answers": True, "exit_code": 0, "said": ""}]
    yield _seen("database", vm, late + 2.4, {"databases": ["shop"]}, {"databases": examined})
    bounds: Json = {
        "name": "shop",
        "acknowledged_before": [[1, 687], [689, 690]],
        "sent_before": [[1, 692]],
        "acknowledged_at_incident": [[1, 687], [689, 700], [702, 703]],
    }
    held: Json = {"name": "shop", "exit_code": 0, "rows": [[1, 690], [692, 692]], "said": ""}
    yield _seen("database_rows", vm, late + 1.1, {"tables": [bounds]}, {"tables": [held]})


def _isolation() -> Observed:
    ways = (
        ("db → gateway of data", "10.61.2.1", "db"),
        ("app → gateway of web", "10.61.1.1", "app"),
        ("web → production address 10.61.2.30 of web", "10.61.2.30", "app"),
        ("host chi1 → web 10.61.1.30:80", "10.61.1.30:80", "chi1"),
    )
    names: list[Json] = [name for name, _, _ in ways]
    tries: list[Json] = [
        {
            "name": name,
            "target": target,
            "from": begins,
            "reached": False,
            "control": {"from": "production", "reached": True},
        }
        for name, target, begins in ways
    ]
    bridges: list[Json] = [
        {"bridge": "drill-4f1c09a27", "members": ["vnet3", "vnet5"], "allowed": ["vnet3", "vnet5"]},
        {"bridge": "drill-b80d7713e", "members": ["vnet2", "vnet4"], "allowed": ["vnet2", "vnet4"]},
    ]
    return _seen("isolation", "", 22.8, {"probes": names}, {"probes": tries, "bridges": bridges})


def _steps() -> Iterator[StepEnded]:
    def step(vm: str, name: str, begins: float, ends: float) -> StepEnded:
        return StepEnded(started_us=at(begins), ended_us=at(ends), vm=vm, step=name, outcome="done", detail="")

    yield step("", "ask host for versions", 0.05, 0.2)
    yield step("", "take inventory", 0.2, 0.31)
    for tier in TIERS:
        yield step(tier.vm, "look at primary", 0.32, 0.7)
    yield step("", "declare incident", 0.94, 0.94)
    yield step("", "guard isolated network", 1.35, 1.44)
    yield step("", "make isolated network", 1.44, 1.72)
    for tier in TIERS:
        yield step(tier.vm, "choose recovery point", 0.95, 1.0)
        yield step(tier.vm, "read source ledger", 1.0, 1.3)
        yield step(tier.vm, "make overlay disks", 1.72, 1.97 + tier.group * 0.03)
        yield step(tier.vm, "define machine", 2.07, 2.12 + tier.group * 0.05)
        yield step(tier.vm, "start machine", tier.started, tier.started + 1.15)
        yield step(tier.vm, "wait for services", tier.started + 1.15, tier.answered)
        yield step(tier.vm, "check", 19.3, 22.0 + tier.group * 0.3)
        yield step(tier.vm, "take screenshot", 23.3, 23.4)
        yield step(tier.vm, "remove machine", 23.6, 28.9 + tier.group * 0.2)
    yield step("", "probe isolation", 19.3, 22.8)
    yield step("", "remove isolated network", 29.6, 29.9)
    yield step("", "remove guard", 29.9, 30.0)
    yield step("", "remove overlay disks", 30.0, 30.1)
    yield step("", "take inventory", 30.3, 30.6)


def renamed(facts: tuple[Fact, ...], text: str) -> tuple[Fact, ...]:
    """The facts with every name, sentence and value that a guest or an estate could have chosen replaced by `text`.

    Machines stay told apart by what stands before it.
    """
    return tuple(_reworded_fields(fact, text) for fact in facts)


def _reworded_fields(value: Any, text: str) -> Any:
    inner = {field.name: getattr(value, field.name) for field in fields(value)}
    return replace(value, **{name: _reworded(name, one, text) for name, one in inner.items()})


def _reworded(name: str, value: object, text: str) -> object:
    if name in ("outcome", "when", "side", "png_base64", "sha256") or value == "":
        return value
    if isinstance(value, str):
        return f"{value}{text}" if name == "vm" else text
    if isinstance(value, dict):
        return {key: _reworded("", inner, text) for key, inner in value.items()} | {text: text}
    if isinstance(value, tuple | list):
        return type(value)(_reworded("", inner, text) for inner in value)
    return _reworded_fields(value, text) if is_dataclass(value) else value
