"""What the vault keeps of an estate: desired objects, pairs and their rules, synchronised clouds, encryption, jobs."""

from __future__ import annotations

import json

import pytest

from drill.errors import BadInput, DrillError, Refused, Usage
from drill.model.job import Cause, JobState, JobStep
from drill.model.vault import Desired, Goal, Kind, Membership, Particulars, Probe
from drill.vault.vault import Vault
from tests.vaults import DAY_US, NOON_US, VERSIONS, Bank, bank, cloud, register, vault

__all__ = ["bank", "vault"]


def pair(name: str, **fields: str) -> Desired:
    return Desired(kind=Kind.PAIR, name=name, document=json.dumps({"policy": "gold", **fields}))


def write(vault: Vault, *changed: Desired, removed: tuple[tuple[Kind, str], ...] = ()) -> int:
    return vault.desired.write(changed, removed, read_at=vault.desired.read().generation)


def paired(vault: Vault) -> None:
    """Two servers whose clouds may be chosen."""
    register(vault, "ny", clouds=(cloud("gold1"), cloud("silver1")))
    register(vault, "chi", clouds=(cloud("gold2"), cloud("silver2")))


def test_desired_objects_are_read_as_they_were_written_and_each_writing_counts(vault: Vault) -> None:
    policy = Desired(kind=Kind.POLICY, name="gold", document='{"b": 1, "a": [2]}')
    assert write(vault, policy) == 1
    state = vault.desired.read()
    assert [(one.kind, one.name, one.document) for one in state.objects] == [(Kind.POLICY, "gold", '{"a":[2],"b":1}')]
    assert write(vault, policy) == 1
    assert write(vault, removed=((Kind.POLICY, "gold"), (Kind.POLICY, "other"))) == 2
    assert vault.desired.read().objects == ()


def test_what_somebody_wrote_meanwhile_is_not_overwritten(vault: Vault) -> None:
    write(vault, Desired(kind=Kind.POLICY, name="gold", document="1"))
    with pytest.raises(Refused, match="generation 1, not 0"):
        vault.desired.write([Desired(kind=Kind.POLICY, name="gold", document="2")], [], read_at=0)
    assert vault.desired.read().objects[0].document == "1"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"proxy": [{"Password": "hunter2"}]}', "a secret belongs into a credential"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"a": NaN}', "NaN"),
        ("{", "not JSON"),
    ],
    ids=["secret", "twice", "nan", "cut"],
)
def test_a_document_that_cannot_be_kept_is_refused(vault: Vault, document: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        write(vault, Desired(kind=Kind.SERVER, name="ny", document=document))
    assert "hunter2" not in str(refused.value)
    assert vault.desired.read().generation == 0


@pytest.mark.spec("D2.a")
@pytest.mark.parametrize(
    "second",
    [
        {"source": "gold1", "target": "silver2"},
        {"source": "silver1", "target": "gold2"},
        {"source": "gold2", "target": "silver2"},
        {"source": "silver1", "target": "gold1"},
    ],
    ids=lambda fields: f"{fields['source']} to {fields['target']}",
)
def test_a_cloud_belongs_to_one_pair_as_source_or_as_target(vault: Vault, second: dict[str, str]) -> None:
    paired(vault)
    write(vault, pair("gold", source="gold1", target="gold2"))
    with pytest.raises(Refused, match="is in the pair gold already") as refused:
        write(vault, pair("second", **second))
    assert refused.value.rule == "D2"
    write(vault, pair("second", source="silver1", target="silver2"))
    assert [one.name for one in vault.desired.pairs()] == ["gold", "second"]


@pytest.mark.spec("D4.a")
def test_another_target_needs_the_pair_removed_and_made_anew(vault: Vault) -> None:
    paired(vault)
    write(vault, pair("gold", source="gold1", target="gold2"))
    elsewhere = pair("gold", source="gold1", target="silver2")
    with pytest.raises(Refused, match="leads from gold1 to gold2") as refused:
        write(vault, elsewhere, removed=((Kind.PAIR, "gold"),))
    assert refused.value.rule == "D4"
    write(vault, removed=((Kind.PAIR, "gold"),))
    write(vault, elsewhere)
    assert vault.desired.pairs()[0].target == "silver2"


@pytest.mark.spec("D4.b")
def test_a_new_store_holds_for_machines_that_are_enabled_afterwards(bank: Bank) -> None:
    with bank.make(Goal.REGION) as vault:
        register(vault, "ny", clouds=(cloud("gold1"),))
        write(vault, pair("gold", source="gold1", region="west", store="one"))
        enabled_us = NOON_US + DAY_US
        bank.clock.jump(2 * DAY_US)
        write(vault, pair("gold", source="gold1", region="west", store="two"))
        assert vault.desired.pairs()[0].store == "two"
        assert vault.desired.store_at("gold", enabled_us) == "one"
        assert vault.desired.store_at("gold", bank.clock.now_us()) == "two"
        assert vault.desired.store_at("gold", NOON_US - 1) == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "gold1"},
        {"source": "gold1", "target": "gold2", "region": "west", "store": "one"},
        {"source": "gold1", "region": "west"},
        {"source": "gold1", "target": "gold1"},
        {"source": "gold1", "target": "none"},
    ],
    ids=["nowhere", "two targets", "no store", "itself", "no such cloud"],
)
def test_a_pair_that_is_none_is_refused(vault: Vault, fields: dict[str, str]) -> None:
    paired(vault)
    with pytest.raises(Refused):
        write(vault, pair("gold", **fields))
    assert vault.desired.pairs() == ()


@pytest.mark.spec("B8.b")
def test_only_synchronised_clouds_can_be_chosen_and_they_are_synchronised_singly_or_together(vault: Vault) -> None:
    register(vault, "ny", clouds=(cloud("gold1"), cloud("silver1")), synchronise=False)
    register(vault, "chi", clouds=(cloud("gold2"), cloud("silver2")), synchronise=False)
    gold = pair("gold", source="gold1", target="gold2")
    with pytest.raises(Refused, match="cloud gold1 is not synchronised"):
        write(vault, gold)
    assert vault.clouds.synchronise(["gold1"]) == ("gold1",)
    with pytest.raises(Refused, match="cloud gold2 is not synchronised"):
        write(vault, gold)
    assert vault.clouds.synchronise() == ("gold1", "gold2", "silver1", "silver2")
    write(vault, gold)
    with pytest.raises(Usage):
        vault.clouds.synchronise(["none"])


def test_what_a_server_tells_of_its_clouds_later_is_taken_over_and_new_ones_wait(vault: Vault) -> None:
    paired(vault)
    write(vault, pair("gold", source="gold1", target="gold2"))
    vault.clouds.told("ny", (cloud("gold1", "ny7"), cloud("bronze1")))
    found = {one.facts.name: one for one in vault.clouds.all()}
    assert sorted(found) == ["bronze1", "gold1", "gold2", "silver2"]
    assert found["gold1"].facts.host_groups == {"all": ("ny7",)}
    assert found["gold1"].synchronised_us == NOON_US
    assert found["bronze1"].synchronised_us is None
    with pytest.raises(Refused, match="gold1 is gone, and in the pair gold"):
        vault.clouds.told("ny", (cloud("bronze1"),))
    with pytest.raises(Refused, match="belongs to the server ny"):
        vault.clouds.told("chi", (cloud("gold2"), cloud("bronze1")))
    with pytest.raises(Usage):
        vault.clouds.told("rome", ())


@pytest.mark.spec("B5.a")
def test_a_server_whose_cloud_is_paired_stays(vault: Vault) -> None:
    paired(vault)
    write(vault, pair("gold", source="gold1", target="gold2"))
    with pytest.raises(Refused, match="is in the pair gold"):
        vault.servers.unregister("chi")
    write(vault, removed=((Kind.PAIR, "gold"),))
    vault.servers.unregister("chi")


@pytest.mark.spec("B6.b")
def test_clouds_of_a_server_cluster_in_the_middle_of_an_upgrade_are_not_chosen(vault: Vault) -> None:
    node = Membership(role="ny", node="n1", is_active=True)
    register(vault, "ny", cluster=node, clouds=(cloud("gold1"),))
    register(vault, "ny", cluster=Membership(role="ny", node="n2", is_active=False), clouds=(cloud("gold1"),))
    register(vault, "chi", clouds=(cloud("gold2"),))
    gold = pair("gold", source="gold1", target="gold2")
    vault.servers.refresh("ny", "n1", Particulars(host_name="n1", drill="0.2.0"), VERSIONS)
    with pytest.raises(Refused, match="the nodes of ny run drill"):
        write(vault, gold)
    vault.servers.refresh("ny", "n2", Particulars(host_name="n2", drill="0.2.0"), VERSIONS)
    write(vault, gold)


@pytest.mark.spec("B10.b")
def test_encryption_for_a_second_site_is_ignored_with_a_note(vault: Vault) -> None:
    register(vault, "ny")
    assert vault.clouds.encrypt("ny-cloud", wanted=True) == (
        "encryption counts only for a region; for a second site it is ignored"
    )
    assert vault.clouds.all()[0].encrypts is False
    vault.clouds.check_failover("ny-cloud", "")


@pytest.mark.spec("B10.a")
def test_a_failover_from_an_encrypted_region_names_the_certificate(bank: Bank) -> None:
    with bank.make(Goal.REGION) as vault:
        register(vault, "ny", encryption_certificate="ab" * 32)
        assert vault.clouds.encrypt("ny-cloud", wanted=True) == ""
        with pytest.raises(Refused, match="is encrypted"):
            vault.clouds.check_failover("ny-cloud", "")
        with pytest.raises(Refused, match="another certificate"):
            vault.clouds.check_failover("ny-cloud", "cd" * 32)
        vault.clouds.check_failover("ny-cloud", "ab" * 32)
        assert vault.clouds.encrypt("ny-cloud", wanted=False) == ""
        vault.clouds.check_failover("ny-cloud", "")


@pytest.mark.spec("B10.a")
def test_encryption_needs_a_certificate_that_the_server_registered_with(bank: Bank) -> None:
    with bank.make(Goal.REGION) as vault:
        register(vault, "ny")
        with pytest.raises(Refused, match="without an encryption certificate"):
            vault.clouds.encrypt("ny-cloud", wanted=True)


@pytest.mark.spec("I4.b")
def test_a_job_is_told_with_its_steps_their_progress_and_times(bank: Bank) -> None:
    with bank.make() as vault:
        vault.jobs.begin("j1", "failover", "plan shop", ["look", "start"])
        vault.jobs.begin("j1", "again", "harmless")
        look = JobStep(name="look", state=JobState.RUNNING, started_us=NOON_US, done=1, total=3, unit="hosts")
        vault.jobs.step("j1", look)
        vault.jobs.step("j1", JobStep(name="commit", state=JobState.QUEUED))
        bank.clock.jump(DAY_US)
        vault.jobs.end("j1", JobState.FAILED, Cause(error="Failed", message="no room", remedy="make room"))
        vault.jobs.end("j1", JobState.DONE)
        vault.jobs.step("j1", JobStep(name="look", state=JobState.DONE))
        job = vault.jobs.job("j1")
    assert (job.action, job.subject, job.actor) == ("failover", "plan shop", "root@test")
    assert job.steps == (look, *(JobStep(name=name, state=JobState.QUEUED) for name in ("start", "commit")))
    assert (job.created_us, job.started_us, job.ended_us) == (NOON_US, NOON_US, NOON_US + DAY_US)
    assert (job.state, job.cause) == (JobState.FAILED, Cause(error="Failed", message="no room", remedy="make room"))


def test_a_job_waits_for_a_person_whose_name_answer_and_note_are_kept(bank: Bank) -> None:
    with bank.make() as vault:
        vault.jobs.begin("j1", "test failover", "plan shop")
        vault.jobs.begin("j2", "failover", "plan shop")
        assert (vault.jobs.ask("j1", "complete testing"), vault.jobs.ask("j1", "complete testing")) == (1, 1)
        (waiting,) = vault.jobs.jobs(waiting=True)
        assert waiting.waits_for is not None
        assert (waiting.id, waiting.waits_for.text) == ("j1", "complete testing")
        for _ in range(2):
            vault.jobs.answer("j1", 1, "complete", by="ada", note="all well")
        with pytest.raises(Refused, match="ada answered"):
            vault.jobs.answer("j1", 1, "cancel", by="bob")
        job = vault.jobs.job("j1")
        assert (job.state, job.waits_for, vault.jobs.jobs(waiting=True)) == (JobState.RUNNING, None, ())
        assert (job.questions[0].answered_by, job.questions[0].note) == ("ada", "all well")


def test_jobs_that_do_not_exist_or_have_ended_are_not_asked_about(vault: Vault) -> None:
    vault.jobs.begin("j1", "failover", "plan shop")
    vault.jobs.end("j1", JobState.CANCELLED)
    with pytest.raises(Refused, match="has ended: cancelled"):
        vault.jobs.ask("j1", "go on")
    for attempt in (
        lambda: vault.jobs.job("j9"),
        lambda: vault.jobs.step("j9", JobStep(name="x", state=JobState.DONE)),
        lambda: vault.jobs.answer("j1", 1, "x", by="y"),
    ):
        with pytest.raises(Usage):
            attempt()
    with pytest.raises(ValueError, match="no end"):
        vault.jobs.end("j1", JobState.RUNNING)


def test_jobs_are_forgotten_some_time_after_they_ended(bank: Bank) -> None:
    with bank.make() as vault:
        for name in ("old", "open"):
            vault.jobs.begin(name, "failover", "plan shop", ["look"])
        vault.jobs.end("old", JobState.DONE)
        bank.clock.jump(30 * DAY_US)
        vault.jobs.begin("new", "failover", "plan shop")
        vault.jobs.end("new", JobState.DONE)
        assert vault.jobs.forget(bank.clock.now_us() - DAY_US) == 1
        assert [job.id for job in vault.jobs.jobs()] == ["new", "open"]


def test_the_newest_result_of_every_probe_is_kept(vault: Vault) -> None:
    first = Probe(looker="ny1", purpose="replication", at="chi1:8084", at_us=1, reached=False, cause="refused")
    other = Probe(looker="chi1", purpose="replication", at="ny1:8084", at_us=1, reached=True)
    vault.probes.note([first, other])
    again = Probe(looker="ny1", purpose="replication", at="chi1:8084", at_us=2, reached=True)
    vault.probes.note([again])
    assert vault.probes.all() == (other, again)


def test_a_change_of_the_estate_is_audited_by_its_objects(vault: Vault) -> None:
    write(vault, *(Desired(kind=Kind.ITEM, name=f"vm{number:02}", document="{}") for number in range(25)))
    with vault.audit() as entries:
        *_, (_, _, last) = entries
    assert last.detail.startswith("put item vm00, put item vm01, ")
    assert last.detail.endswith(", put item vm19 and 5 more")


def test_every_refusal_is_one_of_ours(vault: Vault) -> None:
    with pytest.raises(DrillError):
        write(vault, Desired(kind=Kind.PAIR, name="p", document='{"source": 1}'))
