"""The test failover as a procedure: what it makes, in which order, and that nothing of it stays, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drill.core.failover_test import FailoverTest, derived_uuid, failover_test
from drill.core.owed import BEATS_MIN, HEARTBEAT_SERVICE, expectations
from drill.core.prediction import predict_nics
from drill.core.verdicts import judge
from drill.errors import Failed, Unknown
from drill.model import command as c
from drill.model.fact import RunEnded, ServiceAnswered, StepEnded
from drill.model.target import Target, TargetNic
from drill.model.verdict import Outcome
from drill.orchestration.perform import Performer
from tests.paper import NOW, MemoryJournal, MemoryRecord, Paper, StandingClock, estate, primary


def order(**changes: object) -> FailoverTest:
    fields = {
        "run": "r1", "estate": estate(), "plan": "shop", "point_choice": "latest", "network_choice": "isolated",
        "started_us": NOW, "drill_version": "0",
    }  # fmt: skip
    return FailoverTest(**(fields | changes))  # type: ignore[arg-type]


def run(
    paper: Paper, *, journal: MemoryJournal | None = None, cancel_at: int | None = None
) -> tuple[str, MemoryRecord]:
    record = MemoryRecord()
    performer = Performer(
        act=paper,
        journal=journal or MemoryJournal(),
        recorder=record,
        clock=StandingClock(),
        cancel_asked=lambda: cancel_at is not None and len(paper.log) >= cancel_at,
    )
    return performer.perform(failover_test(order())), record


def names(paper: Paper) -> list[str]:
    return [type(one).__name__ for one in paper.log]


def test_a_healthy_plan_passes_and_leaves_nothing() -> None:
    paper = Paper()
    outcome, record = run(paper)
    verdict = judge(record.facts)  # type: ignore[arg-type]
    assert outcome == "done"
    assert paper.made == set()
    assert [(one.check, one.vm, one.reason) for one in verdict.checks if one.outcome is not Outcome.PASS] == []
    assert (verdict.outcome, verdict.rpo_seconds, verdict.rpo_records, verdict.rto_seconds) == (Outcome.PASS, 20, 10, 9)


@pytest.mark.spec("J4.c")
@pytest.mark.parametrize("machines", [("web",), ("app", "web")])
def test_an_address_in_use_is_refused_by_its_holder_before_anything_is_made(machines: tuple[str, ...]) -> None:
    known = estate()
    wanted = Target(nics=(TargetNic(source=0, addresses=("10.61.1.9",)),))
    items = {name: replace(one, target=wanted) for name, one in known.items.items() if name in ("db", *machines)}
    paper, record = Paper(), MemoryRecord()
    performer = Performer(
        act=paper, journal=MemoryJournal(), recorder=record, clock=StandingClock(), cancel_asked=lambda: False
    )
    outcome = performer.perform(failover_test(order(estate=replace(known, items={**known.items, **items}))))
    assert outcome == "failed"
    assert not {"MakeOverlays", "MakeBubble", "DefineMachine"} & set(names(paper))
    ended = next(one for one in record.facts if isinstance(one, RunEnded))
    assert f"machine {machines[0]}: address 10.61.1.9 of card 0 is used by db" in ended.detail
    assert ("and 1 more" in ended.detail) is (len(machines) > 1)


def test_a_card_with_several_addresses_is_checked_for_all_of_them() -> None:
    nic = predict_nics(estate().items["db"], primary("db"), estate())[0]
    expected = expectations(estate().items["db"], (replace(nic, others=("fd01::b",)),), None, None, {})
    assert expected["address"] == {"nics": [{"mac": nic.mac, "address": "10.61.1.11", "others": ["fd01::b"]}]}


def test_a_history_that_cannot_be_read_leaves_the_rows_unproven_and_the_drill_goes_on() -> None:
    def no_history(command: c.Command[object]) -> None:
        if isinstance(command, c.ReadHistory):
            raise Failed(action="reading the history", cause="no such file")

    outcome, record = run(Paper(trouble=no_history))
    verdict = judge(record.facts)  # type: ignore[arg-type]
    assert (outcome, verdict.outcome, verdict.rpo_records) == ("done", Outcome.UNKNOWN, None)
    red = {(one.check, one.vm) for one in verdict.checks if one.outcome is not Outcome.PASS}
    assert red == {("database_rows", "db"), ("rpo", "")}


def test_groups_start_in_order_each_after_the_services_of_the_one_before() -> None:
    paper = Paper()
    run(paper)
    steps = [(type(one).__name__, one.vm) for one in paper.log if isinstance(one, c.StartMachine | c.AwaitServices)]
    assert steps == [(kind, vm) for vm in ("db", "app", "web") for kind in ("StartMachine", "AwaitServices")]


def test_bridges_are_guarded_before_a_machine_is_plugged_in_and_until_they_are_gone() -> None:
    paper = Paper()
    run(paper)
    order_of = names(paper)
    assert order_of.index("MakeBubble") < order_of.index("GuardBridge") < order_of.index("StartMachine")
    assert order_of.index("RemoveMachine") < order_of.index("RemoveBubble") < order_of.index("UnguardBridge")


def test_the_machine_is_built_with_as_many_cards_as_its_size_allows() -> None:
    paper = Paper()
    run(paper)
    cards = {one.vm: len(one.machine.nics) for one in paper.log if isinstance(one, c.DefineMachine)}
    assert cards == {"db": 2, "app": 2, "web": 1}


def steps_of_a_healthy_run() -> int:
    paper = Paper()
    run(paper)
    return len(paper.log)


STEPS = steps_of_a_healthy_run()


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("error", [Failed(action="x", cause="planted"), Unknown(action="x", cause="planted")])
def test_a_failure_at_any_step_leaves_nothing_and_never_passes(step: int, error: Failed | Unknown) -> None:
    def trouble(command: c.Command[object]) -> None:
        if len(paper.log) == step + 1 and not isinstance(command, c.TakePicture) and not command.undoes:
            raise error

    paper = Paper(trouble=trouble)
    _, record = run(paper)
    planted = paper.log[step]
    assert paper.made == set()
    assert isinstance(record.facts[-1], RunEnded)
    if not planted.undoes and not isinstance(planted, c.SeeScreen):
        assert judge(record.facts).outcome is not Outcome.PASS  # type: ignore[arg-type]


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_cancel_at_any_step_takes_everything_back(step: int) -> None:
    paper = Paper()
    outcome, record = run(paper, cancel_at=step)
    undone = all(one.undoes for one in paper.log[step - 1 :])
    assert paper.made == set()
    assert outcome == ("done" if undone else "cancelled")
    assert isinstance(record.facts[-1], RunEnded)


def test_a_cleanup_that_fails_is_named_and_makes_the_run_fail() -> None:
    def trouble(command: c.Command[object]) -> None:
        if isinstance(command, c.RemoveBubble):
            raise Failed(action="removing the network", cause="planted")

    outcome, record = run(Paper(trouble=trouble))
    assert outcome == "failed"
    assert "planted" in record.facts[-1].detail  # type: ignore[attr-defined]
    assert any(one.startswith("chi1: networks") for one in judge(record.facts).leftovers)  # type: ignore[arg-type]


class Killed(BaseException):
    """The controller's process is gone."""


@pytest.mark.parametrize("when", ["before its effect", "after its effect, before its record"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_controller_killed_at_any_step_goes_on_to_the_same_end(step: int, when: str) -> None:
    straight, whole = run(Paper())

    class Mortal(Paper):
        def __call__(self, command: c.Command[object]) -> object:
            dies = len(self.log) == step
            if dies and when.startswith("before"):
                raise Killed
            reply = super().__call__(command)
            if dies:
                raise Killed
            return reply

    journal, mortal, record = MemoryJournal(), Mortal(), MemoryRecord()

    def perform(paper: Paper, kept: MemoryJournal) -> str:
        return Performer(
            act=paper, journal=kept, recorder=record, clock=StandingClock(), cancel_asked=lambda: False
        ).perform(failover_test(order()))

    with pytest.raises(Killed):
        perform(mortal, journal)
    successor = Paper()
    successor.made = mortal.made
    assert perform(successor, MemoryJournal(journal.kept)) == straight
    assert successor.made == set()

    def steps(facts: list[object]) -> list[tuple[str, str, str]]:
        return [(one.vm, one.step, one.outcome) for one in facts if isinstance(one, StepEnded)]

    assert steps(record.facts) == steps(whole.facts)
    assert judge(record.facts).outcome is Outcome.PASS  # type: ignore[arg-type]


def test_a_journal_of_another_procedure_is_refused_by_name() -> None:
    journal = MemoryJournal()
    run(Paper(), journal=journal)
    edited = [text.replace('"chi1"', '"elsewhere"') for text in journal.kept]
    with pytest.raises(Exception, match="the step journal is damaged"):
        run(Paper(), journal=MemoryJournal(edited))


def test_the_same_run_makes_the_same_machine_and_another_run_another() -> None:
    assert derived_uuid("r1", "db") == derived_uuid("r1", "db")
    assert len({derived_uuid(run, vm) for run in ("r1", "r2") for vm in ("db", "app")}) == 4


def failing(kind: type, error: Exception) -> Paper:
    """A world in which every command of one kind fails without effect."""

    def trouble(command: c.Command[object]) -> None:
        if isinstance(command, kind):
            raise error

    return Paper(trouble=trouble)


def test_a_picture_that_cannot_be_taken_makes_the_drill_unknown() -> None:
    outcome, record = run(failing(c.TakePicture, Failed(action="taking the picture", cause="no answer")))
    verdict = judge(record.facts)  # type: ignore[arg-type]
    assert (outcome, verdict.outcome) == ("done", Outcome.UNKNOWN)


def test_a_ledger_that_cannot_be_read_at_the_source_leaves_the_loss_uncounted() -> None:
    class Unread(Paper):
        def __call__(self, command: c.Command[object]) -> object:
            reply = super().__call__(command)
            return replace(reply, read=None, error="no agent") if isinstance(reply, c.SourceLedger) else reply

    outcome, record = run(Unread())
    verdict = judge(record.facts)  # type: ignore[arg-type]
    assert (outcome, verdict.outcome, verdict.rpo_records) == ("done", Outcome.UNKNOWN, None)


def test_a_point_that_lacks_a_disk_of_the_machine_builds_no_machine_and_leaves_nothing() -> None:
    class OneDisk(Paper):
        def __call__(self, command: c.Command[object]) -> object:
            reply = super().__call__(command)
            return replace(reply, disks=reply.disks[:1]) if isinstance(reply, c.Overlays) else reply

    paper = OneDisk()
    outcome, record = run(paper)
    assert outcome == "failed"
    assert "DefineMachine" not in names(paper)
    assert "the point lacks disks vdb" in str(record.facts)
    assert paper.made == set()


def test_a_machine_without_a_service_is_up_when_it_counts_on_its_console() -> None:
    whole = estate()
    silent = replace(whole.items["web"], services=(), agent=False)
    found = order(estate=replace(whole, items={**whole.items, "web": silent}))
    paper, record = Paper(), MemoryRecord()
    performer = Performer(
        act=paper, journal=MemoryJournal(), recorder=record, clock=StandingClock(), cancel_asked=lambda: False
    )
    assert performer.perform(failover_test(found)) == "done"
    beats = [one for one in paper.log if isinstance(one, c.Check) and (one.vm, one.check) == ("web", "heartbeat")]
    assert [one.expected for one in beats] == [{"beats_min": BEATS_MIN}]
    answered = [one for one in record.facts if isinstance(one, ServiceAnswered) and one.vm == "web"]
    assert [one.service for one in answered] == [HEARTBEAT_SERVICE]


def test_a_console_that_does_not_count_leaves_the_service_unanswered() -> None:
    class Dead(Paper):
        def check(self, command: c.Check) -> c.Evidence:
            found = super().check(command)
            return (
                replace(found, observed=replace(found.observed, observed={"beats": [3]}))
                if command.check == "heartbeat"
                else found
            )

    whole = estate()
    silent = replace(whole.items["web"], services=(), agent=False)
    record = MemoryRecord()
    performer = Performer(
        act=Dead(), journal=MemoryJournal(), recorder=record, clock=StandingClock(), cancel_asked=lambda: False
    )
    performer.perform(failover_test(order(estate=replace(whole, items={**whole.items, "web": silent}))))
    assert not [one for one in record.facts if isinstance(one, ServiceAnswered) and one.vm == "web"]
    assert judge(record.facts).outcome is Outcome.FAIL  # type: ignore[arg-type]
