"""The verdict on a run, computed from its facts alone, again and again (design § 2.6, guarantees I34).

A check is judged where the run owed it or observed it.  *Unknown* is: owed and not observed, observed with an error,
seen in a shape that its rule cannot read, a rule that raises, a check without a rule, a fact missing that a figure
needs.  Any *fail* makes the run fail; else any *unknown* makes it unknown; only what is left is a pass.

Whether the record itself is whole is judged as the check `run`: a run that began once, said what it owes, observed
something of it, and ended as *done*, with nothing after its end.

Without bearing on a verdict, by rule: `StepEnded` (how the time was spent), `ScreenSeen` (for people), `HostSeen` (the
environment).  Every other fact of a passing run is needed for the pass (tests/unit/test_verdicts_property.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from drill.core import objectives
from drill.core.judgement import Judge, Judgement, fails, passes, unproven
from drill.core.judges import JUDGES, addresses, cards_of, places, same_address, seen_machine
from drill.core.shapes import Unreadable
from drill.model.fact import (
    ChecksPlanned,
    Fact,
    HostSeen,
    MachinePredicted,
    NicPredicted,
    Observed,
    PictureTaken,
    RunEnded,
    RunStarted,
    ScreenSeen,
    ServiceAnswered,
    StepEnded,
)
from drill.model.verdict import CheckResult, Outcome, Verdict

IRRELEVANT: Final = (StepEnded, ScreenSeen, HostSeen)
_SEVERITY: Final = {Outcome.PASS: 0, Outcome.UNKNOWN: 1, Outcome.FAIL: 2}


def judge(facts: tuple[Fact, ...], judges: Mapping[str, Judge] = JUDGES) -> Verdict:
    """The conclusion; never raises for what facts say.  Checks come machine by machine, the whole run's first."""
    results = tuple(
        CheckResult(check=check, vm=vm, outcome=outcome, reason=reason)
        for check, vm in _order(facts)
        for outcome, reason in (_guarded(_rule(check, vm, facts, judges)),)
    )
    return Verdict(
        outcome=worst([result.outcome for result in results]),
        rpo_seconds=objectives.rpo_seconds(facts).value,
        rpo_records=_whole(objectives.rpo_records(facts).value),
        rto_seconds=objectives.rto_seconds(facts).value,
        checks=results,
        leftovers=leftovers(facts)[0],
    )


def worst(outcomes: list[Outcome]) -> Outcome:
    """Any fail, else any unknown, else pass; none at all is unknown."""
    return max(outcomes, key=_SEVERITY.__getitem__, default=Outcome.UNKNOWN)


def leftovers(facts: tuple[Fact, ...]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """What the run left on its hosts, what was lost from them (`host: kind name` each), and what was not pictured.

    The first picture before and the last one after count: a run that was taken up again may picture twice.
    """
    before: dict[str, PictureTaken] = {}
    after: dict[str, PictureTaken] = {}
    for fact in facts:
        if isinstance(fact, PictureTaken) and fact.when == "before":
            before.setdefault(fact.picture.host, fact)
        elif isinstance(fact, PictureTaken) and fact.when == "after":
            after[fact.picture.host] = fact
    left: list[str] = []
    lost: list[str] = []
    for host in sorted(before.keys() & after.keys()):
        then, now = set(before[host].picture.entries), set(after[host].picture.entries)
        left += [f"{host}: {kind} {name}" for kind, name in sorted(now - then)]
        lost += [f"{host}: {kind} {name}" for kind, name in sorted(then - now)]
    hosts = before.keys() | after.keys() | {fact.host for fact in facts if isinstance(fact, MachinePredicted)}
    unseen = [f"{host} before" for host in sorted(hosts - before.keys())]
    unseen += [f"{host} after" for host in sorted(hosts - after.keys())]
    return tuple(left), tuple(lost), ", ".join(unseen) if hosts else "any host"


def _order(facts: tuple[Fact, ...]) -> list[tuple[str, str]]:
    """Every (check, vm) to be judged, once, the whole run's first, then machine by machine as they were first named."""
    pairs: dict[tuple[str, str], None] = {("run", ""): None}
    for fact in facts:
        if isinstance(fact, ChecksPlanned):
            pairs.update(dict.fromkeys(fact.checks))
        elif isinstance(fact, Observed):
            pairs[(fact.check, fact.vm)] = None
    if facts:
        pairs.update(dict.fromkeys([("rpo", ""), ("leftovers", "")]))
    if any(check == "service" for check, _ in pairs) or any(isinstance(fact, ServiceAnswered) for fact in facts):
        pairs[("rto", "")] = None
    place = {vm: index for index, vm in enumerate(("", *objectives.machines(facts)))}
    return sorted(pairs, key=lambda pair: place[pair[1]])


def _rule(check: str, vm: str, facts: tuple[Fact, ...], judges: Mapping[str, Judge]) -> Callable[[], Judgement]:
    """What will judge one check: the whole record, or what was observed of it."""
    of_the_run: dict[str, Callable[[tuple[Fact, ...]], Judgement]] = {
        "run": _run,
        "leftovers": _leftovers,
        "rpo": _rpo,
        "rto": _rto,
    }
    if check in of_the_run and not vm:
        return lambda: of_the_run[check](facts)
    if check == "prediction":
        return lambda: _prediction(vm, facts)
    seen = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == (check, vm)]
    return lambda: _observed(check, seen, judges)


def _guarded(rule: Callable[[], Judgement]) -> Judgement:
    """A rule that cannot read or that breaks is *unknown*, whatever it raises."""
    try:
        outcome, reason = rule()
    except Unreadable as error:
        return unproven(f"the observation cannot be read: {error}")
    except Exception as error:  # noqa: BLE001 - a broken rule must not decide, nor keep others from deciding
        return unproven(f"the rule of this check broke: {type(error).__name__}")
    if outcome not in _SEVERITY or not isinstance(outcome, Outcome):
        return unproven("the rule of this check gave no outcome")
    return outcome, reason


def _observed(check: str, seen: list[Observed], judges: Mapping[str, Judge]) -> Judgement:
    """The worst of what was observed; a check that was repeated must hold every time."""
    if check not in judges:
        return unproven("no rule judges this check")
    if not seen:
        return unproven("owed, but not observed")
    judged = [_guarded(partial(_one, fact, judges[check])) for fact in seen]
    return max(judged, key=lambda judgement: _SEVERITY[judgement[0]])


def _one(fact: Observed, rule: Judge) -> Judgement:
    return unproven(f"not observed: {fact.error}") if fact.error else rule(fact)


def _run(facts: tuple[Fact, ...]) -> Judgement:
    """Whether the record is one whole run that said what it owes and observed something of it."""
    ends = [fact for fact in facts if isinstance(fact, RunEnded)]
    if broken := [end for end in ends if end.outcome != "done"]:
        return fails(f"the run ended as {broken[0].outcome}: {broken[0].detail}")
    starts = {_without_time(fact) for fact in facts if isinstance(fact, RunStarted)}
    gaps = {
        "the record is empty": not facts,
        "the record has no beginning": not facts or not isinstance(facts[0], RunStarted),
        "the record speaks of more than one run": len(starts) > 1,
        "the record has no end: the run was cut short": not ends,
        "the record goes on after the end of the run": bool(ends) and not isinstance(facts[-1], RunEnded),
        "the run never said which checks it owes": not any(isinstance(fact, ChecksPlanned) for fact in facts),
        "nothing was owed": not objectives.owed(facts),
        "nothing was observed": not any(isinstance(fact, Observed) for fact in facts),
    }
    for reason, gap in gaps.items():
        if gap:
            return unproven(reason)
    return passes("the record is whole, and the run ended as done")


def _without_time(start: RunStarted) -> tuple[object, ...]:
    return (
        start.run,
        start.plan,
        start.source_site,
        start.target_site,
        start.point_choice,
        start.network_choice,
        start.rpo_objective_seconds,
        start.rto_objective_seconds,
    )


def _leftovers(facts: tuple[Fact, ...]) -> Judgement:
    left, lost, unseen = leftovers(facts)
    if left or lost:
        parts = [f"left: {'; '.join(left)}"] if left else []
        parts += [f"lost: {'; '.join(lost)}"] if lost else []
        return fails(" - ".join(parts))
    if unseen:
        return unproven(f"no picture was taken of {unseen}")
    return passes("every host is as it was before the drill")


def _rpo(facts: tuple[Fact, ...]) -> Judgement:
    """The loss in time within the objective, and the loss in data counted wherever there is something to count."""
    figure, records = objectives.rpo_seconds(facts), objectives.rpo_records(facts)
    if objectives.counted(facts) and records.value is None:
        return unproven(records.missing)
    judged = _within(figure, [fact.rpo_objective_seconds for fact in facts if isinstance(fact, RunStarted)])
    counted = "" if records.value is None else f"; {int(records.value)} records lost on {records.worst}"
    return judged[0], judged[1] + counted


def _rto(facts: tuple[Fact, ...]) -> Judgement:
    starts = [fact for fact in facts if isinstance(fact, RunStarted)]
    return _within(objectives.rto_seconds(facts), [start.rto_objective_seconds for start in starts])


def _within(figure: objectives.Figure, limits: list[float]) -> Judgement:
    if figure.value is None:
        return unproven(figure.missing)
    if not limits:
        return unproven("no objective is on record")
    limit = min(limits)
    said = f"{figure.value:.1f} s on {figure.worst}, objective {limit:g} s"
    return passes(said) if figure.value <= limit else fails(said)


def _prediction(vm: str, facts: tuple[Fact, ...]) -> Judgement:
    """Host, memory, processors, disks and every card as `predict` foretold, with its addresses.

    Read off what `boot`, `subnet` and `address` saw.  Estimates of RPO and RTO are not compared.
    """
    told = [fact for fact in facts if isinstance(fact, MachinePredicted) and fact.vm == vm]
    if not told:
        return unproven("nothing was predicted")
    if any(replace(one, at_us=0) != replace(told[0], at_us=0) for one in told):
        return unproven("two predictions differ")
    cards = [nic for nic in told[0].nics if not nic.dropped]
    wrong = _shape_otherwise(vm, told[0], facts)
    for seen in _seen("subnet", vm, facts):
        found = places(seen.observed, "observed")
        wrong += [f"{mac} was not predicted" for mac in sorted(found.keys() - {nic.mac.lower() for nic in cards})]
        for nic in cards:
            if found.get(nic.mac.lower()) != (nic.network, nic.subnet):
                wrong.append(f"{nic.mac} is not on {nic.network or 'nothing'}, {nic.subnet or 'no subnet'}")
    for seen in _seen("address", vm, facts):
        held = addresses(seen.observed, "observed")
        wrong += [f"{nic.mac} has not the address {one}" for nic in cards for one in _missing(nic, held)]
    return fails("; ".join(wrong)) if wrong else passes(f"{cards_of(len(cards))}, each as predicted")


def _shape_otherwise(vm: str, told: MachinePredicted, facts: tuple[Fact, ...]) -> list[str]:
    """What `boot` saw of host, memory, processors and disks that was foretold otherwise.

    A prediction without memory was made before these were foretold.
    """
    if not told.memory_mib:
        return []
    foretold = (told.host, told.memory_mib, told.vcpus, [disk.disk for disk in told.disks])
    wrong: list[str] = []
    for seen in _seen("boot", vm, facts):
        found = seen_machine(seen.observed)[1:]
        if not found:
            raise Unreadable("boot saw no host, memory, processors and disks")
        names = ("host", "memory in MiB", "processors", "disks")
        pairs = zip(names, foretold, found, strict=True)
        wrong += [f"{name}: {value}, not {expected}" for name, expected, value in pairs if value != expected]
    return wrong


def _missing(nic: NicPredicted, held: dict[str, list[IPv4Interface | IPv6Interface]]) -> list[str]:
    """The addresses foretold of a card that it does not have."""
    foretold = [*([] if nic.address is None else [nic.address]), *nic.others]
    return [one for one in foretold if not any(same_address(has, one) for has in held.get(nic.mac.lower(), []))]


def _seen(check: str, vm: str, facts: tuple[Fact, ...]) -> list[Observed]:
    seen = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == (check, vm)]
    if not seen:
        raise Unreadable(f"there is none of {check}")
    if errors := [fact.error for fact in seen if fact.error]:
        raise Unreadable(f"{check} was not observed: {errors[0]}")
    return seen


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
