"""The worked examples of the catalogue as values: New York and Chicago, Gold and Silver (spec F7, F8, G5, G6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from drill.model.estate import Estate, Item, Pair, Plan, Policy
from drill.model.finding import Finding
from drill.model.network import NetworkMapping, Subnet, VmNetwork
from drill.model.region import Region, RegionStore
from drill.model.server import KVM_PROFILE, Cloud, Host, HostGroup, Server, Versions
from drill.model.storage import StorageClassification, StorageLocation, StorageMapping
from drill.model.target import ItemDisk, ItemNic

GIB = 1 << 30
GOLD = Policy(name="gold", copy_frequency_seconds=30, witness=False)
TESTED = Versions(libvirt="9.0.0", qemu="7.2.15", agent="7.2.15", kernel="6.1.0-38-amd64")
SITES = {"NewYork": ("GoldCloud1", "SilverCloud1"), "Chicago": ("GoldCloud2", "SilverCloud2")}


def host(name: str, site: str, cloud: str, **fields: Any) -> Host:
    return Host(
        name=name, site=site, cloud=cloud, libvirt=f"qemu+tcp://{name}/system", source_agent=f"{name}:8081",
        receiver_agent=f"{name}:8084", replication_address=f"{name}:8084", host_group="all", versions=TESTED, **fields,
    )  # fmt: skip


def network(site: str, number: int) -> VmNetwork:
    subnet = Subnet(name="web", cidr=f"10.{number}.0.0/24", gateway=f"10.{number}.0.1")
    return VmNetwork(
        site=site, name=f"VMNetwork{number}-{site}", logical_network=f"LogicalNetwork{number}-{site}",
        subnets=(subnet,), server=f"server-{site}",
    )  # fmt: skip


def item(name: str, *, pair: Pair, source_host: str, target_host: str, **fields: Any) -> Item:
    return Item(
        name=name, pair=pair, source_host=source_host, target_host=target_host, size=None, services=(), ledgers=(),
        agent=True, **fields,
    )  # fmt: skip


def estate() -> Estate:
    """Two servers, two pairs; VMNetwork1 mapped and VMNetwork2 not; three storage classes on each side, five machines.

    GoldCloud2 has both logical networks of Chicago, SilverCloud2 the first one alone.
    """
    clouds, groups, hosts = {}, {}, {}
    for site, names in SITES.items():
        for cloud in names:
            logical = [f"LogicalNetwork{number}-{site}" for number in (1, 2)]
            clouds[cloud] = Cloud(
                name=cloud, server=f"server-{site}", site=site, host_groups=(f"{cloud}/all",),
                logical_networks=tuple(logical[:1] if cloud == "SilverCloud2" else logical),
                capability_profile=KVM_PROFILE,
            )  # fmt: skip
            name = f"host-{cloud}"
            groups[f"{cloud}/all"] = HostGroup(name="all", cloud=cloud, hosts=(name,))
            hosts[name] = host(name, site, cloud)
    pairs = {
        name: Pair(source=f"{name}Cloud1", target=f"{name}Cloud2", policy=GOLD, name=name, policies=(GOLD,))
        for name in ("Gold", "Silver")
    }
    return Estate(
        vault="v", region="north", subscription="s1",
        hosts=hosts, clouds=clouds, host_groups=groups, pairs=pairs,
        servers={
            f"server-{site}": Server(name=f"server-{site}", site=site, clouds=names) for site, names in SITES.items()
        },
        networks=tuple(network(site, number) for site in SITES for number in (1, 2)),
        network_mappings=(mapping(1, 1),),
        storage_classifications=tuple(
            StorageClassification(name=name, server=server)
            for server, names in (
                ("server-NewYork", ("GOLD", "SILVER", "BRONZE")),
                ("server-Chicago", ("GOLD_TARGET", "SILVER_TARGET", "BRONZE_TARGET")),
            )
            for name in names
        ),
        storage_locations=tuple(_locations()),
        storage_mappings=tuple(
            StorageMapping(
                source_server="server-NewYork", source=name, target_server="server-Chicago", target=f"{name}_TARGET"
            )
            for name in ("GOLD", "SILVER", "BRONZE")
        ),
        items=_machines(pairs["Gold"]),
        plans={"all": Plan(
            name="all", groups=(("VM1", "VM2"), ("VM3", "VM4", "VM5")), rpo_objective_seconds=60,
            rto_objective_seconds=600, source="server-NewYork", target="server-Chicago",
        )},
    )  # fmt: skip


def _locations() -> list[StorageLocation]:
    sources = [("SourceVolume1", "GOLD"), ("SourceShare1", "GOLD"), ("SourceVolume2", "SILVER"),
               ("SourceShare2", "SILVER"), ("SourceShare3", "BRONZE"), ("SourceVolume3", "")]  # fmt: skip
    targets = [("TargetVolume1", "GOLD_TARGET", 90), ("TargetShare1", "GOLD_TARGET", 100),
               ("TargetVolume2", "SILVER_TARGET", 50), ("TargetShare3", "BRONZE_TARGET", 50)]  # fmt: skip
    return [
        *(
            StorageLocation(
                name=name, server="server-NewYork", classification=kind, path=f"/{name}",
                host_groups=("GoldCloud1/all", "SilverCloud1/all"),
            )
            for name, kind in sources
        ),
        *(
            StorageLocation(
                name=name, server="server-Chicago", classification=kind, path=f"/{name}", free_bytes=free * GIB,
                host_groups=("GoldCloud2/all", "SilverCloud2/all"),
            )
            for name, kind, free in targets
        ),
    ]  # fmt: skip


def _machines(pair: Pair) -> dict[str, Item]:
    on = {"VM1": "SourceVolume1", "VM2": "SourceShare1", "VM3": "SourceVolume2", "VM4": "SourceShare2",
          "VM5": "SourceVolume3"}  # fmt: skip
    return {
        name: item(
            name, pair=pair, source_host="host-GoldCloud1", target_host="host-GoldCloud2", os_type="linux",
            os_disk="vda", disks=(ItemDisk(target="vda", size_bytes=10 * GIB, location=location),),
            nics=(ItemNic(network="VMNetwork1-NewYork", addresses=(f"10.1.0.1{name[-1]}/24",)),),
            memory_mib=1024, vcpus=1,
        )
        for name, location in on.items()
    }  # fmt: skip


def mapping(source: int, target: int, **fields: Any) -> NetworkMapping:
    """VMNetwork SOURCE of New York to VMNetwork TARGET of Chicago."""
    return NetworkMapping(
        source_site="NewYork", source=f"VMNetwork{source}-NewYork", target_site="Chicago",
        target=f"VMNetwork{target}-Chicago", **fields,
    )  # fmt: skip


def with_region(known: Estate, **store: Any) -> Estate:
    """The same with the Gold pair leading to a store of region north."""
    kept = RegionStore(**{"name": "store1", "region": "north", "subscription": "s1", **store})
    north = Region(name="north", subscription="s1", stores=(kept,))
    pair = replace(known.pairs["Gold"], target="", region="north", store="store1")
    lan = VmNetwork(site="north", name="lan", logical_network="", subnets=(Subnet(name="a", cidr="10.9.0.0/24"),))
    return replace(
        known,
        regions={"north": north},
        pairs={"Gold": pair},
        networks=(*known.networks, lan),
        items={name: replace(one, pair=pair, target_host="") for name, one in known.items.items()},
    )


def told(findings: tuple[Finding, ...]) -> list[str]:
    """Rule, object and whether it refuses: `A3 cloud GoldCloud1`, with `advice:` before what does not refuse."""
    return [f"{'' if one.refuses else 'advice: '}{one.rule} {one.kind} {one.name}" for one in findings]


def mended(findings: tuple[Finding, ...]) -> bool:
    """Whether every finding says what is amiss and what to do about it."""
    return all(len(one.problem) > 5 and len(one.remedy) > 5 and one.name in str(one) for one in findings)
