"""The house itself: layers that hold and can break, a wheel that carries its data, versions said once."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import drill
from fixtures.command_line import ROOT
from fixtures.installed import Installed

LINT = Path(sys.executable).with_name("lint-imports")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(LINT), "--no-cache"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_no_import_crosses_a_layer() -> None:
    said = lint_imports(ROOT)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        pytest.param("core/planted.py", "import time", "core, model and replication", id="core reads a clock"),
        pytest.param("model/planted.py", "import os", "core, model and replication", id="model touches the system"),
        pytest.param("replication/planted.py", "import threading", "core, model and", id="the engine makes a thread"),
        pytest.param("lab/planted.py", "import libvirt", "Only hypervisor", id="lab imports libvirt"),
        pytest.param("host/planted.py", "import nbd", "Only hypervisor", id="host imports nbd"),
        pytest.param(
            "orchestration/planted.py", "import dbos", "Only orchestration/durable", id="a second DBOS importer"
        ),
        pytest.param("sim/planted.py", "import drill.core", "The simulated world", id="sim shares code with core"),
        pytest.param("vault/planted.py", "import drill.host", "The layers", id="a sibling"),
        pytest.param("estate/planted.py", "import drill.wiring", "The layers", id="a layer above"),
        pytest.param("planted/__init__.py", "", "The layers", id="a package that no layer names"),
    ],
)
def test_an_import_that_crosses_a_layer_is_found(tmp_path: Path, file: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "drill", tmp_path / "drill", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    place = tmp_path / "drill" / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"{line}\n")
    said = lint_imports(tmp_path)
    assert said.returncode == 1
    rows = said.stdout.replace(" \n", " ").splitlines()  # long rows are wrapped
    assert [row for row in rows if "BROKEN" in row and row.startswith(contract)], said.stdout
    assert "drill.planted" in said.stdout or ".planted -> " in said.stdout


def test_pure_layers_ask_datetime_for_no_time() -> None:
    asking = {"now", "utcnow", "today"}
    for folder in ("core", "model", "replication"):
        for file in sorted((ROOT / "drill" / folder).rglob("*.py")):
            names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
            assert not names & asking, file


def test_the_wheel_carries_all_data_and_nothing_generated(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for folder in ("docs/spec", "fixtures", "hosts", "reports/templates", "reports/assets"):
        files = [file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix != ".pyc"]
        assert files, folder
        assert {f"drill/_data/{file.relative_to(ROOT)}" for file in files} <= names
    assert not [name for name in names if "/out/" in name or name.startswith(("tests/", "docs/"))]
    assert "drill/plugin.py" in names


def test_an_installed_wheel_finds_its_data(installed: Installed) -> None:
    script = "import drill, drill.data; print(drill.__file__); print(drill.data.path('hosts', 'lab-two-site.yaml'))"
    package, topology = map(Path, installed.run("-c", script).split())
    assert package.is_relative_to(installed.python.parents[1])
    assert topology.is_relative_to(installed.python.parents[1])
    assert topology.is_file()


def test_an_installed_wheel_offers_its_verbs_and_no_conformance_without_tests(installed: Installed) -> None:
    assert installed.run("-m", "drill", "--version") == f"drill, version {drill.__version__}\n"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        installed.drill("conformance", "--last")
    assert "an installed drill has no tests" in refused.value.stdout


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {drill.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_a_lower_bound_and_ours_are_capped_at_the_next_major() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(">=" in wanted for wanted in project["dependencies"])
    assert [wanted for wanted in project["dependencies"] if ",<" not in wanted] == ["libvirt-python>=9"]


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[>=<\[]", wanted)[0].lower() for wanted in project["dependencies"]}
    known = packages_distributions()
    given = {"drill", "nbd", "pytest"}  # nbd is python3-libnbd's; the plugin is imported by pytest alone
    for file in (ROOT / "drill").rglob("*.py"):
        for module in imported(file) - set(sys.stdlib_module_names) - given:
            names = {name.lower().replace("_", "-") for name in known.get(module, ["libvirt-python"])}
            assert names & declared, f"{file}: {module}"


def imported(file: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}
