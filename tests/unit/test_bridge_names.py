"""A bridge's name becomes part of a firewall rule set and of command lines: only names go in."""

from __future__ import annotations

import pytest

from drill.errors import Usage
from drill.host import bridges

NO_NAMES = ["", "a b", "a;b", 'a"', "a\nflush ruleset", "-a", "../x", "a/b", "x" * 16, "é"]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize(
    "act", [bridges.guard, bridges.unguard, bridges.is_guarded, bridges.bridge_members, bridges.foreign_members]
)
def test_what_is_no_bridges_name_is_refused_before_anything_is_run(act: object, name: str) -> None:
    assert callable(act)
    with pytest.raises(Usage, match="not a bridge's name"):
        act(name)


def test_a_closed_port_is_not_reached() -> None:
    assert not bridges.reach("127.0.0.1", 1, 0.5)
