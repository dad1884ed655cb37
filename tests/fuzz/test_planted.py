"""Bugs that are planted in a copy of the engine are found: the walker can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill.errors import BadInput
from drill.fuzz import patches, planted
from fixtures.command_line import ROOT, CommandLine

QUICK = {"ack_early": {"I4", "I21"}, "clear_early": {"I5"}, "torn_instant": {"I2", "I20"}}
ADDED_MAX = 6
DIGESTS = "drill/replication/digests.py"


def parsed(path: Path) -> tuple[str, tuple[patches.Hunk, ...]]:
    return patches.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", planted.plants(), ids=lambda path: path.stem)
def test_every_plant_fits_the_engine_as_it_is_and_is_small(path: Path) -> None:
    says, hunks = parsed(path)
    added = [line for line in path.read_text().splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert says.endswith(").")
    assert len(added) <= ADDED_MAX
    for hunk in hunks:
        text = (ROOT / hunk.file).read_text(encoding="utf-8")
        assert text.count(hunk.old) == 1, hunk.file
        compile(text.replace(hunk.old, hunk.new), hunk.file, "exec")


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_and_its_invariant_named(name: str) -> None:
    found = planted.hunt(planted.PLANTS / f"{name}.patch", seed=1, seconds=30)
    assert found.invariant in QUICK[name], found


def test_a_second_receiver_that_is_let_in_is_found() -> None:
    found = planted.hunt(planted.PLANTS / "two_receivers.patch", seed=1, seconds=60)
    assert found.invariant in {"I3", "I4", "I9", "I29"}, found


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("path", planted.plants(), ids=lambda path: path.stem)
def test_every_planted_bug_is_found_within_a_minute(path: Path, seed: int) -> None:
    found = planted.hunt(path, seed)
    assert found.is_found, found
    assert found.seconds <= planted.SECONDS


def test_the_verb_plants_a_patch_of_anybodys(drill: CommandLine, tmp_path: Path) -> None:
    mine = tmp_path / "mine.patch"
    mine.write_text((planted.PLANTS / "partial_disk.patch").read_text())
    said = drill("fuzz", "planted", "--patch", str(mine), "--seconds", "30", "--json")
    assert (said.exit_code, said.document["found"], said.document["missed"]) == (0, 1, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("nothing", "no unified diff", id="no patch"),
        pytest.param("--- a/drill/x.py\n+++ b/drill/x.py\n@@\n-old\n+new\n", "no file", id="no such file"),
        pytest.param("--- a/../x\n+++ b/../x\n@@\n-old\n+new\n", "no file", id="outside"),
        pytest.param("--- a/drill/data.py\n+++ b/drill/data.py\n@@\n-gone\n+new\n", "0 times", id="other lines"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.patch"
    path.write_text(text)
    with pytest.raises(BadInput, match=problem):
        planted.hunt(path, seed=1, seconds=1)


def test_every_plant_of_the_catalogue_that_concerns_the_engine_ships() -> None:
    assert len(planted.CATALOGUE) == 36
    assert {path.stem for path in planted.plants()} >= planted.CATALOGUE


def test_a_walk_that_falls_over_the_patch_itself_has_not_found_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.patch"
    old = '        self._chunks = f"{path}.chunks"\n'
    broken.write_text(f"--- a/{DIGESTS}\n+++ b/{DIGESTS}\n@@\n-{old}+        self.missing  # it breaks\n")
    found = planted.hunt(broken, seed=1, seconds=2)
    assert (found.invariant, found.is_found) == ("unforeseen", False)


def test_no_plant_of_the_catalogue_is_both_there_and_not_yet_plantable() -> None:
    assert not {path.stem for path in planted.plants()} & planted.NOT_YET.keys()
