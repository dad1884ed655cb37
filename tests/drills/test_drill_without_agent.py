"""A guest without an agent is drilled too: its console, its disks and its screen are the evidence.

It cannot try its walls from inside, so a plan of such machines alone leaves *isolation* unknown; here db tries them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from drill.lab import workload
from drill.model.fact import ChecksPlanned, Observed, ScreenSeen
from drill.reporting.record import read
from fixtures.shop import ESTATE, Shop

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]
SILENT = {
    "name": "silent",
    "agent": False,
    "disks": [{"target": "vda", "size_bytes": 32 << 20}],
    "nics": [{"mac": "52:54:00:61:01:44", "network": "VMNetwork1", "addresses": ["10.61.1.44/24"]}],
}
ITEM = """
  - name: silent
    pair: gold
    source_host: ny1
    target: {size: standard}
    agent: false
"""
PLAN = """
  - name: silent
    groups:
      - items: [db, silent]
    objectives: {rpo_seconds: 60, rto_seconds: 120}
"""


@pytest.mark.spec("L8.a")
def test_a_guest_without_agent_is_judged_by_console_and_disks(shop: Shop, tmp_path: Path) -> None:
    made = workload.Workload.model_validate({"name": "silent", "machines": [SILENT]})
    workload.create(made, shop.lab.host("ny1"), shop.lab.accelerator.name)
    estate = tmp_path / "estate.yaml"
    text = ESTATE.read_text()
    estate.write_text(text.replace("\nplans:\n", f"{ITEM}\nplans:\n") + PLAN)
    shop.verb("protect", "silent", "--estate", str(estate))
    found = shop.verb("test-failover", "silent", "--estate", str(estate))
    facts = read(shop.reports / found["run"] / "run.jsonl")
    owed = next(one.checks for one in facts if isinstance(one, ChecksPlanned))
    beats = next(one for one in facts if isinstance(one, Observed) and one.check == "heartbeat")
    assert found["verdict"] == "pass"
    shown = {"boot", "heartbeat", "disk_content", "point_digest", "primary"}
    assert {check for check, vm in owed if vm == "silent"} == shown
    assert len(beats.observed["beats"]) >= 2  # type: ignore[index, call-overload, arg-type]
    assert any(isinstance(one, ScreenSeen) for one in facts)
