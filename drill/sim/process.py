"""The life of one simulated process: what it may do until it is killed, and the faults planned for it.

Every port of a process asks its `Process` before each operation.  A fault is an argument of a step (`crash at the 7th
operation`), so that it shrinks with the step; what was injected is noted by its kind, so that an error that nobody
injected stands out.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass


class Killed(BaseException):
    """The process ended here: nothing of it runs any more, its `finally` clauses included."""


@dataclass(slots=True)
class Planned:
    """A fault that waits for its operation: the `at`-th (from 0) of those whose name is in `operations`.

    `operations` empty means any.  A `sticky` one then strikes at every such operation; a `lasting` one outlives its
    step and strikes until the process ends.
    """

    kind: str
    at: int
    operations: frozenset[str]
    raises: Callable[[str, str], BaseException]
    sticky: bool = False
    lasting: bool = False


class Process:
    """One process.  `armed` is False while nothing can strike, so that the usual case costs one look."""

    __slots__ = ("_faults", "_watched", "alive", "armed", "noted")

    def __init__(self, noted: Callable[[str], None]) -> None:
        self.noted = noted
        self.alive = True
        self.armed = False
        self._faults: list[Planned] = []
        self._watched: Callable[[str], None] | None = None

    def watch(self, look: Callable[[str], None]) -> None:
        """From here on `look` is told every operation just before it, where a kill would strike."""
        self._watched = look
        self.armed = True

    def plan(self, fault: Planned) -> None:
        """Add a fault."""
        self._faults.append(fault)
        self.armed = True

    def disarm(self) -> None:
        """The step is over: forget its faults, but for lasting ones that have struck."""
        self._faults = [fault for fault in self._faults if fault.lasting and fault.at < 0]
        self.armed = bool(self._faults) or not self.alive

    def kill(self) -> None:
        """From now on every operation raises Killed."""
        self.alive = False
        self.armed = True

    def ask(self, operation: str, path: str) -> None:
        """Raise what is planned for this operation."""
        if not self.alive:
            raise Killed
        if self._watched is not None:
            self._watched(operation)
        for fault in self._faults:
            if fault.operations and operation not in fault.operations:
                continue
            fault.at -= 1
            if fault.at == -1 or (fault.sticky and fault.at < -1):
                raise self._strike(fault, operation, path)

    def ask_for(self, operation: str, path: str) -> None:
        """Raise what is planned for this operation by its name: a kill has no moment of its own here."""
        for fault in self._faults:
            if operation in fault.operations:
                fault.at -= 1
                if fault.at == -1 or (fault.sticky and fault.at < -1):
                    raise self._strike(fault, operation, path)

    def spoils(self, operation: str, path: str) -> bool:
        """Whether a fault is planned that lets this operation seem to succeed; only faults that name it are asked."""
        for fault in self._faults:
            if operation in fault.operations:
                fault.at -= 1
                if fault.at == -1:
                    self._strike(fault, operation, path)
                    return True
        return False

    def _strike(self, fault: Planned, operation: str, path: str) -> BaseException:
        self.noted(fault.kind)
        error = fault.raises(operation, path)
        if isinstance(error, Killed):
            self.kill()
        return error


def killed(_operation: str, _path: str) -> BaseException:
    """SIGKILL, or the power."""
    return Killed()


def io_error(_operation: str, path: str) -> BaseException:
    """EIO."""
    return OSError(errno.EIO, "input/output error (injected)", path)


def no_descriptors(_operation: str, path: str) -> BaseException:
    """EMFILE."""
    return OSError(errno.EMFILE, "too many open files (injected)", path)


def no_memory(_operation: str, _path: str) -> BaseException:
    """What Python raises when there is no memory."""
    return MemoryError("injected")


def no_space(_operation: str, path: str) -> BaseException:
    """ENOSPC."""
    return OSError(errno.ENOSPC, "no space left on device (injected)", path)
