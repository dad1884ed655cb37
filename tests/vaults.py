"""Vaults for tests: on SQLite and on PostgreSQL alike, with a clock that jumps, and servers to register."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from drill.model.vault import CloudFacts, Goal, Particulars, Registration, SeenVersion
from drill.vault.database import Database
from drill.vault.keyfile import KeyFile
from drill.vault.location import location
from drill.vault.vault import Vault

DAY_US = 86_400_000_000
NOON_US = 1_795_262_400_000_000
VERSIONS = tuple(
    SeenVersion(component=component, place="ny1", version=version)
    for component, version in (("libvirt", "9.0.0"), ("qemu", "7.2.0"), ("kernel", "6.1.0-18-amd64"))
)


class JumpingClock:
    """A clock that stands still until somebody jumps."""

    def __init__(self) -> None:
        self.at_us = NOON_US

    def now_us(self) -> int:
        return self.at_us

    def monotonic(self) -> float:
        return self.at_us / 1e6

    def sleep(self, seconds: float) -> None:
        self.jump(int(seconds * 1e6))

    def jump(self, by_us: int) -> None:
        self.at_us += by_us


@dataclass(frozen=True, slots=True)
class Bank:
    """A place for one vault, and the clock of all who open it."""

    url: str
    clock: JumpingClock

    def database(self) -> Database:
        return Database(location(self.url))

    def make(self, goal: Goal = Goal.SECOND_SERVER) -> Vault:
        return Vault.make(self.database(), self.clock, "root@test", name="shop", region="north", goal=goal)

    def open(self, actor: str = "root@test") -> Vault:
        return Vault.open(self.database(), self.clock, actor)


BOTH = ("sqlite", "postgresql")


@pytest.fixture(params=BOTH)
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    """A place without a vault, in both kinds of database."""
    if request.param == "sqlite":
        yield Bank(f"sqlite:///{tmp_path}/state/vault.sqlite", JumpingClock())
    else:
        yield Bank(request.getfixturevalue("postgresql").database(), JumpingClock())


@pytest.fixture
def vault(bank: Bank) -> Iterator[Vault]:
    """A vault for two servers."""
    with bank.make() as made:
        yield made


def cloud(name: str, *hosts: str, profile: str = "kvm") -> CloudFacts:
    return CloudFacts(name=name, profile=profile, host_groups={"all": hosts})


def registration(key: KeyFile, **changes: Any) -> Registration:
    """What the server of a key says when it registers."""
    told = Registration(
        key=key.key,
        secret=key.secret,
        server=key.server,
        site="new-york",
        particulars=Particulars(host_name=f"{key.server}.example", drill="0.1.0"),
        versions=VERSIONS,
        clouds=(cloud(f"{key.server}-cloud", "ny1", "ny2"),),
    )
    return replace(told, **changes)


def register(vault: Vault, server: str, **changes: Any) -> tuple[str, ...]:
    """Register a server with a key of its own."""
    return vault.servers.register(registration(vault.keys.make(server), **changes))
