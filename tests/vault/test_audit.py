"""The audit log grows with every change, and shows what was done to it."""

from __future__ import annotations

import pytest

from drill.errors import Damaged, DrillError, Failed, Refused
from drill.vault.schema import audit
from drill.vault.vault import Vault
from tests.vaults import NOON_US, bank, register, registration, vault

__all__ = ["bank", "vault"]


def told(vault: Vault) -> list[tuple[str, str, str]]:
    with vault.audit() as entries:
        return [(entry.action, entry.subject, entry.outcome) for _, _, entry in entries]


def tampered(vault: Vault, statement: str) -> None:
    """What somebody does who has the database itself, and takes the guards away."""
    with vault.book.database.rebuilding() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_kept")
            connection.exec_driver_sql("DROP TRIGGER audit_same")
        else:
            connection.exec_driver_sql("DROP TRIGGER audit_kept ON audit")
        connection.exec_driver_sql(statement)


def test_every_change_and_every_refusal_is_told_with_its_actor_and_instant(vault: Vault) -> None:
    key = vault.keys.make("ny")
    with pytest.raises(Refused):
        vault.servers.register(registration(key, clouds=()))
    vault.servers.register(registration(key))
    assert told(vault) == [
        ("make the vault", "vault shop", "done"),
        ("make a registration key", "server ny", "done"),
        ("register", "server ny", "Refused"),
        ("register", "server ny", "done"),
    ]
    with vault.audit() as entries:
        assert {(entry.actor, entry.at_us) for _, _, entry in entries} == {("root@test", NOON_US)}
    assert vault.verify_audit()[0] == 4


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET hash = 'x'"], ids=["delete", "change"])
def test_the_database_refuses_to_change_an_entry(vault: Vault, statement: str) -> None:
    with pytest.raises(Failed, match="only grows"), vault.book.writing() as change:
        change.connection.exec_driver_sql(statement)
    assert vault.verify_audit()[0] == 1


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE audit SET line = replace(line, 'root@test', 'nobody') WHERE n = 2", id="a word"),
        pytest.param("DELETE FROM audit WHERE n = 2", id="taken out"),
        pytest.param("DELETE FROM audit WHERE n = 1", id="the first"),
        pytest.param("UPDATE audit SET n = 7 WHERE n = 3", id="moved"),
        pytest.param("UPDATE audit SET hash = 'x' WHERE n = 3", id="hash"),
        pytest.param("UPDATE audit SET line = '[]' WHERE n = 2", id="no line"),
        pytest.param("UPDATE audit SET line = line || ' ' WHERE n = 2", id="spelling"),
    ],
)
def test_what_is_done_behind_its_back_breaks_the_chain(vault: Vault, statement: str) -> None:
    register(vault, "ny")
    vault.verify_audit()
    tampered(vault, statement)
    with pytest.raises(DrillError, match=r"the audit log, entry [1-7]"):
        vault.verify_audit()


def test_entries_that_were_cut_off_show_against_a_head_that_was_noted(vault: Vault) -> None:
    first = vault.verify_audit()
    register(vault, "ny")
    noted = vault.verify_audit()
    assert vault.verify_audit(first) == noted
    tampered(vault, "DELETE FROM audit WHERE n = 3")
    assert vault.verify_audit(first)[0] == 2
    with pytest.raises(Damaged, match="entry 3 is not the one that was noted"):
        vault.verify_audit(noted)


def test_an_entry_of_another_shape_is_no_entry(vault: Vault) -> None:
    from drill.core import chain
    from drill.vault.audit import head

    with vault.book.writing() as change:
        number, previous = head(change.connection)
        body = {"at_us": "noon", "actor": "", "action": "", "subject": "", "outcome": "", "detail": ""}
        line, digest = chain.sealed(body, number + 1, previous, "planted")
        change.connection.execute(audit.insert().values(n=number + 1, line=line.decode(), hash=digest))
    with pytest.raises(DrillError, match="its fields are not those of an entry"):
        vault.verify_audit()
