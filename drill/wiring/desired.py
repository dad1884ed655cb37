"""Where a controller keeps the desired objects of its estate: in its vault, or, where it has none, in a file.

DRILL_VAULT, where this server registered, or vault.sqlite in the state folder   the vault
controller/VAULT/desired.json                                                    without a vault
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drill.errors import Refused, Usage
from drill.estate.proposal import applied
from drill.host.desired import FILE, DesiredFile
from drill.model.estate import Estate
from drill.ports import DesiredObjects
from drill.wiring.controller import controller_folder
from drill.wiring.vaults import Doors


@contextmanager
def desired_objects(state: Path, vault: str) -> Iterator[DesiredObjects]:
    """The desired objects of a vault by its name; Refused where this controller's vault is another one."""
    doors = _doors(state)
    if not doors.has_vault():
        yield DesiredFile(controller_folder(state, vault))
        return
    with doors.vault() as opened:
        name = opened.facts().name
        if name != vault:
            cure = f"name vault {name!r} in the file, or another vault by DRILL_VAULT"
            raise Refused(f"the vault in {doors.location().shown} is {name!r}, the estate is of {vault!r}", "B1", cure)
        yield opened.desired


def applied_vault(state: Path) -> str:
    """The name of the one vault whose estate this controller has; "" for none, Usage for several."""
    doors = _doors(state)
    if doors.has_vault():
        with doors.vault() as opened:
            return opened.facts().name
    names = sorted(file.parent.name for file in (state / "controller").glob(f"*/{FILE}"))
    if len(names) > 1:
        raise Usage(problem=f"several estates were applied here: {', '.join(names)}", cure="name one")
    return next(iter(names), "")


def applied_estate(state: Path) -> Estate | None:
    """The estate that was applied here; None where none was."""
    vault = applied_vault(state)
    if not vault:
        return None
    with desired_objects(state, vault) as store:
        found = store.read()
    return applied(found).estate if found.objects else None


def _doors(state: Path) -> Doors:
    return Doors(state, os.environ.get("DRILL_VAULT", ""))
