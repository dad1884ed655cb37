"""A walk as it stands, to be gone on from more than once.

Values that nobody changes (bytes, points, headers, contents of disks, …) are shared by all copies; files, processes,
disks, the engine's objects and the oracle's memory are copied.  A copy costs a tenth of the walk that led there.
"""

from __future__ import annotations

import io
import pickle
import types
from _thread import LockType, RLock
from collections.abc import Callable
from copyreg import dispatch_table
from dataclasses import dataclass, is_dataclass
from random import Random
from typing import Any, Final

from drill.fuzz.perform import Walk
from drill.replication.cycle import SourcePorts

_SHARED: Final = (bytes, types.FunctionType, types.BuiltinFunctionType, type, LockType, RLock)
_COPIED: Final = (SourcePorts,)
"""Frozen, and yet its fields change."""

_known: dict[type, bool] = {}


class Snapshot:
    """A walk between two of its steps; `walk` gives another one that goes on from there."""

    def __init__(self, walk: Walk) -> None:
        self._shared: list[object] = []
        found = io.BytesIO()
        _Pickler(found, self._shared).dump(walk)
        self._found = found.getvalue()

    def walk(self) -> Walk:
        """A walk of its own."""
        copy = _Unpickler(io.BytesIO(self._found), self._shared).load()
        if not isinstance(copy, Walk):
            raise TypeError(f"a copy of a walk is a {type(copy).__name__}")
        return copy


@dataclass(frozen=True, slots=True)
class _Chance:
    """Where a source of chance is: 625 numbers, of which a pickle would look at every single one."""

    state: tuple[Any, ...]


def _source(chance: _Chance) -> Random:
    found = Random(0)  # noqa: S311 - a simulation must repeat itself
    found.setstate(chance.state)
    return found


def _of_source(found: Random) -> tuple[Callable[[_Chance], Random], tuple[_Chance]]:
    return _source, (_Chance(found.getstate()),)


_REDUCED: Final = {**dispatch_table, Random: _of_source}


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._places: dict[int, int] = {}
        self.dispatch_table = _REDUCED

    def persistent_id(self, obj: object) -> int | None:
        """The place of a value that all copies share."""
        kind = type(obj)
        is_shared = _known.get(kind)
        if is_shared is None:
            is_shared = _known[kind] = _is_shared(kind)
        if not is_shared:
            return None
        place = self._places.get(id(obj))
        if place is None:
            place = self._places[id(obj)] = len(self._shared)
            self._shared.append(obj)
        return place


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file)
        self.persistent_load = shared.__getitem__  # type: ignore[method-assign]


def _is_shared(kind: type) -> bool:
    if issubclass(kind, _SHARED):
        return True
    parameters = getattr(kind, "__dataclass_params__", None)
    return is_dataclass(kind) and parameters is not None and parameters.frozen and kind not in _COPIED
