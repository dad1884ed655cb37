"""Rules about registration that only decide; those that need a vault are in tests/vault."""

from __future__ import annotations

import pytest

from drill.core import chain, registration, versions
from drill.core.instants import instant
from drill.errors import BadInput, Damaged, Refused, Usage
from drill.model.vault import SeenVersion
from fixtures.command_line import ROOT


def seen(component: str, version: str) -> SeenVersion:
    return SeenVersion(component=component, place="ny1", version=version)


@pytest.mark.spec("A7.a")
@pytest.mark.parametrize(
    ("component", "version", "problem", "refuses"),
    [
        ("libvirt", "7.10.0", "libvirt is 7.10.0, and needs 8.0", True),
        ("qemu", "10.0.2", "qemu is 10.0.2, newer than 7.2", False),
        ("kernel", "", "kernel is of an unknown version", True),
        ("kernel", "generic", "kernel is of an unknown version generic", True),
        ("xen", "4.17", "xen is not in the table", True),
    ],
)
def test_a_version_that_the_table_does_not_have_is_named_with_its_cure(
    component: str, version: str, problem: str, refuses: bool
) -> None:
    (found,) = versions.judge([seen(component, version)])
    assert found.problem.startswith(problem)
    assert found.refuses is refuses
    assert component == "xen" or found.remedy.startswith(f"install {component} ")


@pytest.mark.parametrize(
    ("component", "version"),
    [
        ("libvirt", "8.0.0"),
        ("libvirt", "9.0.0-4+deb12u2"),
        ("qemu", "7.2.15"),
        ("kernel", "6.1.0-38-amd64"),
        ("agent", "6.2"),
    ],
)
def test_a_version_within_the_table_is_not_spoken_of(component: str, version: str) -> None:
    assert versions.judge([seen(component, version)]) == ()


def test_all_versions_that_are_too_old_are_named_at_once() -> None:
    with pytest.raises(Refused, match=r"libvirt is 7.*; ny1: qemu is 5") as refused:
        versions.check([seen("libvirt", "7.0.0"), seen("qemu", "5.2.0"), seen("kernel", "6.1.0")])
    assert "install libvirt 9.0; ny1: install qemu 7.2" in refused.value.remedy
    assert versions.check([seen("qemu", "8.2.0")]) == (
        "ny1: qemu is 8.2.0, newer than 7.2, the newest that was tested",
    )


def test_the_guide_prints_the_table_of_tested_versions() -> None:
    text = (ROOT / "docs/guide/vault.md").read_text()
    for row in versions.MATRIX:
        assert f"| {row.component} | {row.oldest} | {row.newest} | {row.needed_for} |" in text


def test_wrong_keys_count_for_one_name_and_for_all_and_only_for_a_while() -> None:
    now = 10**15
    registration.check_attempts("ny", [("ny", now)] * 4 + [("chi", now)] * 5, now)
    with pytest.raises(Refused, match="within 15 minutes"):
        registration.check_attempts("ny", [("ny", now)] * 5, now)
    with pytest.raises(Refused, match="within 15 minutes"):
        registration.check_attempts("ny", [(f"s{n}", now) for n in range(50)], now)
    registration.check_attempts("ny", [("ny", now)] * 5, now + registration.ATTEMPTS_US)
    registration.check_attempts("ny", [("ny", now)] * 5, now - registration.ATTEMPTS_US)


@pytest.mark.parametrize("name", ["", "../x", "a" * 64, "a b", ".a", "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Usage, match="is no name for a server"):
        registration.check_name(name, "server")


def test_instants_are_read_in_utc_and_those_beyond_the_calendar_as_numbers() -> None:
    assert instant(1_795_262_400_000_000) == "2026-11-21 12:00:00 UTC"
    assert instant(10**18) == "microsecond 1000000000000000000"


def line(body: dict[str, object], number: int = 1) -> tuple[bytes, str]:
    return chain.sealed(body, number, chain.genesis("test"), "here")


KEYS = frozenset({"a"})


def test_a_sealed_line_is_opened_again() -> None:
    sealed, digest = line({"a": [1, "x"]})
    assert chain.opened(sealed, KEYS, 1, chain.genesis("test"), "here", "a test") == ({"a": [1, "x"]}, digest)


@pytest.mark.parametrize(
    ("text", "number", "previous", "error", "said"),
    [
        (line({"a": 1})[0].replace(b'"a":1', b'"a":2'), 1, "test", Damaged, "match its hash"),
        (line({"a": 1})[0], 1, "other", Damaged, "follow the line before"),
        (line({"a": 1})[0], 2, "test", Damaged, "its own number"),
        (line({"a": 1})[0] + b" ", 1, "test", BadInput, "canonical form"),
        (line({"b": 1})[0], 1, "test", BadInput, "not a line of a test"),
        (b"[]", 1, "test", BadInput, "not a line of a test"),
    ],
    ids=["changed", "moved", "number", "spelling", "other fields", "no object"],
)
def test_a_line_that_is_not_the_one_written_there_is_refused(
    text: bytes, number: int, previous: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        chain.opened(text, KEYS, number, chain.genesis(previous), "here", "a test")
