"""Decisions for a region as target (spec A13, B10, D1, F2, J2, J7).  Nothing here talks to a region."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from drill.model.estate import Estate, Pair
from drill.model.finding import Finding

DATA_DISKS_MAX = 16
SYSTEM_DISK_BYTES_MAX = 2 << 40
_NAME = re.compile(r"[A-Za-z0-9-]{1,63}")


def stores_and_networks(estate: Estate) -> tuple[Finding, ...]:
    """Stores and networks that pairs with a region use (A13)."""
    found: list[Finding] = []
    for pair in estate.pairs.values():
        if pair.region:
            found += _store(estate, pair)
            found += _network(estate, pair)
    return tuple(found)


def _store(estate: Estate, pair: Pair) -> Iterator[Finding]:
    store = estate.regions[pair.region].store(pair.store)
    if store is None:
        cure = f"make the store in region {pair.region}, or name one that is there"
        yield Finding(rule="A13", kind="pair", name=pair.name, problem=f"there is no store {pair.store}", remedy=cure)
        return
    wrong = (
        (store.redundancy != "geo", f"it is {store.redundancy} redundant", "use a geo-redundant store"),
        (store.tier != "standard", f"it is of {store.tier} grade", "use a store of standard grade"),
        (store.region != estate.region, f"it lies in {store.region}", f"use a store in {estate.region}"),
        (
            store.subscription != estate.subscription,
            f"it belongs to subscription {store.subscription or '(none)'}",
            f"use a store of the vault's subscription {estate.subscription or '(none)'}",
        ),
    )
    for is_wrong, problem, cure in wrong:
        if is_wrong:
            yield Finding(rule="A13", kind="store", name=store.name, problem=problem, remedy=cure)


def _network(estate: Estate, pair: Pair) -> Iterator[Finding]:
    """A region's networks lie in it and belong to its subscription."""
    region = estate.regions[pair.region]
    for network in (one.name for one in estate.networks if one.site == region.name):
        if region.name != estate.region:
            cure = f"use a network in {estate.region}"
            yield Finding(rule="A13", kind="network", name=network, problem=f"it lies in {region.name}", remedy=cure)
        if region.subscription != estate.subscription:
            problem = f"it belongs to subscription {region.subscription or '(none)'}"
            cure = f"use a network of the vault's subscription {estate.subscription or '(none)'}"
            yield Finding(rule="A13", kind="network", name=network, problem=problem, remedy=cure)


def moving(estate: Estate, kind: str, name: str) -> tuple[Finding, ...]:
    """Whether a store or a network (`kind`) may be moved (A13): not while a pair or a mapping uses it."""
    if kind == "store":
        users = [f"pair {pair.name}" for pair in estate.pairs.values() if pair.region and pair.store == name]
    else:
        users = [
            f"the mapping of {one.source}"
            for one in estate.network_mappings
            if one.target_site in estate.regions and one.target == name
        ]
    if not users:
        return ()
    problem = f"it is used by {', '.join(users)}"
    return (
        Finding(rule="A13", kind=kind, name=name, problem=problem, remedy=f"end that use before moving the {kind}"),
    )


def encryption(estate: Estate) -> tuple[Finding, ...]:
    """Clouds whose setting is ignored because their pair leads to a second site (B10)."""
    return tuple(
        Finding(
            rule="B10", kind="cloud", name=pair.source, refuses=False,
            problem="it asks for encryption, which is ignored for a second site",
            remedy="leave the setting out, or encrypt the storage of the target's hosts",
        )
        for pair in estate.pairs.values()
        if estate.clouds[pair.source].encryption and not pair.region
    )  # fmt: skip


def certificate(estate: Estate, pair: Pair, named: str) -> tuple[Finding, ...]:
    """Whether a failover must still name the certificate of an encrypted store (B10, L7)."""
    if not pair.region or not estate.clouds[pair.source].encryption or named:
        return ()
    problem = "its data is stored encrypted, and no certificate is named"
    cure = "name the certificate with which the server registered"
    return (Finding(rule="B10", kind="pair", name=pair.name, problem=problem, remedy=cure),)


def reach(*, same_plan: bool, mapped: bool) -> bool:
    """Whether two machines that failed over to a region reach each other (F2)."""
    return mapped or same_plan


def reach_home(*, mapped: bool, gateway: bool) -> bool:
    """Whether a machine that failed over to a region reaches machines of its source site (F2)."""
    return mapped and gateway


def chosen_network(machine: str, mapped: Sequence[str], chosen: str) -> tuple[Finding, ...]:
    """J2: cards that map to different networks of a region wait until the operator has chosen one of them."""
    wanted = tuple(dict.fromkeys(mapped))
    if len(wanted) < 2 or chosen in wanted:
        return ()
    problem = f"its cards map to {', '.join(wanted)}, and a machine has one network there"
    cure = "choose one of them for the target"
    return (Finding(rule="J2", kind="machine", name=machine, problem=problem, remedy=cure),)


def limits(name: str, *, data_disks: int, system_disk_bytes: int) -> tuple[Finding, ...]:
    """What a region does not take (J7)."""
    wrong = (
        (
            data_disks > DATA_DISKS_MAX,
            f"it has {data_disks} data disks, more than {DATA_DISKS_MAX}",
            "join or leave out disks",
        ),
        (
            system_disk_bytes > SYSTEM_DISK_BYTES_MAX,
            f"its system disk has {system_disk_bytes} bytes, more than {SYSTEM_DISK_BYTES_MAX} (2 TiB)",
            "shrink the system disk",
        ),
        (
            _NAME.fullmatch(name) is None,
            "its name is not 1 to 63 letters, digits and hyphens",
            "give the target another name",
        ),
    )
    return tuple(
        Finding(rule="J7", kind="machine", name=name, problem=problem, remedy=cure)
        for is_wrong, problem, cure in wrong
        if is_wrong
    )
