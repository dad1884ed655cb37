"""The database under the vault: its schema comes forward, it keeps to itself, writers wait for each other."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from drill.errors import Damaged, DrillError, Failed, Refused, Unknown, Unreachable, Usage
from drill.vault import migrate, schema
from drill.vault.database import Database, make_private
from drill.vault.location import in_file, location
from drill.vault.vault import Vault
from fixtures.postgresql import PostgresqlServer
from tests.vaults import Bank, JumpingClock, bank, register

__all__ = ["bank"]


OLDER = (
    "INSERT INTO vault VALUES (1, 'id', 'shop', 'north', 'second-server', 'active', 1795262400000000)",
    "INSERT INTO servers VALUES ('ny', 'new-york', false, 1795262400000000, '', 0, '', '', '')",
    "INSERT INTO clouds VALUES ('gold', 'ny', 1795262400000000)",
    "INSERT INTO cloud_hosts VALUES ('gold', 'all', 'ny1')",
)


@pytest.fixture
def database(bank: Bank) -> Iterator[Database]:
    """An empty database."""
    made = bank.database()
    if made.location.file is not None:
        make_private(made.location.file)
    yield made
    made.close()


def differences(database: Database) -> list[object]:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, schema.metadata))


def test_migrations_from_nothing_end_at_the_schema_that_the_code_uses(database: Database) -> None:
    assert migrate.forward(database) == ""
    assert differences(database) == []
    assert migrate.forward(database) == migrate.NEWEST


def test_the_schema_is_seen_to_differ_when_a_column_is_missing(database: Database) -> None:
    migrate.forward(database)
    with database.rebuilding() as connection:
        connection.exec_driver_sql("ALTER TABLE probes DROP COLUMN cause")
    assert differences(database)


def test_a_vault_of_an_older_version_is_refused_until_it_was_brought_forward_and_keeps_what_it_held(
    bank: Bank, database: Database
) -> None:
    migrate.forward(database, "0001")
    with database.writing() as connection:
        for statement in OLDER:
            connection.exec_driver_sql(statement)
    with pytest.raises(Refused, match="schema 0001, this drill needs 0002") as refused:
        bank.open()
    assert "drill vault upgrade" in refused.value.remedy
    assert migrate.forward(database) == "0001"
    with bank.open() as vault:
        assert vault.facts().generation == 0
        (cloud,) = vault.clouds.all()
        assert (cloud.facts.profile, cloud.facts.host_groups, cloud.encrypts) == ("kvm", {"all": ("ny1",)}, False)


def test_a_copy_of_the_older_vault_is_left_beside_it_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "vault.sqlite"
    make_private(file)
    database = Database(in_file(file))
    migrate.forward(database, "0001")
    migrate.forward(database)
    database.close()
    copy = tmp_path / "vault.sqlite.before-0002"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    kept = Database(in_file(copy))
    with kept.reading() as connection:
        assert migrate.revision(connection) == "0001"
    kept.close()


def test_a_vault_of_a_newer_version_is_refused_and_not_touched(bank: Bank, database: Database) -> None:
    migrate.forward(database)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (bank.open, lambda: migrate.forward(database)):
        with pytest.raises(Refused, match=r"written by a newer drill \(schema '9999'"):
            attempt()


def test_a_migration_that_fails_half_way_leaves_the_older_vault(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.forward(database, "0001")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE probes (looker text)")  # it is in the way
    with pytest.raises(Failed):
        migrate.forward(database)
    with database.reading() as connection:
        assert migrate.revision(connection) == "0001"
        assert not sa.inspect(connection).has_table("jobs")


def test_an_empty_database_is_no_vault(bank: Bank, database: Database) -> None:
    with pytest.raises(Refused, match="there is no vault"):
        bank.open()


def test_a_vault_without_its_name_is_damaged(bank: Bank, database: Database) -> None:
    migrate.forward(database)
    with pytest.raises(Damaged):
        bank.open()


@pytest.mark.parametrize("revision", ["", *migrate.REVISIONS])
def test_a_vault_whose_making_was_cut_short_is_made_by_trying_again(
    bank: Bank, database: Database, revision: str
) -> None:
    if revision:
        migrate.forward(database, revision)
    bank.make().close()
    with bank.open() as vault:
        assert vault.facts().name == "shop"
        assert vault.verify_audit()[0] == 1


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state/vault.sqlite"
    file.write_text("what somebody wrote" * 100)
    file.chmod(0o600)
    with pytest.raises(Damaged, match="not a database"):
        Bank(f"sqlite:///{file}", JumpingClock()).make()
    assert file.read_text() == "what somebody wrote" * 100


def test_what_a_block_raises_undoes_what_it_wrote(bank: Bank) -> None:
    def rename() -> None:
        with vault.book.writing() as change:
            change.connection.execute(sa.update(schema.vault).values(name="other"))
            raise Refused("planted")

    with bank.make() as vault:
        with pytest.raises(Refused, match="planted"):
            rename()
        assert vault.facts().name == "shop"


def test_rows_that_refer_to_nothing_are_refused(bank: Bank) -> None:
    row = schema.cloud_hosts.insert().values(cloud="nobody", host_group="all", host="ny1")
    with bank.make() as vault, pytest.raises(Failed), vault.book.writing() as change:
        change.connection.execute(row)


def test_eight_writers_at_once_wait_for_each_other(bank: Bank) -> None:
    bank.make().close()
    errors: list[DrillError] = []

    def work(number: int) -> None:
        try:
            with bank.open(f"writer{number}") as mine:
                for _ in range(3):
                    mine.keys.make("ny")
        except DrillError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    with bank.open() as vault:
        assert (len(vault.keys.all()), errors) == (24, [])
        assert vault.verify_audit()[0] == 25


def test_only_one_of_two_servers_gets_the_last_place(bank: Bank) -> None:
    with bank.make() as vault:
        register(vault, "ny")
    said: list[str] = []

    def work(server: str) -> None:
        try:
            with bank.open() as mine:
                register(mine, server)
                said.append("in")
        except Refused:
            said.append("refused")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("chi", "rome")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(said) == ["in", "refused"]


def test_the_vaults_file_and_its_journals_are_for_their_owner_only(tmp_path: Path) -> None:
    bank = Bank(f"sqlite:///{tmp_path}/state/vault.sqlite", JumpingClock())
    with bank.make() as vault:
        vault.keys.make("ny")
        files = list((tmp_path / "state").iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        (tmp_path / "state/vault.sqlite").chmod(0o640)
        with pytest.raises(Refused, match="can be read by others"):
            vault.facts()


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    nowhere = Database(location(f"postgresql://drill@/vault?host={tmp_path}"))
    with pytest.raises(Unreachable), nowhere.reading():
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vault.sqlite", "is no URL"),
        ("sqlite:///vault.sqlite", "absolute path"),
        ("sqlite://", "absolute path"),
        ("mysql://db/vault", "cannot be in 'mysql'"),
        ("postgresql://drill@db", "no database"),
        ("postgresql://drill@db/vault?options=-cfoo", "unknown 'options'"),
        ("postgresql://drill:hunter2@db/vault", "password stands in"),
        ("postgresql://drill@db/vault?password=hunter2", "password stands in"),
    ],
)
def test_a_location_that_is_none_is_refused_without_its_password(text: str, said: str) -> None:
    with pytest.raises(Usage, match=said) as refused:
        location(text)
    assert "hunter2" not in str(refused.value) + refused.value.remedy


@pytest.fixture
def far(postgresql: PostgresqlServer) -> Bank:
    """A place in PostgreSQL."""
    return Bank(postgresql.database(), JumpingClock())


def cut(postgresql: PostgresqlServer, connection: sa.Connection) -> None:
    """End a session from outside, as a server does that is restarted."""
    pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    postgresql.ask("postgres", f"SELECT pg_terminate_backend({pid}, 10000)")


def test_a_connection_that_is_lost_before_the_end_has_written_nothing(far: Bank, postgresql: PostgresqlServer) -> None:
    def work(vault: Vault) -> None:
        with vault.book.writing() as change:
            change.connection.execute(sa.update(schema.vault).values(name="other"))
            cut(postgresql, change.connection)
            change.connection.execute(sa.select(schema.vault))

    with far.make() as vault:
        with pytest.raises(Unreachable):
            work(vault)
        assert vault.facts().name == "shop"


def test_whether_a_change_was_written_is_unknown_when_the_connection_is_lost_at_its_end(
    far: Bank, postgresql: PostgresqlServer
) -> None:
    def work(vault: Vault) -> None:
        with vault.book.writing() as change:
            change.connection.execute(sa.update(schema.vault).values(name="other"))
            cut(postgresql, change.connection)

    with far.make() as vault:
        with pytest.raises(Unknown):
            work(vault)
        assert vault.facts().name in {"shop", "other"}
