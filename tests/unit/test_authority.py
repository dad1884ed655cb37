"""The authority and its folders: what it makes, keeps to itself, renews and revokes; the verb that does so."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from drill.cli.main import main
from drill.errors import BadInput, Refused, Usage
from drill.identity.authority import Authority, utc_now
from drill.identity.bundle import Bundle, Watched
from drill.model.identity import identity
from tests.trusted import Vault, until


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def read(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "identity.pem").read_bytes())


@pytest.mark.parametrize(
    ("holder", "usages"),
    [
        ("controller/c", {ExtendedKeyUsageOID.CLIENT_AUTH}),
        ("source/s", {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
        ("receiver/r", {ExtendedKeyUsageOID.SERVER_AUTH}),
    ],
)
def test_a_certificate_is_for_its_holder_and_its_use_only(
    vault: Vault, holder: str, usages: set[x509.ObjectIdentifier]
) -> None:
    made = read(vault.bundle(holder))
    stated = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    limits = made.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert set(stated) == usages
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"drill:{holder}"]
    assert not limits.ca
    lasts = made.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=364) < lasts < timedelta(days=366)


def test_a_foreign_tool_finds_the_chain_sound(vault: Vault) -> None:
    folder = vault.bundle("source/s")
    argv = ["openssl", "verify", "-CAfile", "authority.pem", "-CRLfile", "revoked.pem", "-crl_check", "identity.pem"]
    said = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    assert said.returncode == 0, said.stderr
    vault.revoke("source/s", tell="source/s")
    said = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    assert "certificate revoked" in said.stderr


def test_every_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        vault = Vault(tmp_path / "v")
        vault.bundle("source/s")
    finally:
        os.umask(before)
    for path in (tmp_path / "v").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_renewal_has_another_key_and_the_same_name(vault: Vault) -> None:
    folder = vault.bundle("source/s")
    old = read(folder)
    vault.authority.renew(folder)
    new = read(folder)
    assert new.serial_number != old.serial_number
    assert new.public_key() != old.public_key()
    assert Bundle(folder).passport().identity == identity("source/s")
    assert len(vault.authority.issued()) == 2


def test_what_cannot_be_used_leaves_the_old_in_force_and_is_taken_when_mended(vault: Vault) -> None:
    folder = vault.bundle("source/s")
    watched = Watched(folder)
    serial = watched.now.own.serial
    sound = (folder / "identity.pem").read_bytes()
    (folder / "identity.pem").write_bytes(b"noise")
    until(lambda: looked_again(watched))
    assert watched.now.own.serial == serial
    (folder / "identity.pem").write_bytes(sound)
    vault.authority.renew(folder)
    until(lambda: renewed(watched, serial))


def looked_again(watched: Watched) -> None:
    assert watched.now.own.serial
    assert watched._rejected


def renewed(watched: Watched, serial: int) -> None:
    assert watched.now.own.serial != serial


def test_an_older_list_of_revocations_is_not_taken_back(vault: Vault) -> None:
    """Whoever can put the old file back must not make a revoked certificate good again."""
    folder = vault.bundle("receiver/r")
    vault.bundle("source/s")
    old = (folder / "revoked.pem").read_bytes()
    vault.revoke("source/s", tell="receiver/r")
    watched = Watched(folder)
    assert len(watched.now.revoked) == 1
    (folder / "revoked.pem").write_bytes(old)
    until(lambda: looked_again(watched))
    assert len(watched.now.revoked) == 1


def test_an_authority_is_not_made_twice_and_not_found_where_there_is_none(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds an authority already"):
        Authority.make(vault.folder / "authority", "again", utc_now)
    with pytest.raises(Usage, match="holds no authority"):
        Authority(tmp_path / "nowhere", utc_now)


def test_a_serial_that_was_never_issued_is_not_revoked(vault: Vault) -> None:
    with pytest.raises(Usage, match="was not issued here"):
        vault.authority.revoke(frozenset({5}))


def test_no_certificate_outlives_its_authority(vault: Vault, tmp_path: Path) -> None:
    vault.authority.issue(identity("source/s"), tmp_path / "long", timedelta(days=9999))
    own = x509.load_pem_x509_certificate((vault.folder / "authority" / "authority.pem").read_bytes())
    assert read(tmp_path / "long").not_valid_after_utc == own.not_valid_after_utc


def test_the_verb_makes_issues_renews_revokes_and_lists_and_never_shows_a_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home, holder, said = str(tmp_path / "authority"), str(tmp_path / "ny1"), []

    def drill(*arguments: str) -> dict[str, Any]:
        assert main(["vault", *arguments, "--json"]) == 0
        output, errors = capfd.readouterr()
        said.append(output + errors)
        found: dict[str, Any] = json.loads(output)
        return found

    drill("init", home, "--name", "shop")
    first = drill("issue", home, "--to", "source/ny1", "--into", holder, "--days", "30")["serial"]
    drill("renew", home, holder)
    revoked = drill("revoke", home, "--serial", first, "--publish", holder)
    assert revoked == {"list": 2, "revoked": [first], "published": [holder]}
    assert [one["revoked"] for one in drill("list", home)["issued"]] == [True, False]
    keys = [path.read_text() for path in (tmp_path / "authority" / "authority.key", tmp_path / "ny1" / "identity.pem")]
    secret = {line for key in keys for line in key.partition("PRIVATE KEY")[2].splitlines()[1:] if len(line) > 20}
    assert secret
    assert not [line for line in secret if line in "".join(said)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["issue", "{home}", "--to", "root/x", "--into", "x"], "not of the form"),
        (["issue", "nowhere", "--to", "source/x", "--into", "x"], "holds no authority"),
        (["renew", "{home}", "empty"], "there is no certificate"),
        (["revoke", "{home}", "--of", "source/nobody"], "nothing was issued"),
        (["revoke", "{home}", "--serial", "zz"], "is no serial"),
    ],
)
def test_a_wrong_request_is_said(
    vault: Vault, capfd: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    home = str(vault.folder / "authority")
    assert main(["vault", *(one.replace("{home}", home) for one in arguments)]) == 2
    assert says in capfd.readouterr().err


def test_a_list_of_another_authority_is_refused(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    folder = vault.bundle("source/s")
    (folder / "revoked.pem").write_bytes((other.folder / "authority" / "revoked.pem").read_bytes())
    with pytest.raises(BadInput, match="not signed by the authority"):
        Watched(folder)
