"""Workloads: what a page says reaches the guest's files and the domain, and mistakes are told with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill.errors import BadInput, Usage
from drill.hypervisor import domain_xml
from drill.lab import workload

PAGE = """
name: one
machines:
  - name: vm
    disks: [{target: vda, size_bytes: 67108864}]
    nics: [{mac: "52:54:00:61:09:01", network: net, %s}]
"""


def page(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "page.yaml"
    file.write_text(text)
    return file


def test_the_shop_has_the_cards_and_disks_that_the_drill_speaks_of() -> None:
    shop = workload.load("shop")
    shape = {one.name: (len(one.disks), len(one.nics), one.role) for one in shop.machines}
    assert shape == {"db": (2, 1, "db"), "app": (1, 2, "app"), "web": (1, 2, "web")}
    assert shop.machine("db").disks[1].size_bytes % 65536 != 0


def test_identity_is_one_line_per_address(tmp_path: Path) -> None:
    nic = "addresses: [10.0.0.2/24, 10.0.1.2/24], gateway: 10.0.0.1"
    [machine] = workload.load(page(tmp_path, PAGE % nic)).machines
    assert machine.identity() == {
        "hostname": "vm\n",
        "interfaces": (
            "52:54:00:61:09:01 static 10.0.0.2/24 10.0.0.1\n"
            "52:54:00:61:09:01 static 10.0.1.2/24 -\n"
        ),
    }  # fmt: skip


def test_flags_and_role_are_files_of_their_own() -> None:
    app = workload.load("shop").machine("app")
    flagged = app.model_copy(update={"agent": False, "churn_seconds": 2}).identity()
    assert {key: flagged[key] for key in ("role", "upstream", "no-agent", "churn")} == {
        "role": "app\n",
        "upstream": "10.61.2.11\n",
        "no-agent": "",
        "churn": "2\n",
    }


@pytest.mark.parametrize("name", ["shop", "postgres"])
def test_a_domain_read_back_is_the_machine_that_was_written(name: str) -> None:
    page = workload.load(name)
    for primary in page.machines:
        machine = workload.machine_of(page, primary)
        read = domain_xml.parse(domain_xml.render(machine, None, "tcg"))
        assert (read.uuid, read.boot, read.nics) == (machine.uuid, machine.boot, machine.nics)
        assert [disk.path for disk in read.disks] == [disk.path for disk in machine.disks]


def test_a_machine_has_the_same_uuid_whenever_it_is_made_and_none_shares_it() -> None:
    shop = workload.load("shop")
    first, second = ([workload.machine_of(shop, one).uuid for one in shop.machines] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(PAGE % "dhcp: true, addresses: [10.0.0.2/24]", "not both", id="dhcp and addresses"),
        pytest.param(PAGE % "adresses: []", "Extra inputs", id="an unknown key"),
        pytest.param((PAGE % "dhcp: true").replace("vda", "vdb"), "the first is vda", id="no first disk"),
        pytest.param((PAGE % "dhcp: true").replace("67108864", "67108865"), "multiple of 512", id="half a sector"),
        pytest.param((PAGE % "dhcp: true").replace("52:54", "53:54"), "pattern", id="a group address"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as caught:
        workload.load(page(tmp_path, text))
    assert ":" in caught.value.where.removeprefix(str(tmp_path))


def test_a_workload_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Usage, match="there is no workload nothing"):
        workload.load("nothing")
