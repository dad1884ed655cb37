"""Each check with the defect that it is there for, and the evidence that it is *unknown* without."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest

from drill.core.judges import JUDGES
from drill.core.verdicts import judge
from drill.model.fact import (
    ChecksPlanned,
    Fact,
    IncidentDeclared,
    Json,
    LedgerRead,
    MachinePredicted,
    Observed,
    PictureTaken,
    PointChosen,
    RunEnded,
    RunStarted,
    ServiceAnswered,
    StepEnded,
)
from drill.model.verdict import CheckResult, Outcome
from tests.runs import TIERS, at, observation, passing, with_expected, with_observed

FACTS = passing()
DATA_MAC, WEB_MAC = "52:54:00:61:02:14", "52:54:00:61:01:14"


def result(facts: tuple[Fact, ...], check: str, vm: str) -> CheckResult:
    (found,) = (one for one in judge(facts).checks if (one.check, one.vm) == (check, vm))
    return found


def edited(check: str, vm: str, edit: Callable[[dict[str, Json]], object]) -> tuple[Fact, ...]:
    """The passing run with the observation of one check changed in place."""
    observed = cast("dict[str, Json]", copy.deepcopy(observation(FACTS, check, vm).observed))
    edit(observed)
    return with_observed(FACTS, check, vm, observed)


def nics(value: dict[str, Json]) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", value["nics"])


def tables(value: dict[str, Json]) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", value["databases" if "databases" in value else "tables"])


def probes(value: dict[str, Json]) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", value["probes"])


def test_a_run_without_a_defect_passes_every_check() -> None:
    verdict = judge(FACTS)
    assert verdict.outcome is Outcome.PASS
    assert {one.outcome for one in verdict.checks} == {Outcome.PASS}
    assert {one.check for one in verdict.checks} >= {*JUDGES, "prediction", "leftovers", "rpo", "rto", "run"}


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A planted defect in what one check observes, the outcome and a word of the reason it must give."""

    check: str
    vm: str
    edit: Callable[[dict[str, Json]], object]
    reason: str
    outcome: Outcome = Outcome.FAIL


def _flip(value: dict[str, Json], disk: str) -> None:
    disks = cast("dict[str, Json]", value["disks"])
    disks[disk] = "0" * 64


PLANTS = {
    "crashed machine": Plant(check="boot", vm="db", edit=lambda v: v.update(state="crashed"), reason="crashed"),
    "paused machine": Plant(check="boot", vm="web", edit=lambda v: v.update(state="paused"), reason="paused"),
    "silent agent": Plant(check="agent", vm="app", edit=lambda v: v.update(answers=False), reason="does not answer"),
    "no heartbeat": Plant(check="heartbeat", vm="db", edit=lambda v: v.update(beats=[]), reason="0 of 2"),
    "one heartbeat": Plant(check="heartbeat", vm="db", edit=lambda v: v.update(beats=[7]), reason="1 of 2"),
    "stuck heartbeat": Plant(check="heartbeat", vm="db", edit=lambda v: v.update(beats=[7, 7]), reason="do not rise"),
    "restarted guest": Plant(
        check="heartbeat", vm="db", edit=lambda v: v.update(beats=[7, 8, 1]), reason="do not rise"
    ),
    "flipped block": Plant(
        check="disk_content", vm="db", edit=lambda v: _flip(v, "vdb"), reason="vdb: the content differs"
    ),
    "missing disk": Plant(
        check="disk_content", vm="db", edit=lambda v: cast("dict[str, Json]", v["disks"]).pop("vdc"), reason="vdc"
    ),
    "extra disk": Plant(check="disk_content", vm="app", edit=lambda v: _flip(v, "vdz"), reason="vdz"),
    "rotted block": Plant(check="point_digest", vm="db", edit=lambda v: _flip(v, "vdb"), reason="vdb: what is stored"),
    "unreadable disk": Plant(
        check="point_digest",
        vm="db",
        edit=lambda v: cast("dict[str, Json]", v["disks"]).update(vdc=None),
        reason="vdc: what is stored",
    ),
    "disk of no point": Plant(check="point_digest", vm="app", edit=lambda v: _flip(v, "vdz"), reason="vdz"),
    "primary stopped": Plant(check="primary", vm="db", edit=lambda v: v.update(state="off"), reason="off"),
    "replication stopped": Plant(
        check="primary", vm="db", edit=lambda v: v.update(item_state="error"), reason="running and error"
    ),
    "torn ledger": Plant(check="ledger", vm="db", edit=lambda v: v.update(damage="checksum"), reason="checksum"),
    "empty ledger": Plant(check="ledger", vm="db", edit=lambda v: v.update(records=0, last_sequence=0), reason="empty"),
    "lost record": Plant(check="ledger", vm="db", edit=lambda v: v.update(last_sequence=1155), reason="lost"),
    "record from later": Plant(
        check="ledger", vm="db", edit=lambda v: v.update(last_sequence=1159), reason="not what it says"
    ),
    "second disk older": Plant(
        check="one_instant", vm="db", edit=lambda v: v.update(second=1155), reason="not one instant"
    ),
    "second disk newer": Plant(
        check="one_instant", vm="db", edit=lambda v: v.update(second=1158), reason="not one instant"
    ),
    "dropped card": Plant(
        check="nic_count", vm="app", edit=lambda v: v.update(count=1, nics=[WEB_MAC]), reason="1 network card, not 2"
    ),
    "wrong subnet": Plant(
        check="subnet", vm="app", edit=lambda v: nics(v)[0].update(subnet="spare"), reason="spare, not"
    ),
    "wrong network": Plant(
        check="subnet", vm="db", edit=lambda v: nics(v)[0].update(network="VMNetwork1-Chicago"), reason="not on"
    ),
    "unplugged card": Plant(
        check="subnet",
        vm="db",
        edit=lambda v: nics(v)[0].update(network=None, subnet=None),
        reason="plugged into nothing",
    ),
    "card that is not there": Plant(check="subnet", vm="app", edit=lambda v: nics(v).pop(), reason="is not there"),
    "card too many": Plant(
        check="subnet",
        vm="db",
        edit=lambda v: nics(v).append({"mac": "52:54:00:00:00:01", "network": None, "subnet": None}),
        reason="was not expected",
    ),
    "changed address": Plant(
        check="address",
        vm="web",
        edit=lambda v: nics(v)[0].update(addresses=["10.61.1.31/24"]),
        reason="has not 10.61.1.30, but 10.61.1.31/24",
    ),
    "second address": Plant(
        check="address",
        vm="web",
        edit=lambda v: nics(v)[0].update(addresses=["10.61.1.30/24", "10.9.9.9/8"]),
        reason="and also 10.9.9.9/8",
    ),
    "global IPv6 address": Plant(
        check="address",
        vm="web",
        edit=lambda v: nics(v)[0].update(addresses=["10.61.1.30/24", "2001:db8::1/64"]),
        reason="also",
    ),
    "no address": Plant(check="address", vm="web", edit=lambda v: nics(v)[0].update(addresses=[]), reason="no address"),
    "way out": Plant(
        check="isolation", vm="", edit=lambda v: probes(v)[1].update(reached=True), reason="reached 10.61.1.1"
    ),
    "uplink in the bridge": Plant(
        check="isolation",
        vm="",
        edit=lambda v: cast("list[dict[str, list[Json]]]", v["bridges"])[0]["members"].append("vxlan61"),
        reason="vxlan61 is plugged into",
    ),
    "no positive control": Plant(
        check="isolation",
        vm="",
        edit=lambda v: probes(v)[0].update(control={"from": "db", "reached": False}),
        reason="no positive control",
        outcome=Outcome.UNKNOWN,
    ),
    "probe that was not tried": Plant(
        check="isolation", vm="", edit=lambda v: probes(v).pop(), reason="not probed", outcome=Outcome.UNKNOWN
    ),
    "bridge that was not looked at": Plant(
        check="isolation", vm="", edit=lambda v: v.update(bridges=[]), reason="no bridge", outcome=Outcome.UNKNOWN
    ),
    "bridge that was empty": Plant(
        check="isolation",
        vm="",
        edit=lambda v: cast("list[dict[str, Json]]", v["bridges"])[0].update(members=[]),
        reason="nothing was plugged",
        outcome=Outcome.UNKNOWN,
    ),
    "dead service": Plant(
        check="service",
        vm="web",
        edit=lambda v: cast("list[dict[str, Json]]", v["services"])[0].update(answers=False, detail="refused"),
        reason="http does not answer: refused",
    ),
    "service that was not asked": Plant(
        check="service", vm="web", edit=lambda v: v.update(services=[]), reason="not asked", outcome=Outcome.UNKNOWN
    ),
    "damaged heap page": Plant(
        check="database",
        vm="db",
        edit=lambda v: tables(v)[0].update(
            exit_code=2, said='heap table "shop.public.orders", block 0, offset 1: line pointer is not aligned'
        ),
        reason="damaged: heap table",
    ),
    "damaged index": Plant(
        check="database",
        vm="db",
        edit=lambda v: tables(v)[0].update(exit_code=2, said='item order invariant violated for index "orders_pkey"'),
        reason='invariant violated for index "orders_pkey"',
    ),
    "database that does not come up": Plant(
        check="database",
        vm="db",
        edit=lambda v: tables(v)[0].update(answers=False, exit_code=None, said="no response"),
        reason="does not come up: no response",
    ),
    "database that was not examined": Plant(
        check="database",
        vm="db",
        edit=lambda v: tables(v)[0].update(exit_code=1, said="connection failed"),
        reason="not examined: connection failed",
        outcome=Outcome.UNKNOWN,
    ),
    "database that was not looked at": Plant(
        check="database", vm="db", edit=lambda v: v.update(databases=[]), reason="not looked", outcome=Outcome.UNKNOWN
    ),
    "acknowledged row lost in the middle": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(rows=[[1, 336], [338, 692]]),
        reason="lacks 1 row (337), acknowledged",
    ),
    "acknowledged row lost at the end": Plant(
        check="database_rows", vm="db", edit=lambda v: tables(v)[0].update(rows=[[1, 689]]), reason="lacks 1 row (690)"
    ),
    "empty table": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(rows=[]),
        reason="lacks 689 rows (1 to 687, 689",
    ),
    "row from later": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(rows=[[1, 693]]),
        reason="holds 1 row (693), not sent",
    ),
    "row twice": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(rows=[[1, 400], [400, 692]]),
        reason="holds a row twice",
    ),
    "table that cannot be read": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(exit_code=1, rows=[], said="relation does not exist"),
        reason="cannot be read: relation does not exist",
    ),
    "table that was not read": Plant(
        check="database_rows",
        vm="db",
        edit=lambda v: tables(v)[0].update(exit_code=2, rows=[]),
        reason="not read",
        outcome=Outcome.UNKNOWN,
    ),
    "table that was left out": Plant(
        check="database_rows", vm="db", edit=lambda v: v.update(tables=[]), reason="not read", outcome=Outcome.UNKNOWN
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_a_planted_defect_turns_its_check_red_and_the_run_with_it(plant: Plant) -> None:
    facts = edited(plant.check, plant.vm, plant.edit)
    found = result(facts, plant.check, plant.vm)
    assert (found.outcome, plant.reason in found.reason) == (plant.outcome, True), found.reason
    assert judge(facts).outcome is plant.outcome


def test_every_rule_has_a_planted_defect_that_fails_it() -> None:
    assert {plant.check for plant in PLANTS.values() if plant.outcome is Outcome.FAIL} == set(JUDGES)


def history(acknowledged: Json, sent: Json) -> Json:
    """What a history says of the table, the incident left out."""
    bounds: dict[str, Json] = {"name": "shop", "acknowledged_before": acknowledged, "sent_before": sent}
    return {"tables": [bounds | {"acknowledged_at_incident": acknowledged}]}


WEAK = {
    "no witness at the source": ("disk_content", "db", {"disks": {"vda": None, "vdb": None, "vdc": None}}),
    "no disk expected": ("disk_content", "db", {"disks": {}}),
    "no digest sealed": ("point_digest", "db", {"disks": {}}),
    "one beat asked for": ("heartbeat", "db", {"beats_min": 1}),
    "bounds the wrong way round": ("ledger", "db", {"acknowledged_before": 1158, "sent_before": 1156}),
    "bounds that were not read": ("ledger", "db", {"acknowledged_before": None, "sent_before": None}),
    "no probe expected": ("isolation", "", {"probes": []}),
    "no service expected": ("service", "web", {"services": []}),
    "no address expected": ("address", "web", {"nics": []}),
    "an address that is none": ("address", "web", {"nics": [{"mac": "52:54:00:61:01:1e", "address": "ten"}]}),
    "no answer asked for": ("agent", "web", {"answers": False}),
    "no database expected": ("database", "db", {"databases": []}),
    "no table expected": ("database_rows", "db", {"tables": []}),
    "a history that was not read": ("database_rows", "db", history(None, None)),
    "no row acknowledged": ("database_rows", "db", history([], [[1, 692]])),
    "rows acknowledged that were not sent": ("database_rows", "db", history([[1, 690], [901, 901]], [[1, 692]])),
    "bounds that name a row twice": ("database_rows", "db", history([[1, 690], [690, 690]], [[1, 692]])),
    "bounds that are no ranges": ("database_rows", "db", history([[690, 1]], [[1, 692]])),
}


@pytest.mark.parametrize(("check", "vm", "expected"), WEAK.values(), ids=WEAK.keys())
def test_an_expectation_that_proves_nothing_is_unknown(check: str, vm: str, expected: Json) -> None:
    assert result(with_expected(FACTS, check, vm, expected), check, vm).outcome is Outcome.UNKNOWN


def test_a_torn_tail_is_legal_in_a_crash_consistent_point() -> None:
    found = result(edited("ledger", "db", lambda v: v.update(torn_bytes=37)), "ledger", "db")
    assert (found.outcome, "torn tail of 37 bytes" in found.reason) == (Outcome.PASS, True)


def test_a_card_that_was_promised_no_address_may_have_any() -> None:
    expected: Json = {"nics": [{"mac": "52:54:00:61:01:1e", "address": None}]}
    assert result(with_expected(FACTS, "address", "web", expected), "address", "web").outcome is Outcome.PASS


def test_an_owed_check_without_observation_is_unknown() -> None:
    facts = tuple(fact for fact in FACTS if fact is not observation(FACTS, "boot", "db"))
    assert result(facts, "boot", "db") == CheckResult(
        check="boot", vm="db", outcome=Outcome.UNKNOWN, reason="owed, but not observed"
    )


def test_an_observation_that_was_not_owed_is_judged_too() -> None:
    late = Observed(
        at_us=at(22),
        check="boot",
        vm="stray",
        expected={"state": "running"},
        observed={"state": "off"},
        evidence=None,
        error="",
    )
    assert judge((*FACTS[:-1], late, FACTS[-1])).outcome is Outcome.FAIL


def test_a_check_observed_twice_must_hold_both_times() -> None:
    again = replace(observation(FACTS, "boot", "db"), observed={"state": "paused"})
    assert result((*FACTS[:-1], again, FACTS[-1]), "boot", "db").outcome is Outcome.FAIL
    assert result((FACTS[0], again, *FACTS[1:]), "boot", "db").outcome is Outcome.FAIL


def test_a_check_that_nobody_can_judge_is_unknown() -> None:
    facts = tuple(
        replace(fact, checks=(*fact.checks, ("horoscope", "db"))) if isinstance(fact, ChecksPlanned) else fact
        for fact in FACTS
    )
    assert result(facts, "horoscope", "db").outcome is Outcome.UNKNOWN


def test_a_rule_that_breaks_is_unknown_and_stops_no_other() -> None:
    def broken(seen: Observed) -> tuple[Outcome, str]:
        raise ZeroDivisionError

    verdict = judge(FACTS, {**JUDGES, "boot": broken})
    outcomes = {one.outcome for one in verdict.checks if one.check == "boot"}
    assert (verdict.outcome, outcomes) == (Outcome.UNKNOWN, {Outcome.UNKNOWN})
    assert all(one.outcome is Outcome.PASS for one in verdict.checks if one.check != "boot")


@pytest.mark.parametrize("answer", [("pass", "said in plain text"), (True, ""), (None, "nothing")], ids=repr)
def test_a_rule_that_gives_no_outcome_is_unknown(answer: tuple[Outcome, str]) -> None:
    assert judge(FACTS, {**JUDGES, "boot": lambda seen: answer}).outcome is Outcome.UNKNOWN


# ------------------------------------------------------------------------------------------------- the record itself


def only(*kinds: type[Fact]) -> tuple[Fact, ...]:
    return tuple(fact for fact in FACTS if isinstance(fact, kinds))


BARE = {
    "no facts": (),
    "a beginning": only(RunStarted),
    "a beginning and an end": only(RunStarted, RunEnded),
    "an end alone": only(RunEnded),
    "all but what is owed": tuple(fact for fact in FACTS if not isinstance(fact, ChecksPlanned)),
    "nothing owed": tuple(replace(fact, checks=()) if isinstance(fact, ChecksPlanned) else fact for fact in FACTS),
    "nothing observed": tuple(fact for fact in FACTS if not isinstance(fact, Observed)),
    "no end": FACTS[:-1],
    "facts after the end": (*FACTS, FACTS[1]),
    "a beginning that is not the first fact": (FACTS[1], FACTS[0], *FACTS[2:]),
    "another run's beginning inside": (*FACTS[:-1], replace(cast("RunStarted", FACTS[0]), run="other"), FACTS[-1]),
}


@pytest.mark.parametrize("facts", BARE.values(), ids=BARE.keys())
def test_a_record_that_is_not_one_whole_run_is_unknown(facts: tuple[Fact, ...]) -> None:
    verdict = judge(facts)
    assert verdict.outcome is Outcome.UNKNOWN
    assert result(facts, "run", "").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "unknown", "", "Done"])
def test_a_run_that_did_not_end_as_done_fails(outcome: str) -> None:
    facts = (*FACTS[:-1], RunEnded(at_us=at(31), outcome=outcome, detail="cleanup"))
    assert judge(facts).outcome is Outcome.FAIL


# ------------------------------------------------------------------------------------------- figures, pictures, cards


def changed(kind: type[Fact], **fields: object) -> tuple[Fact, ...]:
    """The passing run with a field of every fact of one class changed."""
    return tuple(replace(fact, **fields) if isinstance(fact, kind) else fact for fact in FACTS)  # type: ignore[arg-type]


def test_figures_are_the_worst_machines() -> None:
    verdict = judge(FACTS)
    db = TIERS[0]
    assert verdict.rpo_seconds == pytest.approx(0.94 - db.begun)
    assert verdict.rpo_records == db.source_last - db.replica_last
    assert verdict.rto_seconds == pytest.approx(TIERS[-1].answered - 0.94)


def test_a_missed_objective_fails() -> None:
    assert result(changed(RunStarted, rpo_objective_seconds=22.0), "rpo", "").outcome is Outcome.FAIL
    assert result(changed(RunStarted, rto_objective_seconds=18.0), "rto", "").outcome is Outcome.FAIL


def test_a_point_later_than_the_incident_gives_no_rpo() -> None:
    verdict = judge(changed(IncidentDeclared, at_us=at(-20)))
    assert (verdict.rpo_seconds, verdict.outcome) == (None, Outcome.UNKNOWN)


def test_a_service_that_answered_before_the_incident_gives_no_rto() -> None:
    verdict = judge(changed(ServiceAnswered, at_us=at(0.5)))
    assert (verdict.rto_seconds, verdict.outcome) == (None, Outcome.UNKNOWN)


def test_one_machine_without_a_point_leaves_no_rpo() -> None:
    facts = tuple(fact for fact in FACTS if not (isinstance(fact, PointChosen) and fact.vm == "web"))
    assert judge(facts).rpo_seconds is None


@pytest.mark.parametrize("side", ["source", "replica"])
def test_a_ledger_read_on_one_side_only_counts_nothing(side: str) -> None:
    facts = tuple(
        fact for fact in FACTS if not (isinstance(fact, LedgerRead) and (fact.vm, fact.side) == ("app", side))
    )
    verdict = judge(facts)
    assert (verdict.rpo_records, result(facts, "rpo", "").outcome) == (None, Outcome.UNKNOWN)


def test_a_replica_ahead_of_its_source_counts_nothing() -> None:
    facts = tuple(
        replace(fact, last_sequence=9999) if isinstance(fact, LedgerRead) and fact.side == "replica" else fact
        for fact in FACTS
    )
    assert (judge(facts).rpo_records, judge(facts).outcome) == (None, Outcome.UNKNOWN)


def test_a_fact_written_twice_after_a_kill_changes_no_outcome() -> None:
    for fact in FACTS[:-1]:
        later = fact if isinstance(fact, StepEnded) else replace(fact, at_us=fact.at_us + 40_000)
        index = FACTS.index(fact)
        assert judge((*FACTS[: index + 1], later, *FACTS[index + 1 :])).outcome is Outcome.PASS, fact


def picture(host: str, when: str, *entries: tuple[str, str]) -> tuple[Fact, ...]:
    """The passing run with more entries in one picture."""
    return tuple(
        replace(fact, picture=replace(fact.picture, entries=tuple(sorted((*fact.picture.entries, *entries)))))
        if isinstance(fact, PictureTaken) and (fact.picture.host, fact.when) == (host, when)
        else fact
        for fact in FACTS
    )


def test_what_is_left_on_a_host_is_named_and_fails() -> None:
    facts = picture("chi1", "after", ("disks", "/var/lib/drill/runs/x/db.vda.qcow2"))
    assert judge(facts).leftovers == ("chi1: disks /var/lib/drill/runs/x/db.vda.qcow2",)
    assert result(facts, "leftovers", "").outcome is Outcome.FAIL


def test_what_a_drill_took_away_from_a_host_fails() -> None:
    facts = picture("chi1", "before", ("domains", "somebody-elses"))
    assert "lost: chi1: domains somebody-elses" in result(facts, "leftovers", "").reason
    assert judge(facts).outcome is Outcome.FAIL


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_a_host_without_its_pictures_is_unknown(when: str) -> None:
    facts = tuple(fact for fact in FACTS if not (isinstance(fact, PictureTaken) and when in (fact.when, "both")))
    assert result(facts, "leftovers", "").outcome is Outcome.UNKNOWN


def foretold(**fields: object) -> tuple[Fact, ...]:
    """The passing run, where something else was predicted of the first card of `app`."""
    return tuple(
        replace(fact, nics=(replace(fact.nics[0], **fields), *fact.nics[1:]))  # type: ignore[arg-type]
        if isinstance(fact, MachinePredicted) and fact.vm == "app"
        else fact
        for fact in FACTS
    )


def test_two_predictions_that_differ_prove_nothing() -> None:
    other = next(one for one in foretold(subnet="spare") if isinstance(one, MachinePredicted) and one.vm == "app")
    at = next(index for index, one in enumerate(FACTS) if isinstance(one, MachinePredicted))
    found = result((*FACTS[:at], other, *FACTS[at:]), "prediction", "app")
    assert (found.outcome, found.reason) == (Outcome.UNKNOWN, "two predictions differ")


WRONG_PREDICTIONS = {
    "another subnet": {"subnet": "spare"},
    "another network": {"network": "VMNetwork2-Chicago"},
    "another address": {"address": "10.61.1.105"},
    "another card": {"mac": "52:54:00:00:00:99"},
    "one card fewer": {"dropped": True},
    "nothing": {"network": None, "subnet": None, "address": None},
}


@pytest.mark.parametrize("fields", WRONG_PREDICTIONS.values(), ids=WRONG_PREDICTIONS.keys())
def test_a_prediction_that_did_not_come_true_fails(fields: dict[str, object]) -> None:
    assert result(foretold(**fields), "prediction", "app").outcome is Outcome.FAIL


@pytest.mark.spec("S6.a")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"host": "chi2"}, "host: chi1, not chi2"),
        ({"memory_mib": 256}, "memory in MiB: 192, not 256"),
        ({"vcpus": 2}, "processors: 1, not 2"),
        ({"disks": ()}, "disks: ['vda', 'vdb'], not []"),
    ],
)
def test_a_machine_that_came_up_otherwise_than_foretold_fails(change: dict[str, object], says: str) -> None:
    facts = tuple(
        replace(fact, **change) if isinstance(fact, MachinePredicted) and fact.vm == "app" else fact  # type: ignore[arg-type]
        for fact in FACTS
    )
    found = result(facts, "prediction", "app")
    assert (found.outcome, found.reason) == (Outcome.FAIL, says)


def test_a_record_from_before_machines_were_foretold_is_judged_by_its_cards() -> None:
    old = tuple(
        replace(fact, memory_mib=0, vcpus=0, disks=()) if isinstance(fact, MachinePredicted) else fact
        for fact in with_observed(FACTS, "boot", "app", {"state": "running"})
    )
    assert result(old, "boot", "app").outcome is Outcome.PASS
    assert result(old, "prediction", "app").outcome is Outcome.PASS
    new = with_observed(FACTS, "boot", "app", {"state": "running"})
    assert result(new, "prediction", "app").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("held", "outcome"),
    [
        (["10.61.1.12/24", "fd01::b/64"], Outcome.PASS),
        (["10.61.1.12/24"], Outcome.FAIL),
        (["10.61.1.12/24", "fd01::b/64", "fd01::c/64"], Outcome.FAIL),
    ],
)
def test_every_address_that_was_foretold_is_on_the_card_and_no_other(held: list[str], outcome: Outcome) -> None:
    mac = next(one.nics[0].mac for one in FACTS if isinstance(one, MachinePredicted) and one.vm == "app")
    expected: Json = {"nics": [{"mac": mac, "address": "10.61.1.12", "others": ["fd01::b"]}]}
    seen: Json = {"nics": [{"mac": mac, "addresses": list(held)}]}
    facts = with_observed(with_expected(FACTS, "address", "app", expected), "address", "app", seen)
    assert result(facts, "address", "app").outcome is outcome


def test_a_prediction_of_several_addresses_holds_when_the_card_has_them_all() -> None:
    cards = next(one.nics for one in FACTS if isinstance(one, MachinePredicted) and one.vm == "app")
    seen: Json = {
        "nics": [
            {"mac": one.mac, "addresses": [f"{one.address}/24", *(["fd01::b/64"] if one is cards[0] else [])]}
            for one in cards
            if not one.dropped
        ]
    }
    for other, outcome in (("fd01::b", Outcome.PASS), ("fd01::c", Outcome.FAIL)):
        facts = with_observed(foretold(others=(other,)), "address", "app", seen)
        assert result(facts, "prediction", "app").outcome is outcome


def test_a_prediction_without_its_observations_is_unknown() -> None:
    for check in ("boot", "subnet", "address"):
        facts = tuple(fact for fact in FACTS if fact is not observation(FACTS, check, "app"))
        assert result(facts, "prediction", "app").outcome is Outcome.UNKNOWN
