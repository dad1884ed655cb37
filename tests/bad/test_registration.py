"""Registrations that should not be (tests/bad/README.md): keys and key files in whatever state they were found.

`recipe` starts from a sound key of the server `ny` of a vault in a file:
change        {field of the key: another value}         flip          one bit of the secret
jump_us       how far the clock is moved first          used, revoked what became of the key before
wrong_before  how many wrong keys were shown before     goal          what the vault is for
certificate   [name, content] of an encryption certificate
cut, replace, insert, drop, line                        changes to the key file; the last three with a check that fits
mode, as      its mode; what stands in its place: link, pipe, hole
register      the way: the vault                        wiring        the whole registration
file          the key file's reader
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drill.core import registration as rules
from drill.errors import Refused
from drill.model.vault import Goal
from drill.vault import keyfile
from drill.vault.keyfile import KeyFile
from drill.vault.vault import Vault
from drill.wiring import registering
from drill.wiring.registering import Asked
from drill.wiring.vaults import Doors
from tests.bad.cases import Case, check_refused, parameters, read
from tests.vault.test_registering import Told
from tests.vaults import JumpingClock, registration


class Counter:
    """A vault in a file, a server that wants to register, and its key as a recipe has it."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self.recipe, self.folder, self.clock = recipe, folder, JumpingClock()
        self.doors = Doors(folder / "state", "", self.clock)
        goal = Goal(recipe.get("goal", "second-server"))
        with self.doors.database() as database:
            self.vault = Vault.make(database, self.clock, "root@test", name="shop", region="north", goal=goal)
        self.key = self.vault.keys.make("ny")
        self._before()
        if "flip" in recipe:
            self.key = replace(self.key, secret=f"{int(self.key.secret, 16) ^ 1:064x}")
        self.key = replace(self.key, **recipe.get("change", {}))
        self.file = folder / "ny.key"
        _write(self.file, self.key, recipe)

    def _before(self) -> None:
        if "used" in self.recipe:
            self.vault.servers.register(registration(self.key))
            self.vault.servers.unregister("ny")
        if "revoked" in self.recipe:
            self.vault.keys.revoke(self.key.key)
        for _ in range(self.recipe.get("wrong_before", 0)):
            with suppress(Refused):
                self.vault.servers.register(registration(self.key, secret="0" * 64))
        self.clock.jump(self.recipe.get("jump_us", 0))

    def act(self, way: str) -> object:
        if way == "file":
            return keyfile.read(self.file)
        if way == "register":
            return self.vault.servers.register(registration(self.key))
        asked = Asked()
        if "certificate" in self.recipe:
            name, content = self.recipe["certificate"]
            (self.folder / name).write_text(content)
            asked = Asked(certificate=self.folder / name)
        return registering.register(self.doors, self.key, Told(), asked, [], lambda _: None)

    def state(self) -> object:
        """All that a registration may change; failed attempts and the audit log are meant to grow."""
        known = [(key.id, key.used_us, key.revoked_us) for key in self.vault.keys.all()]
        return known, self.vault.servers.all(), self.vault.clouds.all(), sorted(self.doors.state.glob("*.json"))


def _write(file: Path, key: KeyFile, recipe: Mapping[str, Any]) -> None:
    if "as" in recipe:
        _instead(file, key, recipe["as"])
        return
    lines = key.text().splitlines(keepends=True)[:-1]
    if "insert" in recipe:
        lines.append(recipe["insert"])
    if "drop" in recipe:
        lines = [line for line in lines if not line.startswith(f"{recipe['drop']}: ")]
    if "line" in recipe:
        name, value = recipe["line"]
        lines = [f"{name}: {value}\n" if line.startswith(f"{name}: ") else line for line in lines]
    body = "".join(lines)
    text = f"{body}check: {hashlib.sha256(body.encode()).hexdigest()}\n"
    if "replace" in recipe:
        text = text.replace(*recipe["replace"])
    file.write_text(text[: len(text) - recipe.get("cut", 0)])
    file.chmod(int(recipe.get("mode", "0600"), 8))


def _instead(file: Path, key: KeyFile, what: str) -> None:
    if what == "pipe":
        os.mkfifo(file, 0o600)
    elif what == "link":
        keyfile.write(file.with_suffix(".real"), key)
        file.symlink_to(file.with_suffix(".real"))
    else:
        file.touch(0o600)
        os.truncate(file, 1 << 30)


@parameters("registration")
def test_a_registration_that_should_not_be_is_refused(case: Case, tmp_path: Path) -> None:
    counter = Counter(tmp_path, case.recipe)
    try:
        check_refused(case, lambda: counter.act(case.through), counter.state)
    finally:
        counter.vault.close()


@pytest.mark.parametrize("way", ["register", "wiring", "file"])
def test_a_sound_key_is_taken_by_every_way(tmp_path: Path, way: str) -> None:
    counter = Counter(tmp_path, {})
    assert counter.act(way) is not None
    counter.vault.close()


def test_a_case_is_red_when_keys_never_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in read("registration") if case.name == "key-expired-a-microsecond-ago")
    monkeypatch.setattr(rules, "check_key", lambda key, now_us: None)
    counter = Counter(tmp_path, case.recipe)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, lambda: counter.act(case.through), counter.state)
    counter.vault.close()
