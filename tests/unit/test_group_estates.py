"""Consistency groups in an estate: who may share an instant, and that every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from drill import data
from drill.errors import BadInput
from drill.estate.load import load

SHOP = data.path("fixtures", "estates", "shop.yaml").read_text(encoding="utf-8")
GROUPS = "plans:\n"


def with_groups(folder: Path, *groups: str, text: str = SHOP) -> Path:
    """The shop with these groups."""
    file = folder / "estate.yaml"
    lines = "".join(f"  - {group}\n" for group in groups)
    assert text.count(GROUPS) == 1
    file.write_text(text.replace(GROUPS, f"groups:\n{lines}\n{GROUPS}"))
    return file


def test_a_group_names_items_of_one_host(tmp_path: Path) -> None:
    estate = load(with_groups(tmp_path, "{name: shop, items: [app, db]}"))
    group = estate.group_of("db")
    assert group is not None
    assert (group.name, group.items) == ("shop", ("app", "db"))
    assert estate.group_of("web") is None


@pytest.mark.spec("S5.b")
@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        (("{name: shop, items: [app]}",), "at least 2 items"),
        (("{name: shop, items: [" + ", ".join(f"m{n}" for n in range(17)) + "]}",), "at most 16 items"),
        (("{name: shop, items: [app, nobody]}",), "no protected item 'nobody'"),
        (("{name: shop, items: [app, app]}",), "already .S5"),
        (("{name: one, items: [app, db]}", "{name: two, items: [web, db]}"), "'db' is in group 'one' already .S5"),
        (("{name: one, items: [app, db]}", "{name: one, items: [web, db]}"), "'one' is named twice"),
        (("{name: '../x', items: [app, db]}",), "pattern"),
    ],
)
def test_what_is_no_group_is_refused(tmp_path: Path, groups: tuple[str, ...], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        load(with_groups(tmp_path, *groups))


def test_items_of_two_hosts_are_refused_by_the_rule(tmp_path: Path) -> None:
    """Nobody can pause guests of two hosts at once for certain."""
    first = SHOP[SHOP.index("              - name: ny1\n") : SHOP.index("  - name: vmm-chicago\n")]
    text = SHOP.replace(first, first + first.replace("ny1", "ny2"))
    before, after = text.split("  - name: db\n")
    text = f"{before}  - name: db\n" + after.replace("source_host: ny1", "source_host: ny2", 1)
    with pytest.raises(BadInput, match=r"one source host.*'db' is on 'ny2'.*S5"):
        load(with_groups(tmp_path, "{name: shop, items: [app, db]}", text=text))
