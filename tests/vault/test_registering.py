"""The whole of a registration but for its command line: key file, consent, proxy, versions, memory of the vault."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from drill.errors import BadInput, DrillError, Failed, Refused, Unreachable, Usage
from drill.host import holders
from drill.model.vault import CloudFacts, Goal, Membership, Particulars, SeenVersion, VaultProxy
from drill.vault import keyfile, membership
from drill.vault.keyfile import KeyFile
from drill.vault.vault import Vault
from drill.wiring import registering
from drill.wiring.registering import Asked
from drill.wiring.vaults import Doors, actor
from fixtures.postgresql import PostgresqlServer
from tests.vault.connect_proxy import NAME, Proxy, running
from tests.vault.verbs import Verb, verb
from tests.vaults import DAY_US, VERSIONS, JumpingClock, cloud

__all__ = ["verb"]

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(300)
"""
PASSWORD = "planted-hunter2-password"


@dataclass(slots=True)
class Told:
    """What a server tells of itself, without hosts."""

    clouds_: tuple[CloudFacts, ...] = (cloud("gold1", "ny1"),)
    versions_: tuple[SeenVersion, ...] = VERSIONS
    progress: list[str] = field(default_factory=list)

    def site(self) -> str:
        return "new-york"

    def particulars(self) -> Particulars:
        return Particulars(host_name="ny.example", drill="0.1.0")

    def versions(self) -> tuple[SeenVersion, ...]:
        return self.versions_

    def clouds(self) -> tuple[CloudFacts, ...]:
        return self.clouds_


@dataclass(frozen=True, slots=True)
class Place:
    """A vault in a file, and the state folder of a server that may register."""

    doors: Doors
    clock: JumpingClock
    folder: Path

    def key(self, server: str = "ny") -> KeyFile:
        with self.doors.vault() as vault:
            return vault.keys.make(server)

    def register(self, key: KeyFile, asked: Asked | None = None, told: Told | None = None) -> tuple[str, ...]:
        facts = told or Told()
        return registering.register(self.doors, key, facts, asked or Asked(), [], facts.progress.append)


def place(folder: Path, url: str = "", goal: Goal = Goal.SECOND_SERVER) -> Place:
    clock = JumpingClock()
    doors = Doors(folder / "state", url, clock)
    with doors.database() as database:
        Vault.make(database, clock, actor(), name="shop", region="north", goal=goal).close()
    return Place(doors, clock, folder)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A vault for two servers in the state folder of one of them."""
    return place(tmp_path)


def test_a_key_file_says_in_clear_text_when_it_expires_and_is_for_its_owner_only(here: Place, tmp_path: Path) -> None:
    key, file = here.key(), tmp_path / "ny.key"
    keyfile.write(file, key)
    text = file.read_text()
    assert "once, until 2026-11-26 12:00:00 UTC." in text
    assert "make another on the vault: drill vault key make ny" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keyfile.read(file) == key
    with pytest.raises(Refused, match="exists"):
        keyfile.write(file, key)


@pytest.mark.spec("B9.a")
def test_a_server_registers_unattended_and_remembers_its_vault(here: Place) -> None:
    here.register(here.key())
    known = membership.read(here.doors.state)
    assert known is not None
    assert (known.server, known.node, known.location) == ("ny", "ny", here.doors.location().shown)
    assert stat.S_IMODE((here.doors.state / membership.FILE).stat().st_mode) == 0o600
    with here.doors.vault() as vault:
        assert [(one.looker, one.purpose, one.reached) for one in vault.probes.all()] == [("ny.example", "vault", True)]
    assert registering.unregister(here.doors, "ny") == ("gold1",)
    assert membership.read(here.doors.state) is None


def test_a_key_of_another_vault_is_refused(here: Place) -> None:
    with pytest.raises(Refused, match="of another vault"):
        here.register(replace(here.key(), vault_id="0" * 32))


@pytest.mark.spec("B6.c")
def test_what_a_key_file_says_is_held_against_the_command_line(here: Place) -> None:
    key = here.key()
    for name, role, at_us, said in [
        ("chi", "", key.made_us, "is for the server ny, not chi"),
        ("ny", "", key.expires_us + 1, r"expired on 2026-11-26 12:00:00 UTC"),
        ("ny", "other", key.made_us, "is its role's, other, not ny"),
    ]:
        with pytest.raises(Refused, match=said):
            registering.check_key(key, name, role, at_us)
    registering.check_key(key, "ny", "ny", key.expires_us)


def test_nodes_of_a_server_cluster_register_with_a_key_each(here: Place) -> None:
    for name in ("n1", "n2"):
        asked = Asked(cluster=Membership(role="ny", node=name, is_active=name == "n1"))
        here.register(here.key(), asked)
    with here.doors.vault() as vault:
        assert [node.name for node in vault.servers.all()[0].nodes] == ["n1", "n2"]


@pytest.mark.spec("B9.d")
def test_an_encryption_certificate_is_for_a_region_and_ends_in_pfx(tmp_path: Path) -> None:
    region = place(tmp_path, goal=Goal.REGION)
    sound, wrong, text = tmp_path / "store.pfx", tmp_path / "store.pem", tmp_path / "text.pfx"
    for file in (sound, wrong):
        file.write_bytes(b"\x30\x82planted")
    text.write_text("-----BEGIN")
    with pytest.raises(Refused, match=r"does not end in \.pfx"):
        region.register(region.key(), Asked(certificate=wrong))
    with pytest.raises(BadInput):
        region.register(region.key(), Asked(certificate=text))
    with pytest.raises(Usage):
        region.register(region.key(), Asked(certificate=tmp_path / "none.pfx"))
    region.register(region.key(), Asked(certificate=sound))
    with region.doors.vault() as vault:
        assert len(vault.servers.all()[0].encryption_certificate) == 64
    second = place(tmp_path / "second")
    with pytest.raises(Refused, match="for a region only"):
        second.register(second.key(), Asked(certificate=sound))


@pytest.fixture
def controller(here: Place) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a controller's folder, as a controller does."""
    folder = here.doors.state / "controller" / "shop"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", HOLDER, str(folder / "controller.lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.spec("B9.b")
def test_a_running_controller_is_found_and_stopped_only_by_those_who_consented(
    here: Place, controller: subprocess.Popen[str], verb: Verb, tmp_path: Path
) -> None:
    file = tmp_path / "ny.key"
    far = replace(here.key(), expires_us=2**53)
    keyfile.write(file, far)
    error = verb("register", "--key-file", str(file), "--name", "ny", "--json", state=here.doors.state).document[
        "error"
    ]
    assert (error["id"], f"process {controller.pid}" in error["message"]) == ("Refused", True)
    assert "--stop-service" in error["remedy"]
    assert controller.poll() is None
    stopping = registering.running(here.doors.state)
    assert [one.pid for one in stopping] == [controller.pid]
    told = Told()
    registering.register(here.doors, here.key(), told, Asked(), stopping, told.progress.append)
    assert controller.wait(30) != 0
    assert f"stopping process {controller.pid}" in told.progress
    assert registering.running(here.doors.state) == []


def test_a_process_that_let_go_of_the_lock_is_not_ended(here: Place, controller: subprocess.Popen[str]) -> None:
    (holder,) = registering.running(here.doors.state)
    other = here.doors.state / "other.lock"
    other.touch()
    holders.stop(replace(holder, file=other))
    assert controller.poll() is None


def test_one_does_not_stop_oneself(here: Place, tmp_path: Path) -> None:
    with (tmp_path / "own.lock").open("w") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        (holder,) = holders.holders([tmp_path / "own.lock"])
        assert holder.pid == os.getpid()
        with pytest.raises(Refused, match="by this process"):
            holders.stop(holder)


@dataclass(frozen=True, slots=True)
class Far:
    """A vault in PostgreSQL whose host only a proxy can find."""

    place: Place
    proxy: Proxy

    def asked(self, **changes: object) -> VaultProxy:
        through = VaultProxy(address="127.0.0.1", port=self.proxy.port, user="drill", credential="proxy")
        return replace(through, **changes)  # type: ignore[arg-type]


@pytest.fixture
def far(tmp_path: Path, postgresql: PostgresqlServer) -> Iterator[Far]:
    near = place(tmp_path, postgresql.database())
    url = f"postgresql://{postgresql.user}@{NAME}/postgres"
    with running(postgresql.socket / ".s.PGSQL.5432", PASSWORD) as proxy:
        doors = replace(near.doors, chosen=url)
        doors.credentials.set("proxy", PASSWORD.encode() + b"\n")
        yield Far(replace(near, doors=near.doors), proxy)


def reached(far: Far) -> Doors:
    return replace(far.place.doors, chosen=f"postgresql://postgres@{NAME}/postgres")


@pytest.mark.spec("B7.a", "B9.c")
def test_a_vault_is_reached_through_a_proxy_that_asks_for_a_user(far: Far) -> None:
    key, doors, told = far.place.key(), reached(far), Told()
    registering.register(doors, key, told, Asked(proxy=far.asked()), [], told.progress.append)
    assert far.proxy.asked[0].startswith(f"CONNECT {NAME}:5432 HTTP/1.1\r\n")
    before = len(far.proxy.asked)
    with Doors(doors.state, "", far.place.clock).vault() as vault:  # as any verb does afterwards
        assert vault.servers.all()[0].proxy == far.asked()
    assert len(far.proxy.asked) > before
    for file in doors.state.rglob("*"):
        if file.is_file() and file.parent.name != "credentials":
            assert PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.spec("B7.b")
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Failed, "it answers 502"),
        (b"HTTP/1.1 407 Who?\r\n\r\n", Refused, "does not accept this user"),
        (b"220 mail.example\r\n\r\n", BadInput, "none of HTTP"),
        (b"HTTP/1.1 200 OK", BadInput, "none of HTTP"),
        (b"x" * 9000, BadInput, "none of HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n", Refused, "does not lead to the vault"),
    ],
    ids=["502", "407", "mail", "cut", "endless", "to nobody"],
)
def test_a_proxy_that_does_not_lead_to_the_vault_is_refused_when_it_is_set(
    far: Far, answer: bytes, error: type[DrillError], said: str
) -> None:
    far.proxy.answer = answer
    key, told = far.place.key(), Told()
    with pytest.raises(error, match=said) as refused:
        registering.register(reached(far), key, told, Asked(proxy=far.asked()), [], told.progress.append)
    assert PASSWORD not in str(refused.value)
    with far.place.doors.vault() as vault:
        assert vault.servers.all() == ()
    assert membership.read(far.place.doors.state) is None


@pytest.mark.spec("B7.b")
def test_a_proxy_that_is_not_there_is_unreachable(far: Far) -> None:
    with pytest.raises(Unreachable, match="the proxy does not answer"):
        reached(far).try_proxy(far.asked(port=1))


@pytest.mark.spec("B7.c")
def test_a_changed_password_counts_from_the_next_start(far: Far) -> None:
    doors = reached(far)
    with doors.vault(proxy=far.asked()) as running_since:
        doors.credentials.set("proxy", b"another")
        running_since.book.database.engine.dispose()  # it must dial again, and does so with the password it began with
        assert running_since.facts().name == "shop"
        with pytest.raises(DrillError):
            doors.try_proxy(far.asked())
    far.proxy.password = "another"
    doors.try_proxy(far.asked())


def test_a_vault_in_a_file_has_no_use_for_a_proxy(here: Place) -> None:
    here.doors.credentials.set("proxy", b"x")
    asked = Asked(proxy=VaultProxy(address="127.0.0.1", port=1, user="drill", credential="proxy"))
    with pytest.raises(Usage, match="no proxy leads there"):
        here.register(here.key(), asked)


def test_a_credential_is_one_line_for_its_owner_only(here: Place) -> None:
    kept = here.doors.credentials
    assert kept.names() == ()
    kept.set("db", b"secret\n")
    assert (kept.get("db"), kept.names()) == ("secret", ("db",))
    file = here.doors.state / "credentials" / "db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(Refused, match="can be read by others") as refused:
        kept.get("db")
    assert "secret" not in str(refused.value)
    kept.remove("db")
    for attempt in (kept.get, kept.remove):
        with pytest.raises(Usage, match="there is no credential"):
            attempt("db")
    for bad in (b"", b"two\nlines", b"\xff", b"x" * 5000):
        with pytest.raises(BadInput):
            kept.set("db", bad)
    with pytest.raises(Usage):
        kept.set("../db", b"x")


def test_memory_of_the_vault_that_others_can_read_or_that_is_none_is_refused(here: Place) -> None:
    file = here.doors.state / membership.FILE
    file.write_text("{}")
    file.chmod(0o600)
    with pytest.raises(BadInput):
        membership.read(here.doors.state)
    file.write_text(" " * 70000)
    with pytest.raises(BadInput, match="longer than"):
        membership.read(here.doors.state)
    file.chmod(0o640)
    with pytest.raises(Refused, match="can be read by others"):
        membership.read(here.doors.state)


def test_a_key_that_expired_meanwhile_is_refused_by_the_vaults_clock(here: Place) -> None:
    key = here.key()
    here.clock.jump(6 * DAY_US)
    with pytest.raises(Refused, match="expired on"):
        here.register(key)
