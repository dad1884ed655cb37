"""Rules about registration that only decide; those that need a vault are in tests/vault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from drill.core import chain, registration, versions
from drill.core.instants import instant
from drill.errors import BadInput, Damaged, Refused, Usage
from drill.model.vault import (
    CloudFacts,
    CloudPair,
    Goal,
    Membership,
    Particulars,
    RegisteredCloud,
    RegisteredNode,
    RegisteredServer,
    RegistrationKey,
    SeenVersion,
)
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
    registration.check_name("Ny-1.a_b", "server")
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


NOON_US = 1_795_262_400_000_000
KEY = RegistrationKey(id="k", server="ny", made_us=NOON_US, expires_us=NOON_US + registration.KEY_US)


def rule_of(act: Callable[[], object]) -> str:
    """The rule by which something is refused; "" where it is not."""
    try:
        act()
    except Refused as refused:
        return refused.rule if refused.cure else "no cure"
    return ""


@pytest.mark.spec("B2.a", "B2.b")
@pytest.mark.parametrize(
    ("key", "at_us", "said"),
    [
        (KEY, KEY.expires_us, ""),
        (KEY, NOON_US - registration.SKEW_US, ""),
        (KEY, KEY.expires_us + 1, "expired on 2026-11-26 12:00:00 UTC"),
        (KEY, NOON_US - registration.SKEW_US - 1, "is of 2026-11-21 12:00:00 UTC, which is still to come"),
        (replace(KEY, used_us=NOON_US), NOON_US, "was used on 2026-11-21 12:00:00 UTC; it serves once"),
        (replace(KEY, revoked_us=NOON_US), NOON_US, "was revoked on 2026-11-21 12:00:00 UTC"),
        (replace(KEY, used_us=0), NOON_US, "was used on 1970-01-01"),
        (replace(KEY, revoked_us=0), NOON_US, "was revoked on 1970-01-01"),
    ],
    ids=["at its end", "other clock", "over", "to come", "used", "revoked", "used at zero", "revoked at zero"],
)
def test_a_key_is_good_once_and_for_five_days(key: RegistrationKey, at_us: int, said: str) -> None:
    if not said:
        registration.check_key(key, at_us)
        return
    with pytest.raises(Refused, match=said) as refused:
        registration.check_key(key, at_us)
    assert refused.value.rule == "B2"
    assert refused.value.remedy


def server(*releases: str, is_cluster: bool = True, name: str = "ny") -> RegisteredServer:
    nodes = tuple(
        RegisteredNode(
            name=f"n{number}",
            is_active=number == 1,
            particulars=Particulars(host_name="h", drill=release),
            registered_us=0,
            seen_us=0,
        )
        for number, release in enumerate(releases, 1)
    )
    return RegisteredServer(name=name, site="s", is_cluster=is_cluster, registered_us=0, nodes=nodes)


def node(name: str, *, active: bool = False, role: str = "ny") -> Membership:
    return Membership(role=role, node=name, is_active=active)


@pytest.mark.spec("B6.a", "B6.b", "B6.c")
@pytest.mark.parametrize(
    ("cluster", "known", "rule"),
    [
        (None, None, ""),
        (None, server("1"), "B9"),
        (node("n1", active=True), None, ""),
        (node("n1"), None, "B6"),
        (node("n1", active=True, role="other"), None, "B6"),
        (node("n2"), server("1"), ""),
        (node("n1"), server("1"), "B6"),
        (node("n2"), server("2"), "B6"),
        (node("n3"), server("1", "2"), "B6"),
        (node("n2"), server("1", is_cluster=False), "B6"),
    ],
    ids=[
        "alone", "there already", "active first", "not active", "another name", "second", "twice", "another version",
        "in an upgrade", "no cluster",
    ],
)  # fmt: skip
def test_who_may_join_those_that_are_registered(
    cluster: Membership | None, known: RegisteredServer | None, rule: str
) -> None:
    assert rule_of(lambda: registration.check_new("ny", cluster, "1", known)) == rule


def told(name: str, profile: str = "kvm", *groups: str) -> CloudFacts:
    return CloudFacts(name=name, profile=profile, host_groups=dict.fromkeys(groups or ("all",), ()))


@pytest.mark.spec("A1.a", "A1.b", "A2.a", "A2.b", "A3.a", "A4.a")
@pytest.mark.parametrize(
    ("goal", "clouds", "others", "rule", "advised"),
    [
        (Goal.ONE_SERVER, (told("a"), told("b")), 0, "", True),
        (Goal.ONE_SERVER, (told("a"),), 0, "A2", False),
        (Goal.ONE_SERVER, (told("a"),), 1, "", False),
        (Goal.SECOND_SERVER, (told("a"),), 0, "", False),
        (Goal.SECOND_SERVER, (), 1, "A2", False),
        (Goal.REGION, (told("a"),), 0, "", False),
        (Goal.REGION, (), 0, "A2", False),
        (Goal.REGION, (told("a", ""),), 0, "A4", False),
        (Goal.REGION, (replace(told("a"), host_groups={}),), 0, "A3", False),
    ],
)
def test_how_many_clouds_of_which_kind_a_server_needs(
    goal: Goal, clouds: tuple[CloudFacts, ...], others: int, rule: str, advised: bool
) -> None:
    said: list[str] = []
    assert rule_of(lambda: said.extend(registration.check_clouds(goal, clouds, others))) == rule
    assert bool(said) is advised


@pytest.mark.spec("A1.a")
@pytest.mark.parametrize(("goal", "most"), [(Goal.SECOND_SERVER, 2), (Goal.ONE_SERVER, 1), (Goal.REGION, 1)], ids=str)
def test_a_vault_has_as_many_servers_as_its_goal_says(goal: Goal, most: int) -> None:
    registration.check_server_count(goal, most - 1)
    assert rule_of(lambda: registration.check_server_count(goal, most)) == "A1"


@pytest.mark.spec("A1.b")
def test_a_second_server_is_advised_where_there_is_one() -> None:
    assert len(registration.advice(Goal.SECOND_SERVER, 1)) == 1
    assert registration.advice(Goal.SECOND_SERVER, 2) == registration.advice(Goal.SECOND_SERVER, 0) == ()
    assert registration.advice(Goal.REGION, 1) == ()


@pytest.mark.spec("B9.d")
def test_a_certificate_file_is_a_pfx_for_a_region() -> None:
    registration.check_certificate_file(Goal.REGION, "store.pfx")
    assert rule_of(lambda: registration.check_certificate_file(Goal.REGION, "store.pfx.pem")) == "B9"
    assert rule_of(lambda: registration.check_certificate_file(Goal.ONE_SERVER, "store.pfx")) == "B9"


def cloud(name: str, of: str = "ny", *, synchronised: bool = True, encrypts: bool = False) -> RegisteredCloud:
    since = 0 if synchronised else None
    return RegisteredCloud(server=of, facts=told(name), synchronised_us=since, encrypts=encrypts)


@pytest.mark.spec("B10.a", "B10.b")
def test_encryption_counts_for_a_region_and_needs_the_certificate_that_the_server_registered_with() -> None:
    plain, encrypted = cloud("a"), cloud("a", encrypts=True)
    assert registration.encryption(Goal.REGION, plain, "abc", wanted=True) == (True, "")
    assert registration.encryption(Goal.REGION, plain, "", wanted=False) == (False, "")
    assert rule_of(lambda: registration.encryption(Goal.REGION, plain, "", wanted=True)) == "B10"
    on, note = registration.encryption(Goal.SECOND_SERVER, plain, "abc", wanted=True)
    assert (on, "it is ignored" in note) == (False, True)
    registration.check_failover_certificate(plain, "abc", "")
    registration.check_failover_certificate(encrypted, "abc", "abc")
    for named in ("", "def"):
        assert rule_of(partial(registration.check_failover_certificate, encrypted, "abc", named)) == "B10"


def pair(name: str, source: str, target: str = "", region: str = "", store: str = "") -> CloudPair:
    return CloudPair(name=name, source=source, target=target, region=region, store=store)


CLOUDS = {
    one.facts.name: one for one in (cloud("a"), cloud("b", "chi"), cloud("c", "chi"), cloud("late", synchronised=False))
}
SERVERS = {"ny": server("1"), "chi": server("1", name="chi")}


@pytest.mark.spec("B8.b", "D1.a", "D1.b", "D2.a", "D4.a")
@pytest.mark.parametrize(
    ("wanted", "stands", "rule"),
    [
        (pair("p", "a", "b"), (), ""),
        (pair("p", "a", region="west", store="one"), (), ""),
        (pair("p", "a", "b"), (pair("p", "a", "b"),), ""),
        (pair("p", "a", region="west", store="two"), (pair("p", "a", region="west", store="one"),), ""),
        (pair("p", "a"), (), "D1"),
        (pair("p", "a", "b", "west", "one"), (), "D1"),
        (pair("p", "a", region="west"), (), "D1"),
        (pair("p", "a", "b", store="one"), (), "D1"),
        (pair("p", "a", "a"), (), "D2"),
        (pair("q", "a", "c"), (pair("p", "a", "b"),), "D2"),
        (pair("q", "c", "b"), (pair("p", "a", "b"),), "D2"),
        (pair("p", "a", "none"), (), "B8"),
        (pair("p", "late", "b"), (), "B8"),
        (pair("p", "a", "c"), (pair("p", "a", "b"),), "D4"),
        (pair("p", "c", "b"), (pair("p", "a", "b"),), "D4"),
        (pair("p", "a", region="east", store="one"), (pair("p", "a", region="west", store="one"),), "D4"),
    ],
)
def test_which_pairs_may_stand(wanted: CloudPair, stands: tuple[CloudPair, ...], rule: str) -> None:
    known = {one.name: one for one in stands}
    assert rule_of(lambda: registration.check_pair(wanted, CLOUDS, SERVERS, known)) == rule


@pytest.mark.spec("B6.b")
def test_clouds_of_a_cluster_with_two_versions_are_not_chosen() -> None:
    mixed = {**SERVERS, "chi": server("1", "2", name="chi")}
    assert rule_of(lambda: registration.check_pair(pair("p", "a", "b"), CLOUDS, mixed, {})) == "B6"
