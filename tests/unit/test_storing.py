"""Storage classes and the best location of one, with the catalogue's examples (spec G)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core import storing
from drill.core.storing import Free
from drill.model.estate import Estate
from drill.model.fact import DiskPredicted
from drill.model.storage import StorageLocation, StorageMapping
from drill.model.target import ItemDisk, Target, TargetDisk
from tests.new_york import GIB, estate, mended, told


def placed(known: Estate, machine: str, free: Free | None = None, **disk: object) -> DiskPredicted:
    item = known.items[machine]
    return storing.place(
        known, item, known.hosts[item.target_host], replace(item.disks[0], **disk), free=free or Free.of(known)  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.spec("G1.a")
def test_both_classes_exist_and_are_offered_to_the_clouds() -> None:
    known = estate()
    assert storing.mappings(known) == ()
    extra = StorageMapping(source_server="server-NewYork", source="X", target_server="server-Chicago", target="Y")
    found = storing.mappings(replace(known, storage_mappings=(extra,)))
    assert told(found)[:2] == ["G1 storage mapping X", "G1 storage mapping X"]
    assert mended(found)
    gold = tuple(replace(one, host_groups=("GoldCloud1/all", "GoldCloud2/all")) for one in known.storage_locations)
    assert storing.mappings(replace(known, storage_locations=gold)) == (), "one pair that can use them is enough"
    halves = tuple(replace(one, host_groups=("GoldCloud1/all", "SilverCloud2/all")) for one in known.storage_locations)
    found = storing.mappings(replace(known, storage_locations=halves))
    assert [(one.name, one.remedy.split()[-1]) for one in found] == [
        (name, cloud)
        for kind in ("GOLD", "SILVER", "BRONZE")
        for name, cloud in ((f"{kind}_TARGET", "GoldCloud2"), (kind, "SilverCloud1"))
    ]


@pytest.mark.spec("G1.b")
def test_media_may_differ_and_both_clouds_may_be_of_one_server() -> None:
    known = estate()
    media = {"GOLD": "ssd", "GOLD_TARGET": "hdd"}
    classes = tuple(replace(one, media=media.get(one.name, "")) for one in known.storage_classifications)
    assert storing.mappings(replace(known, storage_classifications=classes)) == ()
    one_server = {name: replace(one, server="server-Chicago") for name, one in known.clouds.items()}
    inside = tuple(replace(one, source_server="server-Chicago") for one in known.storage_mappings)
    classes = tuple(replace(one, server="server-Chicago") for one in known.storage_classifications)
    locations = tuple(replace(one, server="server-Chicago") for one in known.storage_locations)
    changed = replace(
        known, clouds=one_server, storage_mappings=inside, storage_classifications=classes, storage_locations=locations
    )
    assert storing.mappings(changed) == ()
    assert placed(changed, "VM1").classification == "GOLD_TARGET"


def test_a_mapping_between_servers_of_no_pair_is_judged_by_its_classes_alone() -> None:
    known = estate()
    known.pairs["Silver"] = replace(known.pairs["Silver"], target="", region="north")
    assert storing.mappings(known) == ()
    assert storing.mappings(replace(known, pairs={})) == ()


@pytest.mark.spec("G2.a")
def test_a_disk_whose_class_is_not_mapped_goes_to_the_hosts_default() -> None:
    known = replace(estate(), storage_mappings=())
    assert placed(known, "VM1").location == storing.DEFAULT
    known.hosts["host-GoldCloud2"] = replace(known.hosts["host-GoldCloud2"], default_location="TargetVolume2")
    free = Free.of(known)
    assert (placed(known, "VM1", free).location, free.bytes_by_location["TargetVolume2"]) == ("TargetVolume2", 40 * GIB)
    assert placed(known, "VM1", location="unheard of").location == "TargetVolume2"


@pytest.mark.spec("G4.a", "G4.b")
@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ({"a": 30, "b": 40}, "b"),
        ({"a": 40, "b": 40}, "a"),
        ({"a": 30, "b": 9}, "a"),
        ({"a": 10, "b": 9}, "a"),
        ({"a": 9, "b": 9}, None),
        ({"a": 11}, "a"),
        ({"a": 9}, "b"),
        ({}, "a"),
    ],
)
def test_the_location_with_most_free_space_that_fits_then_by_name(free: dict[str, int], expected: str | None) -> None:
    both = [StorageLocation(name=name, server="s", host_groups=()) for name in ("b", "a")]
    assert storing.best_location(both, 10, Free(free)) == expected


@pytest.mark.spec("G4.b")
def test_where_nothing_fits_the_hosts_default_is_taken() -> None:
    known = estate()
    found = placed(known, "VM1", size_bytes=101 * GIB)
    assert (found.location, found.rule[:3]) == (storing.DEFAULT, "G4:")
    found = placed(replace(known, storage_locations=()), "VM1")
    assert found.location == storing.DEFAULT


@pytest.mark.spec("G5.a", "G5.b")
def test_gold_silver_and_bronze_lead_to_their_targets_and_no_further() -> None:
    known = estate()
    item = known.items["VM1"]
    for name in ("GOLD", "SILVER", "BRONZE"):
        location = next(one for one in known.storage_locations if one.classification == name)
        assert storing.mapped_class(known, item, location) == f"{name}_TARGET"
    for one in known.storage_classifications:
        assert storing.onward(known, one) == ((f"{one.name}_TARGET",) if one.server == "server-NewYork" else ())


@pytest.mark.parametrize(
    ("machine", "allowed"),
    [
        pytest.param("VM1", {"TargetVolume1", "TargetShare1"}, marks=pytest.mark.spec("G6.a")),
        pytest.param("VM2", {"TargetVolume1", "TargetShare1"}, marks=pytest.mark.spec("G6.a")),
        pytest.param("VM3", {"TargetVolume2"}, marks=pytest.mark.spec("G6.b")),
        pytest.param("VM4", {"TargetVolume2"}, marks=pytest.mark.spec("G6.b")),
        pytest.param("VM5", {storing.DEFAULT}, marks=pytest.mark.spec("G6.c")),
    ],
)
def test_the_example_of_five_machines(machine: str, allowed: set[str]) -> None:
    assert placed(estate(), machine).location in allowed


def test_what_is_placed_takes_room_from_what_comes_after() -> None:
    known = estate()
    free = Free.of(known)
    found = [placed(known, "VM1", free, size_bytes=60 * GIB).location for _ in range(3)]
    assert found == ["TargetShare1", "TargetVolume1", storing.DEFAULT]


@pytest.mark.spec("J3.b")
def test_the_operators_location_or_class_comes_first() -> None:
    known = estate()
    for chosen, expected in (
        (TargetDisk(target="vda", location="TargetShare3"), ("TargetShare3", "")),
        (TargetDisk(target="vda", classification="BRONZE_TARGET"), ("TargetShare3", "BRONZE_TARGET")),
        (TargetDisk(target="vdb", location="TargetShare3"), ("TargetShare1", "GOLD_TARGET")),
    ):
        known.items["VM1"] = replace(known.items["VM1"], target=Target(disks=(chosen,)))
        found = placed(known, "VM1")
        assert (found.location, found.classification) == expected


def test_the_location_of_a_disk_is_found_by_the_longest_folder_that_holds_its_path() -> None:
    known = estate()
    host = known.hosts["host-GoldCloud1"]
    inner = replace(known.storage_locations[0], name="inner", path="/SourceVolume1/inner/")
    known = replace(known, storage_locations=(*known.storage_locations, inner))
    disk = ItemDisk(target="vda")

    def name(path: str) -> str | None:
        found = storing.classification_of(known, host, disk, path)
        return found.name if found else None

    assert name("/SourceVolume1/a.qcow2") == "SourceVolume1"
    assert name("/SourceVolume1/inner/a.qcow2") == "inner"
    assert name("/SourceVolume10/a.qcow2") is None
    assert name("/TargetVolume1/a.qcow2") is None, "the source host does not reach it"
    assert name("") is None


def test_a_class_that_is_mapped_nowhere_has_no_target_class() -> None:
    known = estate()
    item, location = known.items["VM1"], known.storage_locations[0]
    assert storing.mapped_class(known, item, location)
    assert storing.mapped_class(replace(known, storage_mappings=()), item, location) == ""


def test_a_region_has_no_storage_classes() -> None:
    known = estate()
    item = replace(known.items["VM1"], pair=replace(known.pairs["Gold"], target="", region="north"))
    assert storing.mapped_class(known, item, known.storage_locations[0]) == ""


@given(
    free=st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100)),
    size=st.integers(0, 100),
    names=st.sets(st.sampled_from("abcde")),
)
def test_a_location_is_best_when_no_other_that_fits_has_more(free: dict[str, int], size: int, names: set[str]) -> None:
    some = [StorageLocation(name=name, server="s", host_groups=()) for name in sorted(names)]
    best = storing.best_location(some, size, Free(free))
    known = {name: free[name] for name in names if name in free and free[name] >= size}
    if best is None:
        assert not known
        assert names <= free.keys()
    elif known:
        assert free[best] == max(known.values())
    else:
        assert best not in free
