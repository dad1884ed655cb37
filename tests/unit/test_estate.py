"""Estates in YAML: what is read, and that every mistake is named with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill import data
from drill.errors import BadInput
from drill.estate.load import load
from drill.estate.yaml import parse

SHOP = data.path("fixtures", "estates", "shop.yaml")
POSTGRES = data.path("fixtures", "estates", "postgres.yaml")


def test_the_shop_ships_and_loads() -> None:
    estate = load(SHOP)
    assert estate.plans["shop"].groups == (("db",), ("app",), ("web",))
    assert estate.items["web"].size is not None
    assert estate.items["web"].size.max_nics == 1


def test_the_database_machine_ships_and_loads_with_its_history_beside_the_file() -> None:
    (database,) = load(POSTGRES).items["pg"].databases
    assert (database.name, database.user, database.table, database.column) == ("shop", "postgres", "drill_rows", "id")
    assert Path(database.history) == POSTGRES.parent / "postgres.history"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (", history: postgres.history", "", "belong together"),
        ("table: drill_rows, ", "", "belong together"),
        ("kind: postgresql", "kind: oracle", "postgresql"),
        ("table: drill_rows", 'table: "x; drop table y"', "pattern"),
        ("name: shop,", "name: 'shop -h elsewhere',", "pattern"),
        ("    services:", "    agent: false\n    services:", "no agent"),
        ("postgres.history}", "a}\n      - {kind: postgresql, name: shop}", "'shop' is named twice"),
    ],
)
def test_a_database_that_could_not_be_looked_into_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    text = POSTGRES.read_text()
    assert old in text
    file = tmp_path / "estate.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=problem):
        load(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("2026-11-20", "2026-11-20"),
        ("12", 12),
        ("'12'", "12"),
        ("-1.5", -1.5),
        ("true", True),
        ("~", None),
        ("<<", "<<"),
    ],
)
def test_a_value_is_read_as_a_person_means_it(text: str, value: object) -> None:
    assert parse(f"key: {text}\n".encode(), "f").value == {"key": value}


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("a: 1\na: 2\n", "f:2:1", "'a' stands twice"),
        ("a: &x 1\nb: *x\n", "f:2:4", "alias"),
        ("a: !!python/object:os.system 1\n", "f:1:4", "tag"),
        ("a: [1, 2\n", "f:2:1", "not YAML"),
        ("a: \xff\n", "f:1:4", "not UTF-8"),
        ("? [a]\n: 1\n", "f:1:3", "plain text"),
        ("[" * 40 + "]" * 40, "f:1:33", "deeper"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_at_its_place(text: str, where: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as caught:
        parse(text.encode("latin-1"), "f")
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("old", "new", "line_of", "problem"),
    [
        ("policy: gold}", "policy: iron}", "policy: iron}", "no policy 'iron'"),
        ("target: GoldCloud2", "target: GoldCloud1", "target: GoldCloud1", "(D2)"),
        (
            "source_host: ny1\n    os_type: linux\n    os_disk: vda\n    target: {size: one-nic}",
            "source_host: chi1\n    os_type: linux\n    os_disk: vda\n    target: {size: one-nic}",
            "chi1\n",
            "(A6)",
        ),
        ("size: one-nic}", "size: huge}", "size: huge}", "no size 'huge'"),
        ("copy_frequency_seconds: 30", "copy_frequency_seconds: 31", "copy_frequency_seconds: 31", "30, 300 or 900"),
        ("- items: [app]", "- items: [app, db]", "[app, db]", "(K1)"),
        ("vault:\n", "vault:\n  colour: red\n", "colour", "Extra inputs"),
        ("source: VMNetwork2,", "source: VMNetwork9,", "VMNetwork9", "no VM network 'VMNetwork9'"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line_of: str, problem: str) -> None:
    text = SHOP.read_text()
    assert old in text
    changed = text.replace(old, new, 1)
    file = tmp_path / "estate.yaml"
    file.write_text(changed)
    line = changed[: changed.index(line_of.rstrip("\n"), changed.index(new))].count("\n") + 1
    with pytest.raises(BadInput) as caught:
        load(file)
    assert caught.value.where.startswith(f"{file}:{line}:")
    assert problem in str(caught.value)


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "estate.yaml"
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(BadInput, match="longer"):
        load(file)
