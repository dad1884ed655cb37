"""A world on paper for procedures: it keeps a list of what exists and answers every command of a test failover.

It stands where `drill.orchestration.actions` stands, one level above the ports; what it holds can live in a file, so
that a controller killed at any step finds the same world again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drill.errors import Failed
from drill.model import command as c
from drill.model.estate import Database, Estate, Item, Pair, Plan, Policy, Service
from drill.model.fact import (
    HostSeen,
    IncidentDeclared,
    LedgerRead,
    Observed,
    PictureTaken,
    PointChosen,
    ScreenSeen,
    ServiceAnswered,
)
from drill.model.machine import Disk, Machine, Nic
from drill.model.network import NetworkMapping, Subnet, VmNetwork
from drill.model.point import DiskSeal, HostPicture, OverlayDisk, Point
from drill.model.rows import RowBounds
from drill.model.server import Host, Size

NOW = 1_800_000_000_000_000
MACS = {name: f"52:54:00:61:00:{number:02x}" for number, name in enumerate(["db", "app", "web"], 1)}


def estate(*, web_nics: int = 1, mappings: dict[str, str] | None = None) -> Estate:
    """Two sites, one host each, a stretched network with two subnets at the target, three machines in three groups."""
    pair = Pair(source="gold1", target="gold2", policy=Policy(name="gold", copy_frequency_seconds=30, witness=True))
    subnet = Subnet(
        name="web", cidr="10.61.1.0/24", gateway="10.61.1.1", pool=("10.61.1.100", "10.61.1.150"), dhcp=True
    )
    spare = Subnet(name="spare", cidr="10.61.9.0/24")

    def host(name: str, site: str) -> Host:
        return Host(
            name=name, site=site, cloud=f"gold-{site}", libvirt=f"qemu+tcp://{name}/system",
            source_agent=f"{name}:8081", receiver_agent=f"{name}:8084", replication_address=f"{name}:8084",
        )  # fmt: skip

    shop = Database(name="shop", user="postgres", table="orders", column="id", history="/shop.history")

    def item(name: str, size: Size | None) -> Item:
        return Item(
            name=name, pair=pair, source_host="ny1", target_host="chi1", size=size, agent=True,
            services=(Service(name=f"{name}-service", port=80, request="", expect=""),),
            ledgers=("/data/ledger", "/data2/ledger") if name == "db" else ("/data/ledger",),
            databases=(shop,) if name == "db" else (),
        )  # fmt: skip

    small = Size(name="small", max_nics=web_nics, max_vcpus=1, max_memory_mib=128)
    return Estate(
        vault="shop",
        hosts={"ny1": host("ny1", "new-york"), "chi1": host("chi1", "chicago")},
        networks=(
            VmNetwork(site="new-york", name="Net1", logical_network="L", subnets=(subnet,)),
            VmNetwork(site="chicago", name="Net1-Chicago", logical_network="L", subnets=(spare, subnet)),
        ),
        network_mappings=tuple(
            NetworkMapping(source_site="new-york", source=source, target_site="chicago", target=target)
            for source, target in ({"Net1": "Net1-Chicago"} if mappings is None else mappings).items()
        ),
        items={"db": item("db", None), "app": item("app", None), "web": item("web", small)},
        plans={
            "shop": Plan(
                name="shop", groups=(("db",), ("app",), ("web",)), rpo_objective_seconds=60, rto_objective_seconds=120
            )
        },
    )


def primary(name: str) -> c.PrimarySeen:
    """A primary with two cards on Net1: the first static, the second leased; db has two disks."""
    address = {"db": "10.61.1.11", "app": "10.61.1.12", "web": "10.61.1.13"}[name]
    macs = (MACS[name], MACS[name].replace("61:00", "61:01"))
    targets = ("vda", "vdb") if name == "db" else ("vda",)
    return c.PrimarySeen(
        at_us=NOW,
        machine=Machine(
            name=name, uuid=f"00000000-0000-4000-8000-0000000000{MACS[name][-2:]}", memory_mib=256, vcpus=2,
            disks=tuple(Disk(target=one, path=f"/{name}.{one}", format="qcow2", size_bytes=1 << 20) for one in targets),
            nics=tuple(Nic(mac=mac, network="Net1") for mac in macs),
        ),
        nics=(
            c.NicSeen(mac=macs[0], network="Net1", addresses=(f"{address}/24", "fe80::1/64")),
            c.NicSeen(mac=macs[1], network="Net1", addresses=(f"10.61.1.1{MACS[name][-2:]}/24",)),
        ),
    )  # fmt: skip


class Paper:
    """Performs commands; `made` is what stands, `log` every command's name; `trouble` may raise before an effect."""

    def __init__(self, folder: Path | None = None, trouble: Callable[[c.Command[object]], None] | None = None) -> None:
        self._file = folder / "world.json" if folder else None
        self.made: set[str] = set(json.loads(self._file.read_text())) if self._file and self._file.exists() else set()
        self._lock = threading.Lock()
        self.log: list[c.Command[object]] = []
        self.trouble = trouble or (lambda command: None)

    def _keep(self, add: set[str], drop: set[str] = frozenset()) -> c.Nothing:  # type: ignore[assignment]
        with self._lock:
            self.made = (self.made | add) - drop
            if self._file:
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps(sorted(self.made)))
                fresh.replace(self._file)
        return c.Nothing()

    def __call__(self, command: c.Command[object]) -> object:  # noqa: C901, PLR0911, PLR0912 - one branch per command
        self.log.append(command)
        self.trouble(command)
        match command:
            case c.SeeHost():
                return HostSeen(
                    at_us=NOW, host=command.host, site="", libvirt="9", qemu="7", kernel="6", accelerator="tcg", cpus=2
                )
            case c.SeePrimary():
                return primary(command.domain)
            case c.TakePicture():
                entries = tuple(sorted(tuple(one.split(" ", 1)) for one in self.made))
                return PictureTaken(
                    at_us=NOW, when=command.when,
                    picture=HostPicture(host=command.host, taken_us=NOW, entries=entries),  # type: ignore[arg-type]
                )  # fmt: skip
            case c.DeclareIncident():
                return IncidentDeclared(at_us=NOW)
            case c.ChoosePoint():
                return PointChosen(at_us=NOW, vm=command.vm, point=point(command.vm))
            case c.ReadSourceLedger():
                read = ledger(command.vm, "source", 110)
                return c.SourceLedger(
                    read=read, acknowledged_before=99, sent_before=101, offset_us=0, offset_error_us=0, error=""
                )
            case c.ReadHistory():
                return RowBounds(
                    acknowledged_before=((1, 49),), sent_before=((1, 52),), acknowledged_at_incident=((1, 55),)
                )
            case c.GuardBridge():
                return self._keep({f"firewall {command.bridge}"})
            case c.UnguardBridge():
                return self._keep(set(), {f"firewall {command.bridge}"})
            case c.MakeBubble():
                return self._keep({f"networks {command.network.name}"})
            case c.RemoveBubble():
                return self._keep(set(), {f"networks {command.network}"})
            case c.MakeOverlays():
                name = next(one for one in MACS if primary(one).machine.uuid == command.item)
                disks = [
                    OverlayDisk(target=one.target, path=f"/runs/{name}.{one.target}")
                    for one in primary(name).machine.disks
                ]
                self._keep({f"disks {one.path}" for one in disks})
                return c.Overlays(disks=tuple(disks))
            case c.RemoveOverlays():
                return self._keep(set(), {one for one in self.made if one.startswith("disks ")})
            case c.DefineMachine():
                return self._keep({f"domains {command.machine.name}"})
            case c.StartMachine():
                if f"domains {command.domain}" not in self.made:
                    raise Failed(action=f"starting {command.domain}", cause="it is not defined")
                return c.Nothing()
            case c.RemoveMachine():
                return self._keep(set(), {f"domains {command.domain}"})
            case c.AwaitServices():
                names = [one.name for one in command.services]
                return c.ServicesSeen(
                    answered=tuple(ServiceAnswered(at_us=NOW + 9_000_000, vm=command.vm, service=one) for one in names),
                    observed=seen(
                        "service",
                        command.vm,
                        {"services": list(names)},
                        {"services": [{"name": one, "answers": True, "detail": ""} for one in names]},
                    ),
                )
            case c.Check():
                return self.check(command)
            case c.ProbeIsolation():
                return self.isolation(command)
            case c.SeeScreen():
                return ScreenSeen(at_us=NOW, vm=command.vm, png_base64="", sha256="")
        raise AssertionError(f"no answer for {command}")

    def check(self, command: c.Check) -> c.Evidence:
        """What a healthy machine shows: just what is expected, in the shape of the observation."""
        expected: Any = command.expected
        observed: Any = {
            "boot": {"state": "running", "host": command.host, **_shape(command.vm)},
            "agent": {"answers": True, "seconds": 0.1},
            "heartbeat": {"beats": [3, 4, 5]},
            "ledger": {"last_sequence": 100, "records": 100, "torn_bytes": 0, "damage": ""},
            "one_instant": {"first": 100, "second": 99},
            "database": {"databases": [{"name": "shop", "answers": True, "exit_code": 0, "said": ""}]},
            "database_rows": {"tables": [{"name": "shop", "exit_code": 0, "rows": [[1, 50]], "said": ""}]},
        }.get(command.check, expected)
        if command.check == "nic_count":
            observed = {**expected, "nics": [{"mac": str(one)} for one in range(expected["count"])]}
        if command.check == "address":
            cards = expected["nics"]
            observed = {"nics": [{"mac": one["mac"], "addresses": [f"{one['address']}/24"]} for one in cards]}
        return c.Evidence(
            observed=seen(command.check, command.vm, expected, observed),
            ledger=ledger(command.vm, "replica", 100) if command.check == "ledger" else None,
        )

    def isolation(self, command: c.ProbeIsolation) -> c.Evidence:
        """Nothing gets out, every control succeeds."""
        tried: list[c.GuestProbe | c.HostProbe] = [*command.guest_probes, *command.host_probes]
        probes = [
            {"name": one.name, "target": one.target, "from": one.host, "reached": False,
             "control": {"from": one.control_host, "reached": True}}
            for one in tried
        ]  # fmt: skip
        bridges = [{"bridge": one.bridge, "members": ["vnet0"], "allowed": ["vnet0"]} for one in command.bridges]
        names = [one["name"] for one in probes]
        return c.Evidence(observed=seen("isolation", "", {"probes": names}, {"probes": probes, "bridges": bridges}))


def _shape(vm: str) -> dict[str, Any]:
    """Memory, processors and disks that a test machine comes up with; web's size bounds its."""
    machine = primary(vm).machine if vm in MACS else primary("db").machine
    small = {"memory_mib": 128, "vcpus": 1} if vm == "web" else {"memory_mib": 256, "vcpus": 2}
    return {**small, "disks": [disk.target for disk in machine.disks]}


def seen(check: str, vm: str, expected: Any, observed: Any) -> Observed:
    """An observation."""
    return Observed(
        at_us=NOW,
        check=check,
        vm=vm,
        expected=expected,
        observed=observed,
        evidence=None,
        error="",
    )


def point(name: str) -> Point:
    """A sealed point of a machine, taken 20 s before the incident."""
    seen = primary(name)
    return Point(
        item=seen.machine.uuid, epoch="e1", sequence=4, begun_us=NOW - 20_000_000, taken_us=NOW - 19_990_000,
        sealed_us=NOW - 19_000_000, full=False, application_consistent=False,
        disks=tuple(
            DiskSeal(target=one.target, size_bytes=1 << 20, digest="00" * 32, witness="11" * 32)
            for one in seen.machine.disks
        ),
        log_digest="22" * 32, parent_digest="33" * 32, sent_bytes=4096,
    )  # fmt: skip


def ledger(name: str, side: str, records: int) -> LedgerRead:
    """A whole ledger."""
    return LedgerRead(
        at_us=NOW, vm=name, side=side, records=records, last_sequence=records, last_us=NOW, torn_bytes=0, damage=""
    )


class MemoryJournal:
    """A journal that lives as long as the test; `kept` outlives a performer."""

    def __init__(self, kept: list[str] | None = None) -> None:
        self.kept = [] if kept is None else kept
        self._next = 0

    def reserve(self, name: str) -> Callable[[Callable[[], str]], str]:
        """The next position."""
        del name
        position, self._next = self._next, self._next + 1

        def run(body: Callable[[], str]) -> str:
            while len(self.kept) <= position:
                self.kept.append("")
            if not self.kept[position]:
                self.kept[position] = body()
            return self.kept[position]

        return run


class MemoryRecord:
    """A run record in memory."""

    def __init__(self) -> None:
        self.facts: list[object] = []

    def written(self) -> int:
        """Facts so far."""
        return len(self.facts)

    def append(self, fact: object) -> None:
        """One more."""
        self.facts.append(fact)


class StandingClock:
    """A clock that goes on by one millisecond per look."""

    def __init__(self) -> None:
        self._now = NOW

    def now_us(self) -> int:
        """Wall clock."""
        self._now += 1000
        return self._now

    def monotonic(self) -> float:
        """Seconds."""
        self._now += 1000
        return self._now / 1e6

    def sleep(self, seconds: float) -> None:
        """Skips."""
        self._now += int(seconds * 1e6)
