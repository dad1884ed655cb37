"""The table of network cards: where `predict` said each would land and by which rule, and where it was seen."""

from __future__ import annotations

from dataclasses import dataclass

from drill.core.judges import Place, addresses, places
from drill.core.shapes import Unreadable
from drill.model.fact import Fact, MachinePredicted, NicPredicted, Observed
from drill.model.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card of the source machine.  `outcome` is None for a card that is not built, as there is nothing to see."""

    vm: str
    index: int
    mac: str
    source: str
    predicted: str
    predicted_address: str
    observed: str
    observed_address: str
    rule: str
    mode: str
    dropped: bool
    outcome: Outcome | None
    word: str


def build(facts: tuple[Fact, ...]) -> tuple[Card, ...]:
    """A row per predicted card, machine by machine; the last prediction of a machine counts."""
    predicted = {fact.vm: fact for fact in facts if isinstance(fact, MachinePredicted)}
    rows: list[Card] = []
    for vm, fact in predicted.items():
        where, held = _places(facts, vm), _addresses(facts, vm)
        rows += [_card(vm, nic, where, held) for nic in fact.nics]
    return tuple(rows)


def _card(vm: str, nic: NicPredicted, where: dict[str, Place] | None, held: dict[str, tuple[str, ...]] | None) -> Card:
    mac = nic.mac.lower()
    outcome, word = _compared(nic, where, held)
    seen = "not seen" if where is None else _spot(where[mac]) if mac in where else "not there"
    found = "not seen" if held is None else ", ".join(held.get(mac, ())) or "none"
    return Card(
        vm=vm,
        index=nic.index,
        mac=nic.mac,
        source=_spot((nic.source_network or None, nic.source_subnet or None)),
        predicted="not built" if nic.dropped else _spot((nic.network, nic.subnet)),
        predicted_address="" if nic.dropped else nic.address or "none promised",
        observed="not there" if nic.dropped and seen == "not there" else seen,
        observed_address="" if nic.dropped and seen == "not there" else found,
        rule=nic.rule,
        mode=nic.mode,
        dropped=nic.dropped,
        outcome=outcome,
        word=word,
    )


def _compared(
    nic: NicPredicted, where: dict[str, Place] | None, held: dict[str, tuple[str, ...]] | None
) -> tuple[Outcome | None, str]:
    mac = nic.mac.lower()
    if where is None:
        return Outcome.UNKNOWN, "Not seen"
    if nic.dropped:
        return (Outcome.FAIL, "Is there") if mac in where else (None, "Not built")
    if where.get(mac) != (nic.network, nic.subnet):
        return Outcome.FAIL, "Differs"
    if nic.address is None:
        return Outcome.PASS, "As predicted"
    if held is None:
        return Outcome.UNKNOWN, "Not seen"
    as_told = nic.address in (one.split("/")[0] for one in held.get(mac, ()))
    return (Outcome.PASS, "As predicted") if as_told else (Outcome.FAIL, "Differs")


def _spot(place: Place) -> str:
    network, subnet = place
    if network is None:
        return "plugged into nothing"
    return f"{network} · {subnet}" if subnet else network


def _last(facts: tuple[Fact, ...], check: str, vm: str) -> Observed | None:
    found = [fact for fact in facts if isinstance(fact, Observed) and (fact.check, fact.vm) == (check, vm)]
    return found[-1] if found and not found[-1].error else None


def _places(facts: tuple[Fact, ...], vm: str) -> dict[str, Place] | None:
    seen = _last(facts, "subnet", vm)
    try:
        return None if seen is None else places(seen.observed, "observed")
    except Unreadable:
        return None


def _addresses(facts: tuple[Fact, ...], vm: str) -> dict[str, tuple[str, ...]] | None:
    """Addresses by MAC, those that only reach the link left out."""
    seen = _last(facts, "address", vm)
    try:
        held = None if seen is None else addresses(seen.observed, "observed")
    except Unreadable:
        return None
    if held is None:
        return None
    return {mac: tuple(str(one) for one in found if not one.ip.is_link_local) for mac, found in held.items()}
