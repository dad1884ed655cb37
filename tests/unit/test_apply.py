"""`drill apply`, `diff` and `export`: all or nothing, once or twice alike, and the way back is exact."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from drill import data
from drill.cli.main import main
from drill.errors import BadInput, Refused
from drill.estate.load import load
from drill.estate.writing import write
from drill.estate.yaml import parse
from drill.host.desired import FILE, DesiredFile
from drill.model.vault import CloudFacts, Desired, Kind
from fixtures.command_line import ROOT
from tests import large_estate
from tests.vaults import Bank, JumpingClock, register

EXAMPLES = data.path("fixtures", "new-york-chicago.yaml")
SHIPPED = [EXAMPLES, *sorted(data.path("fixtures", "estates").glob("*.yaml"))]
CHECK_SECONDS_MAX = 5.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The controller's own folder, which is not there yet."""
    folder = tmp_path / "state"
    monkeypatch.setenv("DRILL_STATE_DIR", str(folder))
    monkeypatch.delenv("DRILL_VAULT", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


class Verbs:
    """Runs verbs and gives their documents."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> dict[str, object]:
        found = main([*map(str, arguments), "--json"])
        said = self._capsys.readouterr()
        assert found == code, said.err
        document: dict[str, object] = json.loads(said.out)
        return document


@pytest.fixture
def drill(capsys: pytest.CaptureFixture[str]) -> Verbs:
    return Verbs(capsys)


def changed(tmp_path: Path, *replaced: tuple[str, str]) -> Path:
    """The worked examples with texts replaced."""
    text = EXAMPLES.read_text(encoding="utf-8")
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    file = tmp_path / "changed.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def changes(document: dict[str, object]) -> list[str]:
    """`+ kind name`, `~ kind name field before after`."""
    signs = {"added": "+", "removed": "-", "changed": "~"}
    said = []
    for one in document["changes"]:  # type: ignore[attr-defined]
        line = f"{signs[one['change']]} {one['kind']} {one['name']}"
        fields = [f"{line} {each['field']}: {each['before']} → {each['after']}" for each in one["fields"]]
        said += fields or [line]
    return said


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_same_file_again_changes_nothing_and_what_is_exported_means_the_same(
    drill: Verbs, tmp_path: Path, file: Path
) -> None:
    first = drill("apply", file)
    assert (first["added"], first["changed"], first["generation"]) == (len(first["changes"]), 0, 1)  # type: ignore[arg-type]
    again = drill("apply", file)
    assert (again["changes"], again["generation"]) == ([], 1)
    exported = tmp_path / "exported.yaml"
    drill("export", "--output", exported)
    assert drill("diff", exported)["changes"] == []
    assert drill("apply", exported)["generation"] == 1
    here, there = load(file), load(exported)
    assert (here.vault, here.hosts, here.clouds, here.host_groups) == (
        there.vault, there.hosts, there.clouds, there.host_groups,
    )  # fmt: skip
    assert (here.items, here.plans, here.policies, here.pairs) == (
        there.items,
        there.plans,
        there.policies,
        there.pairs,
    )
    assert set(here.networks) == set(there.networks)


def test_a_check_writes_nothing(drill: Verbs, state: Path) -> None:
    told = drill("apply", "--check", EXAMPLES)
    assert (told["written"], told["generation"]) == (False, 0)
    assert told["added"] == len(told["changes"])  # type: ignore[arg-type]
    assert not state.exists()


def test_every_difference_is_shown_by_object_and_field(drill: Verbs, tmp_path: Path) -> None:
    drill("apply", EXAMPLES)
    file = changed(
        tmp_path,
        ("copy_frequency_seconds: 900", "copy_frequency_seconds: 300"),
        ("  - {source: BRONZE, target: BRONZE_TARGET}\n", ""),
        ("sites:\n", "sites:\n  - {name: boston}\n"),
        ("addresses: [10.1.1.14/24]", "addresses: [10.1.1.24/24]"),
    )
    assert changes(drill("diff", file)) == [
        "~ item VM4 nics.0.addresses.0: 10.1.1.14/24 → 10.1.1.24/24",
        "~ policy silver copy_frequency_seconds: 900 → 300",
        "+ site boston",
        "- storage-mapping vmm-new-york/BRONZE to vmm-chicago",
    ]
    assert drill("apply", file)["generation"] == 2
    assert drill("diff", file)["changes"] == []


def test_what_only_says_a_default_is_no_difference(drill: Verbs, tmp_path: Path) -> None:
    drill("apply", EXAMPLES)
    said = (
        ("copy_frequency_seconds: 900", "compression: true, window_minutes: 120, copy_frequency_seconds: 900"),
        (", window_minutes: 120}", "}"),
        ("source: VMNetwork1-NewYork, target", "source: VMNetwork1-NewYork, source_site: new-york, target"),
    )
    assert drill("diff", changed(tmp_path, *said))["changes"] == []


def test_the_order_of_subnets_is_a_difference(drill: Verbs, tmp_path: Path) -> None:
    """F5: the first subnet counts."""
    drill("apply", EXAMPLES)
    spare = "              - {name: spare, cidr: 10.2.9.0/24, gateway: 10.2.9.1, pool: [10.2.9.100, 10.2.9.199]}\n"
    following = "      - name: LogicalNetwork2-Chicago\n"
    file = changed(tmp_path, (spare, ""), (following, f"{spare}{following}"))
    lines = changes(drill("diff", file))
    assert lines
    assert all(line.startswith("~ vm-network vmm-chicago/LogicalNetwork1-Chicago/VMNetwork1-Chicago") for line in lines)


@pytest.mark.spec("D4.a")
def test_another_target_for_a_pair_is_refused_and_nothing_is_written(drill: Verbs, tmp_path: Path) -> None:
    drill("apply", EXAMPLES)
    file = changed(tmp_path, ("SilverCloud2", "BronzeCloud2"))
    error = drill("apply", file, code=Refused.exit_code)["error"]
    assert "cannot be changed" in str(error)
    assert drill("diff", EXAMPLES)["changes"] == []


def test_a_file_with_a_mistake_touches_nothing(drill: Verbs, tmp_path: Path, state: Path) -> None:
    drill("apply", EXAMPLES)
    before = (state / "controller" / "new-york-chicago" / FILE).read_bytes()
    file = changed(tmp_path, ("target: {size: small}", "target: {size: tiny}"))
    drill("apply", file, code=BadInput.exit_code)
    drill("apply", tmp_path / "absent.yaml", code=2)
    assert (state / "controller" / "new-york-chicago" / FILE).read_bytes() == before


def test_verbs_without_a_file_take_what_was_applied(drill: Verbs) -> None:
    assert "there is no estate file" in str(drill("jobs", "list", code=2))
    drill("apply", EXAMPLES)
    assert drill("jobs", "list")


def test_two_applied_estates_are_told_apart_by_the_vaults_name(drill: Verbs) -> None:
    assert "no estate was applied" in str(drill("export", code=2))
    drill("apply", SHIPPED[1])
    drill("apply", SHIPPED[2])
    assert "several estates" in str(drill("export", code=2))
    assert drill("export", "shop")["vault"] == "shop"


def test_what_somebody_wrote_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    store = DesiredFile(tmp_path)
    one, two = (Desired(kind=Kind.SITE, name=name, document="{}") for name in ("one", "two"))
    assert store.write([one], [], read_at=0) == 1
    with pytest.raises(Refused, match="somebody else"):
        store.write([two], [], read_at=0)
    assert store.read().objects == (one,)
    assert store.write([one], [(Kind.SITE, "absent")], read_at=1) == 1
    assert store.write([two], [(Kind.SITE, "one")], read_at=1) == 2
    assert store.read().objects == (two,)


def test_the_file_of_desired_objects_is_its_owners_alone_and_whole(tmp_path: Path) -> None:
    store = DesiredFile(tmp_path / "controller")
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / f"{FILE}.new").write_bytes(b"{")  # left by a writer that was killed
    store.write([Desired(kind=Kind.SITE, name="one", document="{}")], [], read_at=0)
    assert stat.S_IMODE((tmp_path / "controller" / FILE).stat().st_mode) == 0o600
    (tmp_path / "controller" / FILE).write_bytes(b'{"generation": 1, "objects": 7}')
    with pytest.raises(BadInput, match=r"desired\.json"):
        store.read()


def told(*clouds: str) -> tuple[CloudFacts, ...]:
    return tuple(CloudFacts(name=one, profile="kvm", host_groups={"all": ("h",)}) for one in clouds)


def test_a_vault_takes_the_estate_once_its_clouds_are_registered(
    drill: Verbs, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B8: pairs of clouds that no server registered are refused, and then nothing else is written either."""
    bank = Bank(f"sqlite:///{state}/vault.sqlite", JumpingClock())
    with bank.make() as vault:
        assert "no registered server has the cloud" in str(drill("apply", SHIPPED[2], code=Refused.exit_code))
        assert vault.desired.read().objects == ()
        register(vault, "vmm-new-york", clouds=told("GoldCloud1"))
        register(vault, "vmm-chicago", clouds=told("GoldCloud2"), site="chicago")
        assert drill("apply", SHIPPED[2])["generation"] == 1
        assert drill("apply", SHIPPED[2])["changes"] == []
        assert {one.name: one.source for one in vault.desired.pairs()} == {"gold": "GoldCloud1"}
    assert drill("export")["vault"] == "shop"
    assert "is 'shop', the estate is of 'postgres'" in str(drill("apply", SHIPPED[1], code=Refused.exit_code))


@pytest.mark.parametrize(
    "value",
    ["no", "12", "-0", "1.5", ".5e3", "1.5e3", "true", "~", "", "null", "010", "0x10", "1:30", "2026-11-20", "<<", "=",
     "52:54:00:12:34:56", " led", "trailed ", "a: b", "# c", "a #b", "- d", "é", "two\nlines", "\u202e", "'", '"', "%",
     "@", "*x", "&x", "!y", "|", ">", "{", "[", "\t", "?", "x" * 300],
)  # fmt: skip
def test_every_text_is_written_so_that_it_is_read_back(value: str) -> None:
    written: dict[str, object] = {"key": value, "list": [value, {"deep": value}]}
    assert parse(write(written).encode(), "f").value == written  # type: ignore[arg-type]


def test_a_thousand_machines_are_checked_in_five_seconds_of_a_processor(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(large_estate.text(1000), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "drill", "apply", "--check", "--json", str(file)]
    said = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(said.stdout)["added"] > 1000
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds <= CHECK_SECONDS_MAX, f"{seconds:.2f} s"
