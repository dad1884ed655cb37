"""A drill on the lab: the plan comes up in its bubble, the primaries live on, a killed controller leaves nothing."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill.core.verdicts import judge
from drill.lab.place import Place
from drill.lab.standing import LabHost
from drill.model.fact import MachinePredicted, Observed, PointChosen, RunEnded, StepEnded
from drill.model.verdict import Outcome
from drill.reporting.record import read
from fixtures.shop import ESTATE, Shop

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture
def nothing_left(shop: Shop) -> Iterator[None]:
    """The target host is afterwards as it was, seen by the system's own tools."""
    before = shop.picture("chi1")
    yield
    assert shop.picture("chi1") == before


@pytest.mark.spec("F5.d", "J1.c", "K1.d", "L1.a", "L3.d", "L4.a", "S6.b")
@pytest.mark.usefixtures("nothing_left")
def test_a_plan_comes_up_in_its_bubble_and_passes(shop: Shop) -> None:
    latest = {vm: shop.verb("points", vm)["points"][-1]["sequence"] for vm in ("db", "app", "web")}
    found = shop.verb("test-failover", "shop")
    facts = read(shop.reports / found["run"] / "run.jsonl")
    chosen = {one.vm: one.point.sequence for one in facts if isinstance(one, PointChosen)}
    cards = {
        one.vm: [(nic.subnet, nic.dropped) for nic in one.nics] for one in facts if isinstance(one, MachinePredicted)
    }
    hosts = {
        one.vm: (one.host, one.memory_mib > 0, len(one.disks)) for one in facts if isinstance(one, MachinePredicted)
    }
    started = [one.vm for one in facts if isinstance(one, StepEnded) and one.step.startswith("start machine")]
    seen = {(one.check, one.vm): one.observed for one in facts if isinstance(one, Observed)}
    assert found["verdict"] == "pass"
    assert all(chosen[vm] >= latest[vm] for vm in latest)  # a scheduled cycle may have come between
    assert cards == {
        "db": [("data", False)],
        "app": [("web", False), ("data", False)],
        "web": [("web", False), (None, True)],  # the size allows one card of two
    }
    assert hosts == {"db": ("chi1", True, 2), "app": ("chi1", True, 1), "web": ("chi1", True, 1)}
    assert {vm: seen["boot", vm]["host"] for vm in cards} == dict.fromkeys(cards, "chi1")  # type: ignore[index, call-overload]
    assert started == ["db", "app", "web"]
    assert {vm: seen["nic_count", vm]["count"] for vm in cards} == {"db": 1, "app": 2, "web": 1}  # type: ignore[index, call-overload]
    assert found["leftovers"] == []
    assert 0 < found["rpo_seconds"] < 60
    assert found["rpo_records"] > 0
    assert 0 < found["rto_seconds"] < 120


@pytest.mark.spec("J4.d")
@pytest.mark.usefixtures("nothing_left")
def test_an_address_that_another_machine_holds_is_refused_before_anything_is_made(shop: Shop, tmp_path: Path) -> None:
    text, place = ESTATE.read_text(encoding="utf-8"), tmp_path / "estate.yaml"
    for card in (0, 1):  # db's only card and app's second one are on VMNetwork2
        wanted = f"target: {{size: standard, nics: [{{source: {card}, addresses: [10.61.2.99]}}]}}"
        text = text.replace("target: {size: standard}", wanted, 1)
    place.write_text(text, encoding="utf-8")
    found = shop.verb("test-failover", "shop", "--estate", str(place), exit_code=20)
    facts = read(shop.reports / found["run"] / "run.jsonl")
    ended = next(one for one in facts if isinstance(one, RunEnded))
    assert "machine app: address 10.61.2.99 of card 1 is used by db" in ended.detail
    assert not [one.step for one in facts if isinstance(one, StepEnded) and one.step.startswith(("make", "define"))]
    refused = shop.verb("predict", "shop", "--estate", str(place), exit_code=5)
    assert [one["name"] for one in refused["findings"]] == ["app"]


@pytest.mark.spec("F2.b")
@pytest.mark.usefixtures("nothing_left")
def test_a_card_whose_network_is_not_mapped_comes_up_connected_to_nothing(shop: Shop, tmp_path: Path) -> None:
    text, place = ESTATE.read_text(encoding="utf-8"), tmp_path / "estate.yaml"
    text = text.replace("  - {source: VMNetwork2, target: VMNetwork2-Chicago}\n", "").replace(
        "one-nic}  ", "standard}  "
    )
    text = re.sub(r"(?s)plans:.*", "", text).replace(
        '      - {name: http, port: 80, request: "GET /health HTTP/1.0", expect: "200"}\n', ""
    )
    text = text.replace("    services:\n    ledgers: [/data/ledger]\n\n", "    ledgers: [/data/ledger]\n\n")
    plan = (
        "plans:\n  - name: lone\n    groups: [{items: [web]}]\n    objectives: {rpo_seconds: 600, rto_seconds: 600}\n"
    )
    place.write_text(text + plan, encoding="utf-8")
    found = shop.verb("test-failover", "lone", "--estate", str(place), exit_code=None)
    facts = read(shop.reports / found["run"] / "run.jsonl")
    (told,) = (one.nics for one in facts if isinstance(one, MachinePredicted))
    assert [(nic.network, nic.dropped) for nic in told] == [("VMNetwork1-Chicago", False), (None, False)]
    judged = {one.check: one for one in judge(facts).checks if one.vm == "web"}
    for check in ("nic_count", "subnet", "prediction"):
        assert judged[check].outcome is Outcome.PASS, judged[check].reason


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    "moment", [pytest.param("make overlay disks", marks=pytest.mark.long), "start machine", "check heartbeat"]
)
def test_a_controller_killed_during_the_test_goes_on_and_leaves_nothing(shop: Shop, moment: str) -> None:
    with shop.start("drill", "test-failover", "shop") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                break
        process.send_signal(signal.SIGKILL)
    refused = shop.verb("test-failover", "shop", exit_code=5)
    assert "jobs resume" in refused["error"]["remedy"]
    found = shop.verb("jobs", "resume")
    facts = read(shop.reports / found["run"] / "run.jsonl")
    assert found["verdict"] == "pass"
    assert found["leftovers"] == []
    removed = [one.vm for one in facts if isinstance(one, StepEnded) and one.step.startswith("remove machine")]
    assert sorted(removed) == ["app", "db", "web"]
    assert shop.verb("jobs", "resume") == {"resumed": None}


@pytest.mark.usefixtures("nothing_left")
def test_a_cancelled_test_takes_back_what_it_made(shop: Shop) -> None:
    with shop.start("drill", "test-failover", "shop") as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "make overlay disks" in line and not any("asked to stop" in one for one in said):
                runs = shop.verb("jobs", "list")["jobs"]
                shop.verb("jobs", "cancel", runs[-1]["run"])
                said.append("asked to stop")
        process.communicate(timeout=60)
    assert process.returncode == 20
    assert re.search(r"run \S+: cancelled", "".join(said))


@pytest.mark.usefixtures("nothing_left")
def test_an_interrupted_test_takes_back_what_it_made(shop: Shop) -> None:
    with shop.start("drill", "test-failover", "shop") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "start machine" in line:
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate(timeout=90)
    assert "taking back what was made" in said
    assert process.returncode == 20


@pytest.mark.spec("E8.b", "I1.a", "I2.a", "S4.c")
def test_an_item_is_paused_resumed_resynced_locked_unprotected_and_protected_again(shop: Shop) -> None:
    def status() -> dict[str, dict[str, Any]]:
        return {one["domain"]: one for one in shop.verb("status")["items"]}

    def sealed() -> dict[str, Any]:
        return dict(shop.verb("cycle", "web")["points"]["web"])

    first = sealed()
    assert shop.verb("pause", "web") == {"items": ["web"]}
    assert status()["web"]["state"] == "suspended"
    shop.verb("resume", "web")
    second = sealed()
    assert status()["web"]["state"] == "replicating"
    assert (second["epoch"], second["full"]) == (first["epoch"], False)  # the checkpoint was kept: nothing begins anew
    resynced = shop.verb("resync", "web")["points"]["web"]
    assert (resynced["epoch"], resynced["full"]) == (first["epoch"], False)
    name = f"{second['epoch']}/{second['sequence']}"
    shop.verb("points", "web", "--lock", name, "--reason", "an auditor asked")
    assert "an auditor asked" in str(shop.verb("points", "web"))
    shop.verb("points", "web", "--unlock", name)
    assert "an auditor asked" not in str(shop.verb("points", "web"))
    shop.verb("unprotect", "web")
    assert "web" not in status()
    assert name in {f"{one['epoch']}/{one['sequence']}" for one in shop.verb("points", "web")["points"]}
    shop.verb("protect", "web")
    assert sealed()["epoch"] != first["epoch"]


@pytest.mark.spec("A7.b", "B4.a", "B8.a")
def test_servers_register_with_what_their_hosts_and_guests_report_and_their_clouds_are_synchronised(shop: Shop) -> None:
    shop.verb("vault", "create", "shop", "--region", "lab")
    for server in ("vmm-new-york", "vmm-chicago"):
        key = str(shop.reports / f"{server}.key")
        shop.verb("vault", "key", "make", server, "--to", key)
        shop.verb("vault", "register", "--key-file", key, "--name", server, "--no-synchronise")
    told = {one["name"]: one for one in shop.verb("vault", "servers")["servers"]}
    assert sorted(told) == ["vmm-chicago", "vmm-new-york"]
    (node,) = told["vmm-new-york"]["nodes"]
    seen = {(one["place"], one["component"]): one["version"] for one in node["versions"]}
    for argv, component in ((["libvirtd", "--version"], "libvirt"), (["uname", "-r"], "kernel")):
        assert seen["ny1", component] in shop.lab.host("ny1").run(argv).stdout
    assert {place for place, component in seen if component == "agent"} == {"ny1/app", "ny1/db", "ny1/web"}
    assert "BEGIN CERTIFICATE" in node["particulars"]["certificate"]
    clouds = {one["facts"]["name"]: one for one in shop.verb("vault", "clouds", "list")["clouds"]}
    assert {name: one["facts"]["host_groups"] for name, one in clouds.items()} == {
        "GoldCloud1": {"all": ["ny1"]},
        "GoldCloud2": {"all": ["chi1"]},
    }
    assert [one["synchronised_us"] for one in clouds.values()] == [None, None]
    assert shop.verb("vault", "clouds", "sync", "GoldCloud2") == {"clouds": ["GoldCloud2"]}
    assert shop.verb("vault", "clouds", "sync") == {"clouds": ["GoldCloud1", "GoldCloud2"]}
    assert "A CERTIFICATE" not in str(shop.verb("vault", "unregister", "vmm-chicago"))
    assert [one["facts"]["name"] for one in shop.verb("vault", "clouds", "list")["clouds"]] == ["GoldCloud1"]


MARKER = "what-a-disk-holds-goes-from-host-to-host"


@pytest.mark.spec("R1.b")
def test_what_is_written_to_a_disk_is_at_the_target_and_nowhere_at_the_controller(shop: Shop) -> None:
    host = shop.lab.host("ny1")

    def ask(command: str, **arguments: object) -> Any:
        request = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(host.run(["virsh", "qemu-agent-command", "db", request]).stdout)["return"]

    script = f"for n in $(seq 400); do echo {MARKER}-$n; done > /data/marker && sync"
    pid = ask("guest-exec", path="/bin/sh", arg=["-c", script])["pid"]
    while not (ended := ask("guest-exec-status", pid=pid))["exited"]:
        pass
    assert ended["exitcode"] == 0
    shop.verb("cycle", "db")

    def holding(place: Place | LabHost, folder: str) -> str:
        return place.run(["sh", "-c", f"grep -rlaF {MARKER} {folder} || :"]).stdout.strip()

    assert holding(shop.lab.host("chi1"), "/var/lib/drill/replica")
    assert not holding(shop.lab.controller, "/var/lib/drill")
