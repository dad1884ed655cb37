"""Work done in forks of this process, some at a time, each with the rest of the process as it was."""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

SECONDS_MOST = 900
"""A fork that is not done by then is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a fork had to say: None when it ended without a word, `signal` then says by which (0: it left by itself)."""

    name: str
    said: Any
    signal: int
    seconds: float


@dataclass(slots=True, kw_only=True)
class _Fork:
    name: str
    pid: int
    begun: float
    heard: bytearray


def forked(work: Sequence[tuple[str, Callable[[], Any]]], jobs: int) -> Iterator[Ended]:
    """Do each piece in a fork, at most `jobs` at once; yields as they end.  What a piece returns travels as JSON."""
    waiting = list(reversed(work))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < jobs:
                name, piece = waiting.pop()
                reader, pid = _begin(piece)
                selector.register(
                    reader, selectors.EVENT_READ, _Fork(name=name, pid=pid, begun=_now(), heard=bytearray())
                )
            for key, _ in selector.select(timeout=1):
                part = os.read(key.fd, 1 << 20)
                key.data.heard += part
                if not part:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    yield _end(key.data)
            for key in list(selector.get_map().values()):
                if _now() - key.data.begun > SECONDS_MOST:
                    os.killpg(key.data.pid, signal.SIGKILL)


def _begin(piece: Callable[[], Any]) -> tuple[int, int]:
    """Fork; the child does the piece in a process group of its own and never returns."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
    try:
        os.setpgid(0, 0)
        os.close(reader)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        said = json.dumps(piece()).encode()
        while said:
            said = said[os.write(writer, said) :]
    finally:
        os._exit(0)


def _end(fork: _Fork) -> Ended:
    """Collect a fork that closed its pipe, and what it left running."""
    _, status = os.waitpid(fork.pid, 0)
    with suppress(ProcessLookupError):
        os.killpg(fork.pid, signal.SIGKILL)
    said = json.loads(fork.heard) if fork.heard else None
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Ended(name=fork.name, said=said, signal=number, seconds=_now() - fork.begun)


def _now() -> float:
    return time.monotonic()
