"""A connection to one libvirt daemon: opened with a deadline, kept alive, its errors sorted by what they mean.

libvirt's Python binding carries no types, so its objects are `Any` on this page and in the operations handed to
`Connection.call`; what leaves `drill.hypervisor` is typed.  libvirt is thread-safe: one connection serves all threads
of a process (the daemon answers five requests of one client at a time, the rest wait in its queue).

A synchronous libvirt call has no deadline of its own.  Keep-alive messages (every 5 s, 3 may be missed) end it when
the daemon or the network is gone, and they need an event loop, so the first connection of a process starts one in a
daemon thread.  The error handler is replaced because the default one prints every refused call (ground 1.22).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import libvirt

from drill.errors import DrillError, Failed, Unknown, Unreachable, Unsupported, Usage

KEEPALIVE_SECONDS = 5
KEEPALIVE_MISSES = 3
OLDEST_LIBVIRT = 8_000_000  # `<tcg><tb-cache>`
CAUSE_MAX = 500
"""So much of libvirt's words goes into an error; a guest's agent may have written them."""
T = TypeVar("T")
Handle: TypeAlias = Any  # a virConnect

_ABSENT = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT)
_UNCERTAIN = (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_AGENT_UNSYNCED)
_loop_lock = threading.Lock()
_loop_started = threading.Event()


class Connection:
    """One daemon, connected when first needed and again after it was lost."""

    def __init__(self, uri: str, *, connect_seconds: float = 10.0) -> None:
        self.uri = uri
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._handle: Handle = None

    def call(self, action: str, operation: Callable[[Handle], T], *, changes: bool = False) -> T:
        """Run `operation(virConnect)`; `action` names it in errors ("start domain web").

        Raises Unreachable when the daemon cannot be connected, or was lost during an operation that changes nothing;
        Unknown when it was lost, or timed out, during one that does; Usage for a name that does not exist; Failed
        for all else that libvirt refuses.
        """
        handle = self._alive()
        try:
            return operation(handle)
        except libvirt.libvirtError as error:
            raise meaning(error, action, self.uri, changes=changes) from error

    def close(self) -> None:
        """Drop the connection; a later call opens a new one."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            try:
                handle.close()
            except libvirt.libvirtError:
                return  # it was lost already

    def _alive(self) -> Handle:
        with self._lock:
            if self._handle is None or not _is_alive(self._handle):
                self._handle = _open(self.uri, self._connect_seconds)
            return self._handle


def connect(uri: str, *, connect_seconds: float = 10.0) -> Connection:
    """A connection that has been opened: Unreachable when nothing answers at `uri` within the deadline."""
    connection = Connection(uri, connect_seconds=connect_seconds)
    version = connection.call("read libvirt's version", lambda handle: int(handle.getLibVersion()))
    if version < OLDEST_LIBVIRT:
        connection.close()
        raise Unsupported(
            lacking=f"libvirt {version_text(OLDEST_LIBVIRT)} or newer",
            detail=f"{uri} runs {version_text(version)}",
            cure="upgrade that host",
        )
    return connection


def version_text(number: int) -> str:
    """The version number of libvirt (major * 1,000,000 + minor * 1,000 + release) as text."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def meaning(error: libvirt.libvirtError, action: str, uri: str, *, changes: bool) -> DrillError:
    """A libvirt error as the class that says what the operator can do about it."""
    code, cause = error.get_error_code(), str(error)[:CAUSE_MAX]
    if code in _ABSENT:
        return Usage(problem=f"{action}: {cause}")
    if error.get_error_domain() == libvirt.VIR_FROM_RPC:
        if changes:
            return Unknown(action=action, cause=f"lost libvirt at {uri}: {cause}")
        return Unreachable(what="libvirt", address=uri, cause=cause)
    if code in _UNCERTAIN:
        return Unknown(action=action, cause=cause)
    return Failed(action=action, cause=cause)


def is_absent(error: libvirt.libvirtError) -> bool:
    """Whether libvirt says that there is no such domain, network or checkpoint."""
    return error.get_error_code() in _ABSENT


def _is_alive(handle: Handle) -> bool:
    try:
        return bool(handle.isAlive())
    except libvirt.libvirtError:
        return False


def _open(uri: str, deadline_seconds: float) -> Handle:
    """Open in a thread of its own, because a host that swallows packets would hold the caller for minutes."""
    _start_event_loop()
    answers: queue.SimpleQueue[tuple[Handle, libvirt.libvirtError | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            handle = libvirt.open(uri)
            _keep_alive(handle)
            answers.put((handle, None))
        except libvirt.libvirtError as error:
            answers.put((None, error))

    threading.Thread(target=attempt, name=f"connect {uri}", daemon=True).start()
    try:
        handle, error = answers.get(timeout=deadline_seconds)
    except queue.Empty:
        cause = f"no answer within {deadline_seconds:g} s"
        raise Unreachable(what="libvirt", address=uri, cause=cause) from None
    if error is not None:
        if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
            raise Usage(problem=f"{uri!r} is not a libvirt URI: {error}") from error
        raise Unreachable(what="libvirt", address=uri, cause=str(error)) from error
    return handle


def _keep_alive(handle: Handle) -> None:
    try:
        handle.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_MISSES)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:  # a driver inside this process has no peer to lose
            raise


def _start_event_loop() -> None:
    with _loop_lock:
        if _loop_started.is_set():
            return
        libvirt.registerErrorHandler(_discard, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_event_loop, name="libvirt events", daemon=True).start()
        _loop_started.set()


def _run_event_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _discard(_context: object, _error: object) -> None:
    """Print nothing: the error also arrives as an exception."""
