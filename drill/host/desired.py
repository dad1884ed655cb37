"""The desired objects of an estate in a file of the controller's, for a controller without a vault."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drill.errors import Failed, Refused
from drill.host.files import LocalFiles
from drill.model.vault import Desired, DesiredState, Kind
from drill.replication import plainjson

FILE = "desired.json"
_FRESH = f"{FILE}.new"
_LOCK = "desired.lock"


@dataclass(frozen=True, slots=True)
class DesiredFile:
    """The port `DesiredObjects` over one folder, which is made when something is first written.

    The file is replaced as a whole after it was synced; writers wait for each other.
    """

    folder: Path

    def read(self) -> DesiredState:
        """All of them; generation 0 and none where nothing was ever written.  BadInput for a file that is not ours."""
        try:
            raw = (self.folder / FILE).read_bytes()
        except FileNotFoundError:
            return DesiredState(generation=0, objects=())
        except OSError as error:
            raise Failed(f"reading {self.folder / FILE}", str(error.strerror)) from error
        return plainjson.decode(DesiredState, raw, where=str(self.folder / FILE))

    def write(self, changed: Iterable[Desired], removed: Iterable[tuple[Kind, str]], *, read_at: int) -> int:
        """Put and take away objects; the new generation.  Refused when somebody wrote since `read_at`."""
        with self._alone():
            known = self.read()
            if known.generation != read_at:
                raise Refused(
                    f"the estate was written by somebody else meanwhile (generation {known.generation}, not {read_at})",
                    cure="look at the differences again: drill diff",
                )
            objects = {(one.kind, one.name): one for one in known.objects}
            gone = set(removed)
            put = {(one.kind, one.name): one for one in changed}
            after = {**{key: one for key, one in objects.items() if key not in gone}, **put}
            if after == objects:
                return read_at
            ordered = tuple(after[key] for key in sorted(after))
            self._replace(DesiredState(generation=read_at + 1, objects=ordered))
            return read_at + 1

    def _replace(self, state: DesiredState) -> None:
        files = LocalFiles(self.folder)
        try:
            if files.size(_FRESH) is not None:
                files.remove(_FRESH)
            files.write(_FRESH, 0, plainjson.encode(DesiredState, state))
            files.sync(_FRESH)
            files.replace(_FRESH, FILE)
            files.sync_folder("")
        except OSError as error:
            raise Failed(f"writing {self.folder / FILE}", str(error.strerror)) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
