"""Who may send an item's logs, durable beside the replica: one small file per item, told by the controller.

A grant outlives the agent, and the replica too: a source that goes on after its replica was deleted copies anew.  Terms
only rise, so that a source that was replaced is never let in again by a message that came late.
"""

from __future__ import annotations

from collections.abc import Mapping

from drill.errors import Damaged, Failed, Refused, Unknown
from drill.model.identity import Grant
from drill.ports import Files
from drill.replication import names, sealed

FOLDER = ".grants"
KIND = "grant-0"


class GrantFiles:
    """All grants of a store.  One call at a time changes them; reading needs no lock."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, sealed.Sealed[Grant]] = {}
        self._doubt = ""
        for item in self._names():
            try:
                found = sealed.read(files, _path(item), KIND, Grant)
            except Damaged:
                continue  # nobody may send this item until the controller says so again
            if found is not None and found.value.item == item:
                self._known[item] = found

    def all(self) -> Mapping[str, Grant]:
        """By item."""
        return {item: found.value for item, found in tuple(self._known.items())}

    def allow(self, grant: Grant) -> None:
        """Make a grant durable; the same again is harmless.

        Refused for a lower term than the one known, and for another sender in the same term.
        """
        names.item(grant.item)
        known = self._known.get(grant.item)
        if known is not None:
            if grant == known.value:
                return
            if grant.term <= known.value.term:
                reason = f"item {grant.item} is granted to {known.value.sender} in term {known.value.term}"
                raise Refused(reason, "I29", "a new sender needs a higher term")
        if self._doubt:
            raise Failed("writing a grant", self._doubt, "start the agent again")
        self._write(sealed.Sealed(known.generation + 1 if known else 1, grant))

    def _write(self, found: sealed.Sealed[Grant]) -> None:
        self._files.make_folder(FOLDER)
        self._files.sync_folder("")
        try:
            sealed.write(self._files, _path(found.value.item), KIND, Grant, found.value, generation=found.generation)
        except Unknown as error:
            self._doubt = str(error)
            raise
        self._known[found.value.item] = found

    def _names(self) -> tuple[str, ...]:
        return tuple(name.removesuffix(".json") for name in self._names_of_files() if name.endswith(".json"))

    def _names_of_files(self) -> tuple[str, ...]:
        return self._files.list(FOLDER) if FOLDER in self._files.list("") else ()


def _path(item: str) -> str:
    return f"{FOLDER}/{item}.json"
