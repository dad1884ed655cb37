"""`drill vault …` as an operator types it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.vault.verbs import Verb, verb

__all__ = ["verb"]

PASSWORD = "planted-hunter2-password"


@pytest.mark.spec("B1.a", "B1.b")
def test_a_vault_is_made_of_a_name_and_a_region_and_is_active(verb: Verb, tmp_path: Path) -> None:
    assert verb("show", "--json", state=tmp_path).document["error"]["id"] == "Usage"
    for incomplete in (("create", "shop"), ("create", "--region", "north"), ("create", "", "--region", "north")):
        assert verb(*incomplete, state=tmp_path).exit_code == 2
    made = verb("create", "shop", "--region", "north", "--goal", "one-server", "--json", state=tmp_path).document
    assert (made["state"], made["goal"]) == ("active", "one-server")
    assert verb("show", "--json", state=tmp_path).document["region"] == "north"
    again = verb("create", "shop", "--region", "north", "--json", state=tmp_path)
    assert again.document["error"]["id"] == "Refused"
    assert verb("upgrade", "--json", state=tmp_path).document == {"before": "0002", "now": "0002"}


@pytest.mark.spec("B9.a")
@pytest.mark.parametrize("missing", ["--key-file", "--name"])
def test_registration_needs_key_file_and_name(verb: Verb, tmp_path: Path, missing: str) -> None:
    given = {"--key-file": "ny.key", "--name": "ny"}
    del given[missing]
    said = verb("register", *(part for pair in given.items() for part in pair), "--json", state=tmp_path)
    assert said.exit_code == 2
    assert missing in said.document["error"]["message"]


@pytest.mark.spec("B9.c")
@pytest.mark.parametrize(
    "given",
    [
        ("--proxy-address", "proxy"),
        ("--proxy-port", "3128"),
        ("--proxy-address", "proxy", "--proxy-port", "3128", "--proxy-user", "u"),
        ("--proxy-user", "u", "--proxy-credential", "c"),
        ("--node", "n1"),
        ("--active",),
    ],
    ids=" ".join,
)
def test_a_proxy_or_a_node_described_by_half_is_refused(verb: Verb, tmp_path: Path, given: tuple[str, ...]) -> None:
    verb("create", "shop", "--region", "north", state=tmp_path)
    key = str(tmp_path / "ny.key")
    verb("key", "make", "ny", "--to", key, state=tmp_path)
    said = verb("register", "--key-file", key, "--name", "ny", *given, "--json", state=tmp_path)
    assert (said.exit_code, said.document["error"]["id"]) == (2, "Usage")


def test_keys_are_listed_and_revoked_and_no_file_is_overwritten(verb: Verb, tmp_path: Path) -> None:
    verb("create", "shop", "--region", "north", state=tmp_path)
    file = str(tmp_path / "ny.key")
    made = verb("key", "make", "ny", "--to", file, "--json", state=tmp_path).document
    for place in (file, str(tmp_path / "none" / "ny.key")):
        assert verb("key", "make", "ny", "--to", place, "--json", state=tmp_path).exit_code in {2, 5}
    assert verb("key", "revoke", made["key"], "--json", state=tmp_path).document["server"] == "ny"
    (key,) = verb("key", "list", "--json", state=tmp_path).document["keys"]
    assert (key["id"], key["revoked_us"] is not None, "secret" in key) == (made["key"], True, False)


def test_the_audit_log_is_shown_proven_and_held_against_what_was_noted(verb: Verb, tmp_path: Path) -> None:
    verb("create", "shop", "--region", "north", state=tmp_path)
    first = verb("audit", "--json", state=tmp_path).document
    assert [one["action"] for one in first["entries"]] == ["make the vault"]
    assert verb("audit", state=tmp_path).output.splitlines()[-1] == first["head"]
    assert verb("audit", "--noted", first["head"], state=tmp_path).exit_code == 0
    cut = verb("audit", "--noted", f"7:{'0' * 64}", "--json", state=tmp_path)
    assert (cut.exit_code, cut.document["error"]["id"]) == (9, "Damaged")
    assert verb("audit", "--noted", "seven", state=tmp_path).exit_code == 2


def test_verbs_of_a_server_say_what_is_missing(verb: Verb, tmp_path: Path) -> None:
    verb("create", "shop", "--region", "north", state=tmp_path)
    for given in (
        ("unregister", "ny"), ("refresh", "--estate", "fixtures/estates/shop.yaml"), ("proxy",), ("proxy", "--direct"),
        ("clouds", "sync", "none"), ("clouds", "encrypt", "none"), ("credential", "remove", "none"),
    ):  # fmt: skip
        assert verb(*given, state=tmp_path).exit_code == 2, given
    for given in (
        ("servers",),
        ("probes",),
        ("clouds", "list"),
        ("clouds", "sync"),
        ("privacy",),
        ("versions",),
        ("key", "list"),
    ):
        assert verb(*given, "--json", state=tmp_path).exit_code == 0, given


def test_no_secret_is_in_output_or_state(verb: Verb, tmp_path: Path) -> None:
    state, file, password = tmp_path / "state", tmp_path / "ny.key", tmp_path / "password"
    said = [verb("create", "shop", "--region", "north", state=state)]
    said.append(verb("key", "make", "ny", "--to", str(file), "--json", state=state))
    (line,) = (line for line in file.read_text().splitlines() if line.startswith("secret: "))
    secret = line.removeprefix("secret: ")
    password.write_text(PASSWORD + "\n")
    for arguments in (
        ("key", "list", "--json"), ("show",), ("audit", "--json"), ("servers", "--json"), ("clouds", "list", "--json"),
        ("register", "--key-file", str(file), "--name", "chi", "--json"),
        ("register", "--key-file", str(file), "--name", "ny", "--estate", "none.yaml"),
        ("show", "--vault", f"postgresql://drill:{PASSWORD}@db/vault", "--json"),
        ("show", "--vault", f"postgresql://drill@db/vault?password={PASSWORD}"),
        ("credential", "set", "db", "--from", str(password)), ("credential", "list", "--json"),
    ):  # fmt: skip
        said.append(verb(*arguments, state=state))  # noqa: PERF401
    for one in said:
        assert secret not in one.output + one.errors
        assert PASSWORD not in one.output + one.errors
    for kept in state.rglob("*"):
        if kept.is_file() and kept.parent.name != "credentials":
            assert secret.encode() not in kept.read_bytes()
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600, kept
    assert (state / "credentials" / "db").read_text() == PASSWORD
