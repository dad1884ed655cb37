"""An installed, non-editable wheel does on a bare folder what a checkout does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fixtures.command_line import ROOT
from fixtures.installed import Installed

pytestmark = pytest.mark.lab


@pytest.mark.timeout(300)
def test_an_installed_wheel_brings_a_lab_up_and_takes_it_down(installed: Installed, tmp_path: Path) -> None:
    env = {"DRILL_STATE_DIR": str(tmp_path / "state")}
    name = f"wheel{os.getpid() % 10000}"
    try:
        (stands,) = installed.drill("lab", "up", "--name", name, timeout_seconds=200, env=env)["labs"]
    finally:
        installed.drill("lab", "down", name, timeout_seconds=60, env=env)
    assert stands["name"] == name
    assert all(host["libvirtd"] for host in stands["hosts"])
    assert installed.drill("lab", "status", env=env) == {"labs": []}


def test_an_installed_wheel_renders_a_report(installed: Installed, tmp_path: Path) -> None:
    run = tmp_path / "20261101-120000-sample"
    run.mkdir()
    shutil.copy(ROOT / "reports" / "sample" / "run.jsonl", run)
    document = installed.drill("report", str(run))
    assert document["report"] == str(run / "report.html")
    assert "<!DOCTYPE html>" in (run / "report.html").read_text()
