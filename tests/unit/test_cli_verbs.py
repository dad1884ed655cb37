"""The root command: verbs are files, and one that is broken harms no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drill import __version__
from drill.errors import Usage
from fixtures.command_line import ROOT, CommandLine


@pytest.fixture
def copy_of_drill(tmp_path: Path) -> Path:
    """A copy of the package, to plant broken verbs in."""
    shutil.copytree(ROOT / "drill", tmp_path / "drill", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "drill", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_version_is_the_package_s(drill: CommandLine) -> None:
    assert drill("--version").output == f"drill, version {__version__}\n"


def test_an_unknown_verb_is_a_usage_error(drill: CommandLine) -> None:
    said = drill("dance", "--json")
    assert said.exit_code == Usage.exit_code
    assert said.document["error"]["id"] == "Usage"


def test_a_verb_that_cannot_be_imported_breaks_only_itself(copy_of_drill: Path) -> None:
    (copy_of_drill / "drill/cli/broken_verb.py").write_text("import a_module_that_nobody_has\n")
    helped = run_in(copy_of_drill, "--help")
    assert helped.returncode == 0
    assert "broken-verb" in helped.stdout
    assert "cannot be loaded" in helped.stdout
    assert run_in(copy_of_drill, "conformance", "--help").returncode == 0
    assert run_in(copy_of_drill, "broken-verb").returncode == 1


def test_the_root_command_imports_no_verb_and_no_heavy_module(copy_of_drill: Path) -> None:
    script = "import sys, drill.cli.main as m; m.root.list_commands(None); print(*sys.modules)"
    argv = [sys.executable, "-c", script]
    said = subprocess.run(argv, cwd=copy_of_drill, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(said.stdout.split())
    assert "drill.cli.conformance" not in loaded
    assert loaded.isdisjoint({"dbos", "sqlalchemy", "libvirt", "nbd", "pydantic", "jinja2"})


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    script = f"{sys.executable} -m drill conformance --last 2>/dev/null | head -c 0; echo ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.strip() == "141"
    assert said.stderr == ""
