"""Where a controller keeps the desired objects of its estate: in its vault, or, where it has none, in a file.

DRILL_VAULT, or vault.sqlite in the state folder   the vault
controller/VAULT/desired.json                      without a vault
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drill.errors import Refused, Usage
from drill.estate.proposal import applied
from drill.host.clock import HostClock
from drill.host.desired import FILE, DesiredFile
from drill.model.estate import Estate
from drill.ports import DesiredObjects
from drill.vault.database import Database
from drill.vault.location import Location, in_file, location
from drill.vault.vault import Vault
from drill.wiring.controller import controller_folder

VAULT_FILE = "vault.sqlite"


@contextmanager
def desired_objects(state: Path, vault: str) -> Iterator[DesiredObjects]:
    """The desired objects of a vault by its name; Refused where this controller's vault is another one."""
    at = _vault_location(state)
    if at is None:
        yield DesiredFile(controller_folder(state, vault))
        return
    with Vault.open(Database(at), HostClock(), _actor()) as opened:
        name = opened.facts().name
        if name != vault:
            cure = f"name vault {name!r} in the file, or another vault by DRILL_VAULT"
            raise Refused(f"the vault in {at.shown} is {name!r}, the estate is of {vault!r}", "B1", cure)
        yield opened.desired


def applied_vault(state: Path) -> str:
    """The name of the one vault whose estate this controller has; "" for none, Usage for several."""
    at = _vault_location(state)
    if at is not None:
        with Vault.open(Database(at), HostClock(), _actor()) as opened:
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


def _vault_location(state: Path) -> Location | None:
    told = os.environ.get("DRILL_VAULT")
    if told:
        return location(told)
    file = state / VAULT_FILE
    return in_file(file) if file.exists() else None


def _actor() -> str:
    """Who is named in the vault's audit log."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
