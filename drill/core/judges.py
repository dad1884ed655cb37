"""One rule per check: what it expected and what it saw → an outcome and the sentence that gives the reason.

The shapes are those of docs/checks.md.  A rule says *pass* only where the evidence shows it; it says *unknown* where
the evidence cannot show either (a probe without its positive control), and it may raise `Unreadable` or anything else,
which is *unknown* too (drill.core.verdicts).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from itertools import pairwise
from typing import Final

from drill.core.database_judges import database, database_rows
from drill.core.judgement import Judge, Judgement, fails, few, passes, unproven
from drill.core.shapes import (
    Unreadable,
    by_key,
    count,
    fields,
    flag,
    rows,
    seconds,
    some,
    text,
    text_or_none,
    witnesses,
)
from drill.model.fact import Json, Observed

Place = tuple[str | None, str | None]  # network and subnet of a card; None = plugged into nothing, in no named subnet


def boot(seen: Observed) -> Judgement:
    """The machine is in the power state it should be in."""
    expected = text(fields(seen.expected, "state", where="expected")[0], "expected.state")
    state = text(seen_machine(seen.observed)[0], "observed.state")
    return passes(f"the machine is {state}") if state == expected else fails(f"{state}, not {expected}")


def seen_machine(observed: Json) -> tuple[Json, ...]:
    """State, and host, memory in MiB, processors, disks of a machine as `boot` saw it; older records have the state."""
    shape = ("host", "memory_mib", "vcpus", "disks") if isinstance(observed, dict) and len(observed) > 1 else ()
    return fields(observed, "state", *shape, where="observed")


def agent(seen: Observed) -> Judgement:
    """The guest's agent answers."""
    if not flag(fields(seen.expected, "answers", where="expected")[0], "expected.answers"):
        raise Unreadable("expected.answers is false")
    answers, took = fields(seen.observed, "answers", "seconds", where="observed")
    after = seconds(took, "observed.seconds")
    if flag(answers, "observed.answers"):
        return passes(f"the guest agent answers after {_duration(after)}")
    return fails(f"the guest agent does not answer within {_duration(after)}")


def heartbeat(seen: Observed) -> Judgement:
    """The guest counts on its console, so it is alive, not just a picture of the past."""
    least = count(fields(seen.expected, "beats_min", where="expected")[0], "expected.beats_min")
    beats = rows(fields(seen.observed, "beats", where="observed")[0], "observed.beats", count)
    if least < 2:
        return unproven("fewer than two beats would prove no life")
    if any(later <= earlier for earlier, later in pairwise(beats)):
        return fails(f"the beats on the console do not rise: {few(beats)}")
    if len(beats) < least:
        return fails(f"{len(beats)} of {least} beats on the console")
    return passes(f"{len(beats)} rising beats on the console")


def disk_content(seen: Observed) -> Judgement:
    """Every disk of the replica has the content that the source's export had at the point's instant."""
    source = witnesses(fields(seen.expected, "disks", where="expected")[0], "expected.disks")
    replica = witnesses(fields(seen.observed, "disks", where="observed")[0], "observed.disks")
    if source.keys() != replica.keys():
        return fails(f"the source has disks {few(sorted(source))}, the replica {few(sorted(replica))}")
    differing = [target for target in sorted(source) if source[target] != replica[target]]
    if differing:
        return fails(f"{few(differing)}: the content differs from the source's at the point's instant")
    return passes(f"{few(sorted(source))}: the content is the source's at the point's instant")


def point_digest(seen: Observed) -> Judgement:
    """Every byte that is stored of the point is what the source sent; null = it could not be read."""
    sealed = witnesses(fields(seen.expected, "disks", where="expected")[0], "expected.disks")
    listed = fields(seen.observed, "disks", where="observed")[0]
    if not isinstance(listed, dict):
        raise Unreadable("observed.disks names no disk")
    stored = {target: text_or_none(value, "observed.disks") for target, value in listed.items()}
    if sealed.keys() != stored.keys():
        return fails(f"the point was sealed with disks {few(sorted(sealed))}, stored are {few(sorted(stored))}")
    rotten = [target for target in sorted(sealed) if stored[target] != sealed[target]]
    if rotten:
        return fails(f"{few(rotten)}: what is stored has rotted, it is not what the source sent")
    return passes(f"{few(sorted(sealed))}: every stored byte is what the source sent")


def ledger(seen: Observed) -> Judgement:
    """The replica's ledger is whole and ends between what was acknowledged and what was sent when the point was taken.

    A torn tail is legal: a crash-consistent point may hold half of the record that was being written.
    """
    bounds = fields(seen.expected, "acknowledged_before", "sent_before", where="expected")
    acknowledged, sent = (count(value, "expected") for value in bounds)
    *counts, damage = fields(seen.observed, "last_sequence", "records", "torn_bytes", "damage", where="observed")
    last, records, torn = (count(value, "observed") for value in counts)
    if not isinstance(damage, str):
        raise Unreadable("observed.damage is not a text")
    if acknowledged > sent:
        return unproven(f"{acknowledged} records acknowledged, but only {sent} sent: the bounds prove nothing")
    if damage:
        return fails(f"the ledger is damaged after record {last}: {damage}")
    if not records:
        return fails("the ledger is empty")
    if last < acknowledged:
        return fails(f"it ends at {last}, but {acknowledged} was acknowledged before the point: records are lost")
    if last > sent:
        return fails(f"it ends at {last}, but only {sent} had been sent: the point is not what it says")
    tail = f", and a torn tail of {torn} bytes, as a crash leaves it" if torn else ""
    return passes(f"{records} records, whole up to {last} (between {acknowledged} and {sent}){tail}")


def one_instant(seen: Observed) -> Judgement:
    """Two ledgers, written in turn on two disks, end at the same beat: both disks are of one instant."""
    most = count(fields(seen.expected, "lag_max", where="expected")[0], "expected.lag_max")
    first, second = (count(value, "observed") for value in fields(seen.observed, "first", "second", where="observed"))
    if not second and first <= most:
        return unproven("the second ledger is empty: it shows no instant")
    if second <= first <= second + most:
        return passes(f"{first} on the first disk, {second} on the second: one instant")
    return fails(f"{first} on the first disk, {second} on the second: not one instant")


def primary(seen: Observed) -> Judgement:
    """The primary kept running and replicating while its copy was tested."""
    names = ("state", "item_state")
    expected = [text(value, "expected") for value in fields(seen.expected, *names, where="expected")]
    found = [text(value, "observed") for value in fields(seen.observed, *names, where="observed")]
    said = f"the primary is {found[0]} and {found[1]}"
    return passes(said) if found == expected else fails(f"{said}, not {expected[0]} and {expected[1]}")


def nic_count(seen: Observed) -> Judgement:
    """The machine has as many cards as were predicted."""
    expected = count(fields(seen.expected, "count", where="expected")[0], "expected.count")
    stated, cards = fields(seen.observed, "count", "nics", where="observed")
    found = count(stated, "observed.count")
    if len(rows(cards, "observed.nics", lambda card, _: card)) != found:
        raise Unreadable("observed.count is not the number of observed.nics")
    return passes(cards_of(found)) if found == expected else fails(f"{cards_of(found)}, not {expected}")


def subnet(seen: Observed) -> Judgement:
    """Every card is plugged into the network and subnet where it should be, and there is no other card."""
    expected = places(seen.expected, "expected")
    found = places(seen.observed, "observed")
    if not expected and not found:
        return unproven("no card was expected and none was seen")
    wrong = [f"{mac} is not there" for mac in sorted(expected.keys() - found.keys())]
    wrong += [f"{mac} was not expected" for mac in sorted(found.keys() - expected.keys())]
    wrong += [
        f"{mac} is {_place(found[mac])}, not {_place(expected[mac])}"
        for mac in sorted(expected.keys() & found.keys())
        if expected[mac] != found[mac]
    ]
    if wrong:
        return fails("; ".join(wrong))
    return passes("; ".join(f"{mac} {_place(place)}" for mac, place in sorted(found.items())))


def address(seen: Observed) -> Judgement:
    """Every card has the address that was promised and no other beyond the link; null = none was promised (J6)."""
    wanted = fields(seen.expected, "nics", where="expected")[0]
    expected = by_key(some(wanted, "expected.nics", _expected_address), "expected.nics")
    found = addresses(seen.observed, "observed")
    wrong: list[str] = []
    for mac, wish in sorted(expected.items()):
        if mac not in found:
            wrong.append(f"{mac} is not there")
            continue
        held = [one for one in found[mac] if not one.ip.is_link_local]
        missing = [one for one in wish if not any(same_address(has, one) for has in held)]
        others = [str(has) for has in held if not any(same_address(has, one) for one in wish)]
        if missing:
            wrong.append(f"{mac} has not {few(missing)}, but {few([str(has) for has in held]) or 'no address'}")
        elif wish and others:
            wrong.append(f"{mac} has {few(wish)}, and also {few(others)}")
    if wrong:
        return fails("; ".join(wrong))
    told = {mac: f"has {few(wish)}" if wish else "was promised none" for mac, wish in sorted(expected.items())}
    return passes(", ".join(f"{mac} {words}" for mac, words in told.items()))


def isolation(seen: Observed) -> Judgement:
    """Nothing in the bubble reaches production, and the same target answered production's own machine just then."""
    listed = fields(seen.expected, "probes", where="expected")[0]
    owed = set(some(listed, "expected.probes", text))
    probes_json, bridges_json = fields(seen.observed, "probes", "bridges", where="observed")
    probes = rows(probes_json, "observed.probes", _probe)
    bridges = rows(bridges_json, "observed.bridges", _bridge)
    open_ways = [f"{name} reached {target}" for name, target, reached, _ in probes if reached]
    strangers = [f"{extra} is plugged into {bridge}" for bridge, _, extras in bridges for extra in extras]
    if open_ways or strangers:
        return fails("not isolated: " + "; ".join(open_ways + strangers))
    if missing := sorted(owed - {name for name, *_ in probes}):
        return unproven(f"not probed: {few(missing)}")
    if blind := sorted(name for name, _, _, controlled in probes if not controlled):
        return unproven(f"no positive control: {few(blind)} did not answer production either")
    if not seen.vm and not bridges:
        return unproven("no bridge was looked at")
    if idle := [bridge for bridge, members, _ in bridges if not members]:
        return unproven(f"nothing was plugged into {few(idle)} when it was looked at")
    return passes(
        f"{len(probes)} probes did not get out while each target answered production; {_bridges(len(bridges))}"
    )


def service(seen: Observed) -> Judgement:
    """Every service of the machine answers."""
    owed = set(some(fields(seen.expected, "services", where="expected")[0], "expected.services", text))
    services = rows(fields(seen.observed, "services", where="observed")[0], "observed.services", _service)
    dead = [
        f"{name} does not answer{': ' + detail if detail else ''}" for name, answers, detail in services if not answers
    ]
    if dead:
        return fails("; ".join(dead))
    if missing := sorted(owed - {name for name, _, _ in services}):
        return unproven(f"not asked: {few(missing)}")
    return passes(f"{few(sorted(owed))} answered")


def places(value: Json, where: str) -> dict[str, Place]:
    """Network and subnet by MAC out of `{"nics": [{"mac", "network", "subnet"}]}`."""
    return by_key(rows(fields(value, "nics", where=where)[0], f"{where}.nics", _nic_place), f"{where}.nics")


def addresses(value: Json, where: str) -> dict[str, list[IPv4Interface | IPv6Interface]]:
    """Addresses by MAC out of `{"nics": [{"mac", "addresses"}]}`, link-local ones included."""
    return by_key(rows(fields(value, "nics", where=where)[0], f"{where}.nics", _nic_addresses), f"{where}.nics")


def cards_of(number: int) -> str:
    """A number of network cards, in words."""
    return "1 network card" if number == 1 else f"{number} network cards"


def same_address(found: IPv4Interface | IPv6Interface, wish: str) -> bool:
    """Whether a guest's address is the wished one; the prefix length counts where the wish has one."""
    wanted = interface(wish, "expected")
    return found == wanted if "/" in wish else found.ip == wanted.ip


def interface(value: str, where: str) -> IPv4Interface | IPv6Interface:
    """An address with or without its prefix length."""
    try:
        return ip_interface(value)
    except ValueError:
        raise Unreadable(f"{where}: {value[:60]!r} is not an address") from None


def _nic_place(value: Json, where: str) -> tuple[str, Place]:
    mac, network, name = fields(value, "mac", "network", "subnet", where=where)
    return text(mac, where).lower(), (text_or_none(network, where), text_or_none(name, where))


def _nic_addresses(value: Json, where: str) -> tuple[str, list[IPv4Interface | IPv6Interface]]:
    mac, held = fields(value, "mac", "addresses", where=where)
    return text(mac, where).lower(), [interface(one, where) for one in rows(held, where, text)]


def _expected_address(value: Json, where: str) -> tuple[str, list[str]]:
    """MAC and the addresses promised, the first one first; none where nothing was promised."""
    several = ("others",) if isinstance(value, dict) and "others" in value else ()
    mac, wish, *others = fields(value, "mac", "address", *several, where=where)
    first = text_or_none(wish, where)
    wanted = [] if first is None else [first]
    for one in others:
        wanted += rows(one, where, text)
    for one in wanted:
        interface(one, where)
    return text(mac, where).lower(), wanted


def _probe(value: Json, where: str) -> tuple[str, str, bool, bool]:
    name, target, begins, reached, control = fields(value, "name", "target", "from", "reached", "control", where=where)
    text(begins, where)
    control_from, controlled = fields(control, "from", "reached", where=f"{where}.control")
    text(control_from, where)
    return text(name, where), text(target, where), flag(reached, where), flag(controlled, where)


def _bridge(value: Json, where: str) -> tuple[str, list[str], list[str]]:
    name, members_json, allowed_json = fields(value, "bridge", "members", "allowed", where=where)
    members, allowed = rows(members_json, where, text), rows(allowed_json, where, text)
    return text(name, where), members, sorted(set(members) - set(allowed))


def _service(value: Json, where: str) -> tuple[str, bool, str]:
    name, answers, detail = fields(value, "name", "answers", "detail", where=where)
    if not isinstance(detail, str):
        raise Unreadable(f"{where}.detail is not a text")
    return text(name, where), flag(answers, where), detail


def _place(place: Place) -> str:
    network, name = place
    if network is None:
        return "plugged into nothing"
    return f"on {network}, {name}" if name else f"on {network}, in no named subnet"


def _bridges(number: int) -> str:
    return (
        "only the machines' own cards are on the bridge"
        if number == 1
        else f"only the machines' own cards are on the {number} bridges"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


JUDGES: Final[Mapping[str, Judge]] = {
    rule.__name__: rule
    for rule in (
        boot,
        agent,
        heartbeat,
        disk_content,
        point_digest,
        ledger,
        one_instant,
        primary,
        nic_count,
        subnet,
        address,
        isolation,
        service,
        database,
        database_rows,
    )
}
