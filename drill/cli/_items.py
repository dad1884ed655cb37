"""What the verbs that act on protected items share: which items, several at a time, the errors of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import click

from drill.cli._estate import read_estate
from drill.cli.output import Output, Verb
from drill.errors import Usage
from drill.model.estate import Estate
from drill.ports import SourceAgent
from drill.wiring.controller import Protection, RemoteHosts

T = TypeVar("T")
AT_ONCE = 4


def items_argument(verb: Verb) -> Verb:
    """Decorate a verb that takes names of items, or `--all`."""
    names = click.argument("items", metavar="[ITEM]...", nargs=-1)
    every = click.option("--all", "every", is_flag=True, help="All protected items of the estate.")
    return names(every(verb))


def chosen(known: Estate, items: tuple[str, ...], *, every: bool) -> tuple[str, ...]:
    """The items that were named, or all; Usage when there are none."""
    names = tuple(known.items) if every else items
    if not names:
        raise Usage(problem="no item is named", cure="name items, or give --all")
    return names


def each(names: tuple[str, ...], act: Callable[[str], T]) -> Mapping[str, T]:
    """What `act` gives for every item, a few at a time; raises what it raises."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip(names, pool.map(act, names), strict=True))


def tell_sources(
    out: Output,
    estate: Path,
    items: tuple[str, ...],
    act: Callable[[SourceAgent, str], None],
    *,
    every: bool,
    done: str,
) -> None:
    """Tell the source agent of every item what to do with it; `done` is the word for what it then is."""
    known = read_estate(estate)
    protection = Protection(known, RemoteHosts(known))
    names = chosen(known, items, every=every)
    each(names, lambda name: act(protection.source(name), protection.identity(name)))
    out.result({"items": list(names)}, *(f"{name}: {done}" for name in names))
