"""How two states of an estate differ, object by object and field by field."""

from __future__ import annotations

import pytest

from drill.core.differences import Difference, FieldChange, differences
from drill.model.vault import Desired, Kind


def desired(document: str, name: str = "web") -> Desired:
    return Desired(kind=Kind.HOST, name=name, document=document)


def test_objects_that_came_and_went_are_told_in_the_order_of_their_names() -> None:
    same = desired("{}", "same")
    found = differences([desired("{}", "old"), same], [same, desired("{}", "new")])
    assert found == (
        Difference(kind=Kind.HOST, name="new", change="added"),
        Difference(kind=Kind.HOST, name="old", change="removed"),
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('{"a":{"b":1}}', '{"a":{"b":2,"c":3}}', [("a.b", 1, 2), ("a.c", None, 3)]),
        ('{"a":[1,2]}', '{"a":[1,3]}', [("a.1", 2, 3)]),
        ('{"a":[1,2]}', '{"a":[1]}', [("a", [1, 2], [1])]),
        ('{"a":{"b":1}}', '{"a":[1]}', [("a", {"b": 1}, [1])]),
    ],
)
def test_fields_that_changed_are_named_by_their_path(
    before: str, after: str, expected: list[tuple[str, object, object]]
) -> None:
    (one,) = differences([desired(before)], [desired(after)])
    assert (one.change, one.fields) == (
        "changed",
        tuple(FieldChange(field=field, before=old, after=new) for field, old, new in expected),  # type: ignore[arg-type]
    )


def test_another_spelling_of_the_same_is_no_difference() -> None:
    assert differences([desired('{"a":1,"b":2}')], [desired('{"b": 2, "a": 1}')]) == ()
