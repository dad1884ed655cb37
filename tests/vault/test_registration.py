"""Servers register with keys, tell of themselves, and go; on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drill.core.registration import KEY_US
from drill.errors import DrillError, Refused, Usage
from drill.model.vault import Goal, Membership, Particulars, SeenVersion, VaultProxy
from drill.vault.schema import metadata
from drill.vault.vault import Vault
from tests.vaults import DAY_US, NOON_US, VERSIONS, Bank, bank, cloud, register, registration, vault

__all__ = ["bank", "vault"]


@pytest.mark.spec("B1.b", "B1.c")
def test_a_vault_is_active_once_it_was_made_and_is_found_again_by_its_name_and_region(bank: Bank) -> None:
    bank.make().close()
    with bank.open() as found:
        facts = found.facts()
    assert (facts.name, facts.region, facts.state, facts.made_us) == ("shop", "north", "active", NOON_US)


@pytest.mark.spec("B3.a", "B3.b")
@pytest.mark.parametrize("goal", Goal, ids=lambda goal: goal.value)
def test_a_vault_keeps_what_is_to_be_protected_to_where(bank: Bank, goal: Goal) -> None:
    with bank.make(goal) as made:
        assert made.facts().goal is goal


def test_a_second_vault_in_one_database_is_refused(bank: Bank) -> None:
    bank.make().close()
    with pytest.raises(Refused):
        bank.make()
    with bank.open() as found:
        assert found.facts().name == "shop"


@pytest.mark.spec("B2.a")
@pytest.mark.parametrize("age_us", [0, 3 * DAY_US, 5 * DAY_US], ids=["new", "three days", "five days"])
def test_a_key_registers_its_server_until_it_is_five_days_old(bank: Bank, age_us: int) -> None:
    with bank.make() as vault:
        key = vault.keys.make("ny")
        bank.clock.jump(age_us)
        vault.servers.register(registration(key))
        assert [server.name for server in vault.servers.all()] == ["ny"]


@pytest.mark.spec("B2.b")
def test_a_key_that_is_older_is_refused_with_when_it_expired_and_how_to_make_another(bank: Bank) -> None:
    with bank.make() as vault:
        key = vault.keys.make("ny")
        bank.clock.jump(5 * DAY_US + 1)
        with pytest.raises(Refused) as refused:
            vault.servers.register(registration(key))
        assert "expired on 2026-11-26 12:00:00 UTC" in str(refused.value)
        assert "drill vault key make ny --to FILE" in refused.value.remedy
        assert vault.servers.all() == ()
        assert vault.keys.all()[0].expires_us == NOON_US + KEY_US


def test_a_key_serves_once(vault: Vault) -> None:
    key = vault.keys.make("ny")
    vault.servers.register(registration(key))
    vault.servers.unregister("ny")
    with pytest.raises(Refused, match="it serves once"):
        vault.servers.register(registration(key))


def test_a_registration_that_is_refused_leaves_the_key_as_good_as_before(vault: Vault) -> None:
    key = vault.keys.make("ny")
    with pytest.raises(Refused, match="at least one cloud"):
        vault.servers.register(registration(key, clouds=()))
    vault.servers.register(registration(key))


def test_a_revoked_key_is_refused_and_a_used_one_cannot_be_revoked(vault: Vault) -> None:
    key, used = vault.keys.make("ny"), vault.keys.make("chi")
    vault.keys.revoke(key.key)
    vault.keys.revoke(key.key)
    with pytest.raises(Refused, match="was revoked on"):
        vault.servers.register(registration(key))
    vault.servers.register(registration(used))
    with pytest.raises(Refused, match="used already"):
        vault.keys.revoke(used.key)
    with pytest.raises(Usage):
        vault.keys.revoke("0" * 16)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"server": "chi"}, id="another server"),
        pytest.param({"secret": "0" * 64}, id="another secret"),
        pytest.param({"key": "0" * 16}, id="another key"),
    ],
)
def test_a_key_that_is_not_the_servers_is_refused_in_words_that_do_not_say_why(
    vault: Vault, changes: dict[str, Any]
) -> None:
    key = vault.keys.make("ny")
    asked = replace(registration(key), **changes)
    with pytest.raises(Refused) as refused:
        vault.servers.register(asked)
    assert str(refused.value) == f"refused: the registration key is not one for the server {asked.server}"


def test_after_five_wrong_keys_even_the_right_one_waits_a_quarter_of_an_hour(bank: Bank) -> None:
    with bank.make() as vault:
        key = vault.keys.make("ny")
        for _ in range(5):
            with pytest.raises(Refused, match="is not one for"):
                vault.servers.register(registration(key, secret="0" * 64))
        with pytest.raises(Refused, match="too many wrong"):
            vault.servers.register(registration(key))
        register(vault, "chi")
        bank.clock.jump(15 * 60_000_000)
        vault.servers.register(registration(key))


def test_a_vault_whose_clock_went_back_before_the_key_was_made_refuses_it(bank: Bank) -> None:
    with bank.make() as vault:
        key = vault.keys.make("ny")
        bank.clock.jump(-DAY_US)
        with pytest.raises(Refused, match="still to come"):
            vault.servers.register(registration(key))


def test_no_secret_of_a_key_stands_anywhere_in_the_vault(bank: Bank) -> None:
    with bank.make() as vault:
        key = vault.keys.make("ny")
        with pytest.raises(Refused):
            vault.servers.register(registration(key, clouds=()))
        vault.servers.register(registration(key))
        with vault.book.reading() as connection:
            dump = [tuple(row) for table in metadata.sorted_tables for row in connection.execute(table.select())]
        assert key.key in str(dump)
        assert key.secret not in str(dump)
        assert key.secret not in repr(registration(key)) + repr(key)


@pytest.mark.spec("A7.a")
def test_versions_are_looked_at_before_a_server_registers(vault: Vault) -> None:
    key = vault.keys.make("ny")
    old = SeenVersion(component="libvirt", place="ny2", version="7.0.0")
    with pytest.raises(Refused, match=r"ny2: libvirt is 7\.0\.0, and needs 8\.0") as refused:
        vault.servers.register(registration(key, versions=(*VERSIONS, old)))
    assert refused.value.rule == "A7"
    new = replace(old, version="12.3.0")
    assert vault.servers.register(registration(key, versions=(*VERSIONS, new))) == (
        "ny2: libvirt is 12.3.0, newer than 9.0, the newest that was tested",
    )
    assert new in vault.servers.all()[0].nodes[0].versions


@pytest.mark.spec("A1.a", "A1.b", "A2.a")
def test_a_lone_server_needs_two_clouds_and_two_are_advised(bank: Bank) -> None:
    with bank.make(Goal.ONE_SERVER) as vault:
        with pytest.raises(Refused, match="a lone server needs two clouds, this one has 1"):
            register(vault, "ny")
        told = register(vault, "ny", clouds=(cloud("gold", "ny1"), cloud("silver", "chi1")))
        assert told == ("two servers, one for each site, are advised: this one is lost with its site",)
        with pytest.raises(Refused, match="is for one server"):
            register(vault, "chi")


@pytest.mark.spec("A1.a", "A2.b")
def test_each_of_two_servers_needs_a_cloud_and_a_third_is_refused(vault: Vault) -> None:
    with pytest.raises(Refused, match="at least one cloud"):
        register(vault, "ny", clouds=())
    assert register(vault, "ny") == ()
    assert register(vault, "chi") == ()
    with pytest.raises(Refused, match="is for two servers, and has 2"):
        register(vault, "rome")


def test_a_registered_server_and_its_clouds_appear_with_what_they_told(vault: Vault) -> None:
    register(vault, "ny", proxy=VaultProxy(address="proxy", port=3128, user="u", credential="proxy"))
    (server,), (found,) = vault.servers.all(), vault.clouds.all()
    assert server.nodes[0].particulars.host_name == "ny.example"
    assert server.nodes[0].versions == tuple(sorted(VERSIONS, key=lambda one: one.component))
    assert server.proxy == VaultProxy(address="proxy", port=3128, user="u", credential="proxy")
    assert (found.server, found.facts.host_groups) == ("ny", {"all": ("ny1", "ny2")})


@pytest.mark.spec("B5.a")
def test_an_unregistered_server_is_gone_with_its_clouds(vault: Vault) -> None:
    register(vault, "ny")
    register(vault, "chi")
    assert vault.servers.unregister("ny") == ("ny-cloud",)
    assert [one.name for one in vault.servers.all()] == ["chi"]
    assert [one.facts.name for one in vault.clouds.all()] == ["chi-cloud"]
    with pytest.raises(Usage):
        vault.servers.unregister("ny")


def test_a_server_is_registered_once(vault: Vault) -> None:
    register(vault, "ny")
    with pytest.raises(Refused, match="registered already"):
        register(vault, "ny")


def node(name: str, *, active: bool = False, role: str = "ny") -> Membership:
    return Membership(role=role, node=name, is_active=active)


@pytest.mark.spec("B6.a")
def test_the_active_node_of_a_server_cluster_registers_first_and_the_others_after_it(vault: Vault) -> None:
    with pytest.raises(Refused, match="n2 is not the active node"):
        register(vault, "ny", cluster=node("n2"))
    register(vault, "ny", cluster=node("n1", active=True))
    register(vault, "ny", cluster=node("n2"))
    (server,) = vault.servers.all()
    assert [(one.name, one.is_active) for one in server.nodes] == [("n1", True), ("n2", False)]
    with pytest.raises(Refused, match="n2 of ny is registered already"):
        register(vault, "ny", cluster=node("n2"))


@pytest.mark.spec("B6.c")
def test_a_server_cluster_is_known_by_the_name_of_its_role(vault: Vault) -> None:
    with pytest.raises(Refused, match="is its role's, new-york-role, not ny"):
        register(vault, "ny", cluster=node("n1", active=True, role="new-york-role"))


@pytest.mark.spec("B6.b")
def test_all_nodes_run_one_version_and_clouds_wait_for_the_end_of_an_upgrade(vault: Vault) -> None:
    newer = Particulars(host_name="n2", drill="0.2.0")
    register(vault, "ny", cluster=node("n1", active=True))
    with pytest.raises(Refused, match=r"run drill 0\.1\.0, n2 runs 0\.2\.0"):
        register(vault, "ny", cluster=node("n2"), particulars=newer)
    register(vault, "ny", cluster=node("n2"))
    assert vault.servers.refresh("ny", "n1", replace(newer, host_name="n1"), VERSIONS).releases == ("0.1.0", "0.2.0")
    with pytest.raises(Refused, match=r"run drill 0\.1\.0, 0\.2\.0"):
        register(vault, "ny", cluster=node("n3"), particulars=newer)
    assert vault.servers.refresh("ny", "n2", newer, VERSIONS).releases == ("0.2.0",)
    register(vault, "ny", cluster=node("n3"), particulars=newer)


def test_a_node_joins_no_server_that_is_no_cluster_and_a_stranger_tells_nothing(vault: Vault) -> None:
    register(vault, "ny")
    with pytest.raises(Refused, match="is no server cluster"):
        register(vault, "ny", cluster=node("n2"))
    with pytest.raises(Usage):
        vault.servers.refresh("ny", "n2", Particulars(host_name="n2", drill="0.1.0"), ())
    with pytest.raises(Usage):
        vault.servers.refresh("rome", "rome", Particulars(host_name="r", drill="0.1.0"), ())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"clouds": (cloud("gold", "h", profile=""),)}, "A4"),
        ({"clouds": (replace(cloud("gold"), host_groups={}),)}, "A3"),
    ],
    ids=["no profile", "no host group"],
)
def test_a_cloud_that_lacks_something_is_refused(vault: Vault, changes: dict[str, object], rule: str) -> None:
    with pytest.raises(DrillError) as refused:
        register(vault, "ny", **changes)
    assert vars(refused.value)["rule"] == rule
