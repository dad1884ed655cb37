"""Where a controller keeps the desired objects of its estate: in its vault, or, where it has none, in a file.

named, registered with, or vault.sqlite in the state folder   the vault (drill/wiring/vaults.py)
controller/VAULT/desired.json in the state folder             without a vault
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from drill.errors import Refused, Usage
from drill.estate.proposal import applied
from drill.host.desired import FILE, DesiredFile
from drill.model.estate import Estate
from drill.ports import DesiredObjects
from drill.wiring.controller import controller_folder
from drill.wiring.vaults import Doors


@dataclass(frozen=True, slots=True)
class AppliedEstates:
    """The estates that were applied on this machine, by way of its vault where it has one."""

    doors: Doors

    @contextmanager
    def objects(self, vault: str) -> Iterator[DesiredObjects]:
        """The desired objects of a vault by its name; Refused where this machine's vault is another one."""
        if not self.doors.has_vault():
            yield DesiredFile(controller_folder(self.doors.state, vault))
            return
        with self.doors.vault() as opened:
            name = opened.facts().name
            if name != vault:
                where = self.doors.location().shown
                cure = f"name vault {name!r} in the file, or another vault with --vault"
                raise Refused(f"the vault in {where} is {name!r}, the estate is of {vault!r}", "B1", cure)
            yield opened.desired

    def name(self) -> str:
        """The name of the one vault whose estate this machine has; "" for none, Usage for several."""
        if self.doors.has_vault():
            with self.doors.vault() as opened:
                return opened.facts().name
        names = sorted(file.parent.name for file in (self.doors.state / "controller").glob(f"*/{FILE}"))
        if len(names) > 1:
            raise Usage(problem=f"several estates were applied here: {', '.join(names)}", cure="name one")
        return next(iter(names), "")

    def estate(self) -> Estate | None:
        """The estate that was applied; None where none was."""
        vault = self.name()
        if not vault:
            return None
        with self.objects(vault) as store:
            found = store.read()
        return applied(found).estate if found.objects else None
