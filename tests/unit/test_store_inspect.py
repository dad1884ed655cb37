"""`drill store`: a store tells of itself without being touched, and is proven byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill.errors import Damaged, Refused, Usage
from drill.host.files import LocalFiles
from drill.wiring.receiving import claim
from fixtures.command_line import CommandLine
from tests.contract.pair import ITEM, Pair


@pytest.fixture
def store(tmp_path: Path) -> Path:
    pair = Pair({"vda": 65536}, LocalFiles(tmp_path / "store"))
    pair.cycle()
    pair.host.write("vda", 0, b"x")
    pair.cycle()
    return tmp_path / "store"


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_points_and_machine_are_listed_and_nothing_is_written(store: Path, drill: CommandLine) -> None:
    before = state(store)
    said = drill("store", "inspect", str(store), "--json")
    assert said.exit_code == 0
    (item,) = said.document["items"]
    assert (item["item"], item["machine"], item["missing"]) == (ITEM, "vm", [])
    assert [point["point"]["sequence"] for point in item["points"]] == [1, 2]
    assert state(store) == before


def test_lines_name_the_files_of_each_point(store: Path, drill: CommandLine) -> None:
    lines = drill("store", "inspect", str(store)).output.splitlines()
    assert ITEM in lines[0]
    assert ".raw" in lines[1]
    assert ".qcow2" in lines[2]


def test_a_missing_file_is_named(store: Path, drill: CommandLine) -> None:
    base = next((store / ITEM).glob("base-*"))
    base.unlink()
    said = drill("store", "inspect", str(store))
    assert said.exit_code == Damaged.exit_code
    assert f"missing: {base.name}" in said.output


def test_a_damaged_manifest_is_an_error(store: Path, drill: CommandLine) -> None:
    path = store / ITEM / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert drill("store", "inspect", str(store)).exit_code == Damaged.exit_code


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, drill: CommandLine) -> None:
    assert drill("store", "inspect", str(tmp_path / "nowhere")).exit_code == Usage.exit_code
    assert not (tmp_path / "nowhere").exists()


def test_a_scrub_proves_a_store_and_finds_a_flipped_bit(store: Path, drill: CommandLine) -> None:
    said = drill("store", "scrub", str(store), "--all", "--json")
    assert said.exit_code == 0
    assert [target for target, _ in said.document["items"][0]["proven"]] == ["vda"]
    path = next((store / ITEM).glob("point-*"))
    data = bytearray(path.read_bytes())
    data[65536 * 2] ^= 1
    path.write_bytes(data)
    again = drill("store", "scrub", str(store))
    assert again.exit_code == 0, "it was its turn a moment ago"
    said = drill("store", "scrub", str(store), "--all")
    assert said.exit_code == Damaged.exit_code
    assert "damaged" in said.output
    assert "DAMAGED: vda" in drill("store", "inspect", str(store)).output


def test_a_store_that_an_agent_has_is_not_scrubbed_by_another(store: Path, drill: CommandLine) -> None:
    claim(str(store))
    assert drill("store", "scrub", str(store)).exit_code == Refused.exit_code
