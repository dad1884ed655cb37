"""`drill report`: an old run is drawn again, with no lab and no database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drill.errors import Damaged, Usage
from drill.reporting.record import RunWriter
from fixtures.command_line import CommandLine
from tests.runs import passing

FACTS = passing()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs that holds one, `old`."""
    monkeypatch.setenv("DRILL_REPORTS_DIR", str(tmp_path))
    with RunWriter(tmp_path / "old") as writer:
        writer.append(*FACTS)
    return tmp_path


def test_a_run_is_drawn_again_by_its_id(drill: CommandLine, runs: Path) -> None:
    spoken = drill("report", "old")
    assert (spoken.exit_code, spoken.errors) == (0, "")
    assert spoken.output.splitlines()[-1] == f"report   {runs / 'old' / 'report.html'}"
    assert "All 44 checks passed" in (runs / "old" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "begins"), [("html", "<!DOCTYPE html>"), ("junit", "<?xml"), ("json", "{")])
def test_each_format_goes_where_it_is_told(drill: CommandLine, runs: Path, kind: str, begins: str) -> None:
    target = runs / "elsewhere" / "x"
    spoken = drill("report", str(runs / "old"), "--format", kind, "--output", str(target), "--json")
    assert (spoken.exit_code, spoken.document["report"], spoken.document["verdict"]) == (0, str(target), "pass")
    assert target.read_text(encoding="utf-8").lstrip().startswith(begins)


def test_a_run_cut_short_is_drawn_and_unknown(drill: CommandLine, runs: Path) -> None:
    path = runs / "old" / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-900])
    spoken = drill("report", "old", "--json")
    assert (spoken.exit_code, spoken.document["verdict"]) == (0, "unknown")
    assert "torn" in spoken.errors


def test_a_changed_record_is_refused_by_line(drill: CommandLine, runs: Path) -> None:
    path = runs / "old" / "run.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"state":"running"', b'"state":"crashed"', 1))
    spoken = drill("report", "old", "--json")
    assert spoken.exit_code == Damaged.exit_code
    assert "run.jsonl:" in spoken.document["error"]["message"]
    assert not (runs / "old" / "report.html").exists()


def test_a_run_that_is_not_there_is_a_usage_error(drill: CommandLine, runs: Path) -> None:
    spoken = drill("report", "older", "--json")
    assert spoken.exit_code == Usage.exit_code
    assert json.loads(spoken.output)["error"]["id"] == "Usage"
