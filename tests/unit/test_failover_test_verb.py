"""What `drill test-failover` refuses before a run begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill import data
from fixtures.command_line import CommandLine


def test_without_a_certificate_no_run_begins(
    drill: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRILL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DRILL_IDENTITY", raising=False)
    monkeypatch.setenv("DRILL_REPORTS_DIR", str(tmp_path / "reports"))
    said = drill("test-failover", "shop", "--estate", str(data.path("fixtures", "estates", "shop.yaml")))
    assert said.exit_code != 0
    assert "there is no certificate in" in said.errors
    assert "ROLE is controller" in said.errors
    assert not (tmp_path / "reports").exists()
    assert not (tmp_path / "state").exists()
