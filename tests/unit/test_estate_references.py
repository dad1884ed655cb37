"""What must agree within an estate file: each broken reference and bound is named at its line and column.

Every case changes one place of the estate of the worked examples; `@` in the new text marks where the mistake is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from drill import data
from drill.errors import BadInput
from drill.estate.load import load

EXAMPLES = data.path("fixtures", "new-york-chicago.yaml")
TEXT = EXAMPLES.read_text(encoding="utf-8")


def refused(tmp_path: Path, text: str) -> tuple[str, str]:
    """`LINE:COLUMN` of the first mistake, and the whole message."""
    file = tmp_path / "estate.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(file)
    return caught.value.where.removeprefix(f"{file}:"), str(caught.value)


SITES = [
    ("site: chicago", "site: @chicgo", "did you mean 'chicago'?"),
    ("credential: proxy-login}", "credential: @proxy-logon}", "there is no credential 'proxy-logon'"),
    ("credential: proxy-login}", "credential: @dns-key}", "is a tsig-key, where a password is wanted"),
    ("name: vmm-chicago", "name: @vmm-new-york", "server 'vmm-new-york' is named twice; first at"),
    ("name: LogicalNetwork2-Chicago", "name: @LogicalNetwork1-Chicago", "is named twice"),
    ("name: VMNetwork2-Chicago", "name: @VMNetwork1-Chicago", "stands twice at 'chicago'"),
    ("cidr: 10.1.2.0/24", "cidr: @10.1.2.1/24", "has host bits set"),
    ("name: web6", "name: @web", "subnet 'web' is named twice"),
    ("gateway: 10.1.2.1,", "gateway: @10.1.3.1,", "10.1.3.1 is not in 10.1.2.0/24"),
    ("pool: [10.1.2.100, 10.1.2.199]", "pool: @[10.1.2.199, 10.1.2.100]", "ends (10.1.2.100) before it begins"),
    ("pool: [10.1.2.100, 10.1.2.199]", "pool: [10.1.2.100, @10.1.20.199]", "is not in 10.1.2.0/24"),
    (", pool: [10.1.2.100, 10.1.2.199], dhcp: true", ", dhcp: @true", "DHCP needs a pool"),
    ("dhcp: true}", "reserved: [@10.9.9.9]}", "10.9.9.9 is not in 10.1.2.0/24"),
    (
        "cidr: 10.2.9.0/24, gateway: 10.2.9.1, pool: [10.2.9.100, 10.2.9.199]}",
        "cidr: 10.1.0.0/16}",
        "overlaps subnet 'spare'",
    ),
    ("classification: BRONZE, path", "classification: @BRONCE, path", "did you mean 'BRONZE'?"),
    ("host_groups: [GoldCloud1/gold-hosts]}", "host_groups: [@GoldCloud1/gold-host]}", "did you mean"),
    ("path: /srv/SourceVolume2", "path: @/srv/../etc", "absolute path without"),
    ("@path: /srv/SourceVolume2", "pool: p, path: /srv/SourceVolume2", "either a path or a pool"),
    ("default_location: SourceVolume1", "default_location: @SourceVolume9", "has no storage location"),
    ("default_location: SourceVolume1", "default_location: @SourceVolume2", "is not available to host group"),
    ("name: SilverCloud1\n", "name: @GoldCloud1\n", "cloud 'GoldCloud1' is named twice"),
    (
        "logical_networks: [LogicalNetwork1-Chicago]",
        "logical_networks: [@LogicalNetwork1-NewYork]",
        "server 'vmm-chicago' has no logical network",
    ),
    ("name: small, max_nics: 1", "name: @large, max_nics: 1", "size 'large' is named twice"),
    ("name: ny-silver-1\n", "name: @ny-gold-1\n", "host 'ny-gold-1' is named twice"),
    (
        "libvirt: qemu+tls://ny-silver-1.example",
        "libvirt: @qemu+tls://ny-gold-1.example",
        "host 'ny-gold-1' has qemu+tls://ny-gold-1.example/system already",
    ),
    ('receiver: "ny-silver-1.example:8084"', 'receiver: @"ny-gold-1.example:8084"', "already"),
    ('receiver: "ny-silver-1.example:8084"', 'receiver: @"ny-silver-1.example:80840"', "port must be from 1"),
    ("vm_networks: [VMNetwork2-Chicago]", "vm_networks: [@VMNetwork2-NewYork]", "site 'chicago' has no VM network"),
    ("capability_profile: kvm", "capability_profile: @vmware", "Input should be 'kvm'"),
]

PAIRS = [
    ("copy_frequency_seconds: 900", "copy_frequency_seconds: @60", "30, 300 or 900"),
    ("additional_points: 6", "additional_points: @25", "less than or equal to 24"),
    ("additional_points: 24", "additional_points: @4", "none of them might be kept (E6)"),
    ("application_consistent_hours: 4", "application_consistent_hours: @13", "less than or equal to 12"),
    ("window_minutes: 120}", "initial_replication: @{method: offline}}", "needs an export and an import location"),
    ("window_minutes: 120}", "initial_replication: @{export_location: /mnt/a}}", "one over the network has none"),
    ("window_minutes: 120}", "initial_replication: {start: @tomorrow}}", "should match pattern"),
    ("target: SilverCloud2, policy: silver", "target: SilverCloud2, policy: @sliver", "did you mean 'silver'?"),
    ("target: SilverCloud2, policy: silver", "target: @SilverCloud3, policy: silver", "there is no cloud"),
    ("target: SilverCloud2, policy: silver", "target: @GoldCloud2, policy: silver", "to pair 'gold' already (D2)"),
    ("target: SilverCloud2, policy: silver", "target: @SilverCloud1, policy: silver", "to pair 'silver' already (D2)"),
    (
        "- {name: silver, source: SilverCloud1, target: SilverCloud2,",
        "- @{name: silver, source: SilverCloud1,",
        "a target cloud, or a region and a store of it (D1)",
    ),
    ("{name: silver, copy", "{target_type: region, name: silver, copy", "is for a region, the target is a site (E1)"),
    ("{name: silver, copy", "{port: 9000, name: silver, copy", "the same on both ends (E3)"),
    ("target: VMNetwork1-Chicago}", "target: @VMNetwork3-Chicago}", "there is no VM network 'VMNetwork3-Chicago'"),
    ("target: VMNetwork1-Chicago}", "target: @VMNetwork1-NewYork}", "is mapped to itself (F1)"),
    (
        "source: VMNetwork1-Chicago, target: VMNetwork1-NewYork",
        "source: @VMNetwork1-NewYork, target: VMNetwork2-Chicago",
        "mapped twice (F1)",
    ),
    ("target: VMNetwork1-Chicago}", "target: VMNetwork1-Chicago, target_site: @boston}", "there is no site 'boston'"),
    ("target: VMNetwork1-Chicago}", "target: @VMNetwork1-Chicago, target_site: new-york}", "site 'new-york' has no VM"),
    ("target: SILVER_TARGET}", "target: @SILVER_TARGETS}", "did you mean 'SILVER_TARGET'?"),
    ("source: BRONZE, target: BRONZE_TARGET", "source: @SILVER, target: BRONZE_TARGET", "mapped twice (G1)"),
]

ITEMS = [
    ("name: VM4\n", "name: @VM3\n", "protected item 'VM3' is named twice; first at"),
    ("name: VM4\n    pair: silver", "name: VM4\n    pair: @sliver", "there is no pair 'sliver'"),
    ("name: VM4\n    pair: silver", "name: VM4\n    policy: @gold\n    pair: silver", "pair 'silver' has no policy"),
    ("name: VM4\n    pair: silver", "name: VM4\n    additional_points: @5\n    pair: silver", "fewer than the 6"),
    (
        "location: SourceShare2",
        "location: @SourceVolume1",
        "is not available to host group 'SilverCloud1/silver-hosts'",
    ),
    ('"52:54:00:01:04:01"', '@"52:54:00:01:03:01"', "52:54:00:01:03:01 stands already at"),
    ('"52:54:00:01:04:01"', '@"53:54:00:01:04:01"', "should match pattern"),
    ("addresses: [10.1.1.14/24]", "addresses: [@10.1.1.13/24]", "10.1.1.13 stands already at"),
    ("addresses: [10.1.1.14/24]", "addresses: [@10.1.7.14/24]", "is in no subnet of VM network"),
    ("addresses: [10.1.1.14/24]", "addresses: [@10.1.1.14]", "must have a prefix length"),
    ("addresses: [10.1.1.14/24]", "addresses: [@10.1.1.14/33]", "IPv4 or IPv6"),
    (
        "subnet: web, addresses: [10.1.1.14/24]",
        "subnet: web6, addresses: [@10.1.1.14/24]",
        "is in subnet 'web', not in",
    ),
    ("subnet: web, addresses: [10.1.1.14/24]", "subnet: @webb, addresses: [10.1.1.14/24]", "did you mean"),
    (
        "network: VMNetwork2-NewYork, subnet: data, addresses: [10.1.2.15",
        "network: @VMNetwork2-Chicago, addresses: [10.1.2.15",
        "site 'new-york' has no VM network",
    ),
    ("network: VMNetwork2-NewYork, mode: dhcp}", "mode: dhcp, subnet: data}", "a card on no network has no subnet"),
    ("{target: vdb, size_bytes: 214748364800", "{target: @vda, size_bytes: 214748364800", "disk 'vda' is named twice"),
    (
        'os_disk: vda\n    memory_mib: 4096\n    vcpus: 2\n    nics:\n      - {mac: "52:54:00:01:02:01"',
        'os_disk: @vdc\n    nics:\n      - {mac: "52:54:00:01:02:01"',
        "'VM2' has no disk 'vdc'; did you mean 'vda'?",
    ),
    ("target: {size: small}", "target: {size: @smal}", "cloud 'GoldCloud2' has no size 'smal'; did you mean"),
    ("target: {size: small}", "target: {host: @chi-silver-1}", "cloud 'GoldCloud2' has no host"),
    ("target: {size: small}", "target: {nics: [{source: @2}]}", "'VM2' has 2 cards, counted from 0"),
    ("target: {size: small}", "target: {nics: [{source: 0}, {source: @0}]}", "card '0' is named twice"),
    (
        "target: {size: small}",
        "target: {nics: [{source: 0, network: @VMNetwork2-NewYork}]}",
        "'chicago' has no VM network",
    ),
    ("target: {size: small}", "target: {nics: [{source: 0, subnet: @webb}]}", "'VMNetwork1-Chicago' has no subnet"),
    ("target: {size: small}", "target: {nics: [{source: 1, subnet: @data}]}", "none is mapped"),
    ("target: {size: small}", "target: {nics: [{source: 0, addresses: [@10.2.2.1]}]}", "is in no subnet"),
    ("target: {size: small}", "target: {nics: [@{source: 0, connected: false, subnet: web}]}", "not connected has no"),
    (
        "target: {size: small}",
        "target: {disks: [@{target: vda, classification: GOLD_TARGET, location: TargetShare1}]}",
        "either a classification or a location",
    ),
    (
        "target: {size: small}",
        "target: {disks: [{target: vda, classification: @GOLD}]}",
        "'vmm-chicago' has no storage class",
    ),
    (
        "target: {size: small}",
        "target: {disks: [{target: vda, location: @TargetVolume2}]}",
        "is not available to host group",
    ),
    ("target: {size: small}", "target: {disks: [{target: @vdb, location: TargetShare1}]}", "'VM2' has no disk 'vdb'"),
    (
        'memory_mib: 4096\n    vcpus: 2\n    nics:\n      - {mac: "52:54:00:01:02:01"',
        'memory_mib: @9000\n    vcpus: 2\n    nics:\n      - {mac: "52:54:00:01:02:01"',
        "9000 are more than the 8192 of size",
    ),
]

GROUPS = [
    ("dns_zones:", "groups: [{name: shop, items: @[VM1]}]\ndns_zones:", "at least 2 items"),
    ("dns_zones:", "groups: [{name: shop, items: [VM1, @VM9]}]\ndns_zones:", "there is no protected item 'VM9'"),
    ("dns_zones:", "groups: [{name: shop, items: [VM1, @VM3]}]\ndns_zones:", "whose agent pauses all of it"),
    (
        "dns_zones:",
        "groups: [{name: a, items: [VM1, VM2]}, {name: b, items: [@VM1, VM5]}]\ndns_zones:",
        "is in group 'a' already (S5)",
    ),
    ("items: [VM3, VM4]", "consistency_groups: [@shop]", "there is no consistency group 'shop'"),
    ("    groups:\n      - items: [VM3, VM4]\n", "    groups:\n      - @needs: {}\n", "a group without machines"),
]

PLANS = [
    ("credential: dns-key, item", "credential: @dns-kee, item", "did you mean 'dns-key'?"),
    ("credential: dns-key, item: VM5", "credential: dns-key, item: @VM7", "there is no protected item 'VM7'"),
    ("items: [VM3, VM4]", "items: [VM3, @VM9]", "there is no protected item 'VM9'"),
    ("items: [VM3, VM4]", "items: [VM3, @VM3]", "is in a group twice of this plan (K1)"),
    ("items: [VM1, VM2]", "items: [VM1, VM2, @VM5]", "is in two groups of this plan (K1)"),
    ("source: vmm-new-york\n", "source: vmm-chicago\n", "'VM5' goes from 'vmm-new-york' to 'vmm-chicago'"),
    (
        "needs: {VM2: [VM1]}",
        "needs: {VM2: @[VM1], VM1: [VM2]}",
        "'VM2' needs 'VM1' needs 'VM2': none of them could start",
    ),
    ("needs: {VM2: [VM1]}", "needs: {VM2: @[VM2]}", "'VM2' needs 'VM2'"),
    ("needs: {VM2: [VM1]}", "needs: {VM2: [@VM4]}", "this plan has no item 'VM4'"),
    ("needs: {VM2: [VM1]}", "needs: {VM4: @[VM1]}", "this group has no item 'VM4'"),
    ("- items: [VM5]      # K1: group 1", "- items: [VM5]\n        needs: {VM5: [@VM1]}", "which is not in its group"),
    ("target: vmm-chicago\n", "target: @vmm-boston\n", "there is no server 'vmm-boston'"),
    ("name: warm-up", "name: @web-record", "action 'web-record' is named twice in this plan; first at"),
    ("record: www, item: VM1", "record: www, item: @VM8", "there is no protected item 'VM8'"),
    ("record: www, item: VM1", "nic: @2, record: www, item: VM1", "'VM1' has 2 cards, counted from 0"),
    ("zone: shop.example", "zone: @shop.exmple", "there is no DNS zone 'shop.exmple'; did you mean"),
    ("do: wait-for-port", "do: wait-for-prot", "'wait-for-prot' found using 'do'"),
    ("port: 53}", "port: @65536}", "less than or equal to 65535"),
    ("script: register.sh", "script: @../register.sh", "should match pattern"),
    ("sha256: e3b0", "sha256: @E3B0", "should match pattern"),
    ("sha256: e3b0", "timeout_seconds: @601\n            sha256: e3b0", "less than or equal to 600"),
    ("program: /usr/local", "program: @usr/local", "should match pattern"),
    ("kinds: [planned, unplanned]}", "kinds: [planned, @planned]}", "kind 'planned' is named twice"),
    ("kinds: [planned, unplanned]}", "kinds: [@sometimes]}", "Input should be 'test', 'planned'"),
    (
        "instruction: Write the test into the book",
        "instruction: x, kinds: @[planned]",
        "only a test failover has a cleanup",
    ),
    ("infrastructure: [VM5]", "infrastructure: [@VM55]", "did you mean 'VM5'?"),
    ("rpo_seconds: 60,", "rpo_seconds: @0,", "greater than 0"),
    ("      - items: [VM3, VM4]\n", "".join("      - items: [VM3]\n" for _ in range(8)), "at most 7 items"),
]

CASES = [*SITES, *PAIRS, *ITEMS, *GROUPS, *PLANS]


def test_the_worked_examples_ship_and_load() -> None:
    estate = load(EXAMPLES)
    assert estate.mapped_network("new-york", "VMNetwork1-NewYork", "chicago") == "VMNetwork1-Chicago"
    assert estate.mapped_network("new-york", "VMNetwork2-NewYork", "chicago") is None
    assert estate.clouds["SilverCloud2"].logical_networks == ("LogicalNetwork1-Chicago",)
    assert [one.step.does for one in estate.plans["gold"].actions] == [
        "wait-for-port", "manual", "dns-update", "run-in-guest", "script", "manual",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "problem"), CASES, ids=[f"{number}: {case[2]}" for number, case in enumerate(CASES)]
)
def test_what_does_not_agree_is_named_at_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    old = old.replace("@", "")
    assert old in TEXT
    changed = TEXT.replace(old, new, 1)
    where, said = refused(tmp_path, changed.replace("@", ""))
    assert problem in said
    if "@" in new:
        before = changed[: changed.index("@")]
        assert where == f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}", said


def test_a_consistency_group_joins_a_plan_whole(tmp_path: Path) -> None:
    text = TEXT.replace("dns_zones:", "groups: [{name: shop, items: [VM3, VM4]}]\ndns_zones:")
    file = tmp_path / "estate.yaml"
    file.write_text(text.replace("items: [VM3, VM4]\n", "consistency_groups: [shop]\n"), encoding="utf-8")
    assert load(file).plans["silver"].groups == (("VM3", "VM4"),)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = TEXT.replace("credential: dns-key, item", "credential: none, item").replace(
        "target: {size: small}", "target: {size: s}"
    )
    _, said = refused(tmp_path, text)
    lines = said.splitlines()
    assert lines[0].endswith("2 mistakes")
    assert "protected_items.1.target.size" in lines[1]
    assert "dns_zones.0.credential" in lines[2]


def test_no_more_mistakes_are_told_than_can_be_read(tmp_path: Path) -> None:
    text = TEXT.replace("10.1.1.", "10.3.3.")
    _, said = refused(tmp_path, text + "\n" + "".join(f"bad{number}: 1\n" for number in range(100)))
    assert "and 90 more" in said
    assert len(said.splitlines()) == 12


def test_a_secret_in_a_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    _, said = refused(tmp_path, TEXT.replace("kind: tsig-key,", "kind: tsig-key, secret: hunter2,"))
    assert "name a credential" in said
    assert "hunter2" not in said


def test_networks_of_one_name_at_two_sites_are_told_apart_by_the_site(tmp_path: Path) -> None:
    text = TEXT.replace("VMNetwork1-NewYork", "VMNetwork1").replace("VMNetwork1-Chicago", "VMNetwork1")
    _, said = refused(tmp_path, text)
    assert "VM network 'VMNetwork1' is at new-york, chicago: say source_site" in said
    sites = "source: VMNetwork1, source_site: {}, target: VMNetwork1, target_site: {}"
    plain = "{source: VMNetwork1, target: VMNetwork1}"
    text = text.replace(plain, f"{{{sites.format('new-york', 'chicago')}}}", 1)
    text = text.replace(plain, f"{{{sites.format('chicago', 'new-york')}}}", 1)
    file = tmp_path / "estate.yaml"
    file.write_text(text, encoding="utf-8")
    estate = load(file)
    assert estate.mapped_network("chicago", "VMNetwork1", "new-york") == "VMNetwork1"


REGION = (
    TEXT.replace(
        "policies:\n",
        """regions:
  - name: east-us
    stores: [{name: store-1}, {name: store-2, tier: premium}]
    vm_networks: [{name: cloud-net, subnets: [{name: web, cidr: 10.9.0.0/24}]}]
    sizes: [{name: d2, max_nics: 2}]
policies:
  - {name: cloud, target_type: region, copy_frequency_seconds: 300}
""",
    )
    .replace(
        "target: SilverCloud2, policy: silver",
        "region: east-us, store: store-1, policy: cloud",
    )
    .replace(
        "network_mappings:\n",
        "network_mappings:\n  - {source: VMNetwork1-NewYork, target: cloud-net}\n",
    )
)


def test_a_region_is_a_target_with_its_store_its_networks_and_its_sizes(tmp_path: Path) -> None:
    file = tmp_path / "estate.yaml"
    text = REGION.replace(
        "name: VM3\n", "name: VM3\n    target: {size: d2, nics: [{source: 0, addresses: [10.9.0.7]}]}\n"
    )
    file.write_text(text, encoding="utf-8")
    estate = load(file)
    item = estate.items["VM3"]
    assert (item.pair.region, item.pair.store, item.target_host) == ("east-us", "store-1", "")
    assert item.size == estate.regions["east-us"].size("d2")
    assert estate.target_site(item.pair) == "east-us"
    assert estate.mapped_network("new-york", "VMNetwork1-NewYork", "east-us") == "cloud-net"
    assert estate.plans["silver"].target == "east-us"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("store: store-1", "store: @store-3", "region 'east-us' has no store 'store-3'; did you mean"),
        ("region: east-us, store", "region: @west-us, store", "there is no region 'west-us'; did you mean"),
        (", store: store-1", "", "a target cloud, or a region and a store of it (D1)"),
        ("policy: cloud}", "policy: @silver}", "is for a site, the target is a region (E1)"),
        ("  - name: east-us\n    stores", "  - name: @chicago\n    stores", "'chicago' is a site already"),
        ("name: VM3\n", "name: VM3\n    target: {host: @chi-silver-1}\n", "a region has no hosts to choose"),
        ("name: VM3\n", "name: VM3\n    target: {size: @large}\n", "region 'east-us' has no size 'large'"),
        ("name: VM3\n", "name: VM3\n    target: {name: @a_b}\n", "is not 1 to 63 letters, digits and hyphens (J7)"),
        (
            "name: VM3\n",
            "name: VM3\n    target: {disks: [@{target: vda, location: TargetShare1}]}\n",
            "a region has its store",
        ),
        ("size_bytes: 21474836480, location: SourceVolume2", "size_bytes: @2199023255553", "larger than 2 TiB (J7)"),
        (
            "      - {target: vdb, size_bytes: 214748364800, location: SourceVolume2}\n",
            "".join(f"      - {{target: vd{letter}}}\n" for letter in "bcdefghijklmnopqr"),
            "17 data disks are more than 16 (J7)",
        ),
    ],
)
def test_what_a_region_does_not_take_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in REGION
    changed = REGION.replace(old, new, 1)
    where, said = refused(tmp_path, changed.replace("@", ""))
    assert problem in said
    if "@" in new:
        before = changed[: changed.index("@")]
        assert where == f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}", said
