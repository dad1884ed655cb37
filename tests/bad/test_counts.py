"""Every group has the cases it promises, and no case says the same as another."""

from __future__ import annotations

import inspect

import pytest

from drill import errors
from tests.bad.cases import GROUPS, HERE, read


def test_no_folder_of_cases_is_without_its_group() -> None:
    assert {path.name for path in HERE.iterdir() if path.is_dir() and list(path.glob("*.json"))} <= GROUPS.keys()


@pytest.mark.parametrize("group", [group for group in GROUPS if list((HERE / group).glob("*.json"))])
def test_a_group_has_as_many_cases_as_it_promises(group: str) -> None:
    assert len(read(group)) >= GROUPS[group]


def test_no_case_is_there_twice() -> None:
    seen: dict[str, str] = {}
    for case in (case for group in GROUPS for case in read(group)):
        key = f"{case.group} {case.through} {case.recipe}"
        assert key not in seen, f"{case.group}/{case.name} is {seen[key]}"
        seen[key] = case.name


def test_every_case_expects_an_error_that_exists_with_its_exit_code() -> None:
    codes = {
        name: one.exit_code for name, one in inspect.getmembers(errors, inspect.isclass) if hasattr(one, "exit_code")
    }
    for case in (case for group in GROUPS for case in read(group)):
        assert codes[case.error] == case.exit_code, f"{case.group}/{case.name}"
