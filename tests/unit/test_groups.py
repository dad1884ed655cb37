"""Which instants of a consistency group are whole."""

from __future__ import annotations

import pytest

from drill.core import groups
from drill.core.groups import GroupPoint
from drill.errors import Refused, Usage
from drill.model.point import GroupMark, Point


def history(item: str, text: str, *, members: int = 2, group: str = "shop") -> tuple[Point, ...]:
    """Points of one item, from words such as `1 2@x 3@y!`: a sequence, its instant, `!` for application-consistent."""
    return tuple(_point(item, word, members, group) for word in text.split())


def _point(item: str, word: str, members: int, group: str) -> Point:
    sequence, _, instant = word.rstrip("!").partition("@")
    return Point(
        item=item,
        epoch="e",
        sequence=int(sequence),
        begun_us=100 * int(sequence) + ord(item[0]),
        taken_us=100 * int(sequence) + ord(item[0]) + 10,
        sealed_us=0,
        full=False,
        application_consistent=word.endswith("!"),
        disks=(),
        log_digest="",
        parent_digest="",
        sent_bytes=0,
        group=GroupMark(name=group, instant=instant, members=members) if instant else None,
    )


def instants(found: tuple[GroupPoint, ...]) -> list[str]:
    return [one.instant for one in found]


def test_an_instant_is_there_when_every_item_has_it() -> None:
    kept = {"a": history("a", "1@x 2 3@y 4@z"), "b": history("b", "1@x 2@y 3")}
    assert instants(groups.complete("shop", kept)) == ["x", "y"]


def test_a_single_point_is_of_no_instant() -> None:
    kept = {"a": history("a", "1 2"), "b": history("b", "1 2")}
    assert groups.complete("shop", kept) == ()


def test_instants_stand_in_the_order_of_sequences_whatever_clocks_say() -> None:
    kept = {"b": history("b", "5@x 9@y"), "a": history("a", "7@x 8@y")}
    assert instants(groups.complete("shop", kept)) == ["x", "y"]


def test_an_instant_of_fewer_items_than_it_had_is_none() -> None:
    """One of them is not of the group any more, or its receiver was not asked."""
    kept = {"a": history("a", "1@x", members=3), "b": history("b", "1@x", members=3)}
    assert groups.complete("shop", kept) == ()


def test_an_instant_from_before_an_item_joined_is_none_of_the_group_as_it_is_now() -> None:
    kept = {"a": history("a", "1@x"), "b": history("b", "1@x"), "c": history("c", "1")}
    assert groups.complete("shop", kept) == ()


def test_another_groups_instants_do_not_count() -> None:
    kept = {"a": history("a", "1@x", group="web"), "b": history("b", "1@x", group="web")}
    assert groups.complete("shop", kept) == ()


def test_it_is_application_consistent_where_every_item_is() -> None:
    kept = {"a": history("a", "1@x! 2@y!"), "b": history("b", "1@x 2@y!")}
    assert [one.application_consistent for one in groups.complete("shop", kept)] == [False, True]


def test_an_instant_tells_the_time_around_all_of_its_points() -> None:
    (found,) = groups.complete("shop", {"a": history("a", "1@x"), "b": history("b", "2@x")})
    assert (found.begun_us, found.taken_us) == (197, 308)
    assert [point.item for point in found.points] == ["a", "b"]


def test_the_latest_or_one_by_its_id_is_chosen() -> None:
    found = groups.complete("shop", {"a": history("a", "1@x 2@y"), "b": history("b", "1@x 2@y")})
    assert groups.choose(found, "latest", "shop").instant == "y"
    assert groups.choose(found, "x", "shop").instant == "x"
    with pytest.raises(Usage, match="no recovery point 'z'"):
        groups.choose(found, "z", "shop")
    with pytest.raises(Refused, match="all its items share"):
        groups.choose((), "latest", "shop")
