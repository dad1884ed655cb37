"""A process beside the agent that lets go of guests when the agent cannot (L3, I32; ground 3.6).

    agent                     this process, `python -m drill.hypervisor.release URI FOLDER`
    hold web frozen 8   →     remembers; answers `held`, once it has found the domain in libvirt
    free web frozen     →     forgets; answers `free`
    (end of input)            the agent is gone: everything held is let go of at once, then the process ends

What is still held when its seconds are over is let go of too, again and again until libvirt says that it is so, or
for ten minutes: an agent inside a guest that hangs in a hook may freeze late.  `frozen` is thawed through the agent
inside the guest, `paused` is resumed, and a `job` of a dead agent is ended before its scratch file fills, unless a new
agent has the domain already.  Its session is its own, so that signals to the agent's group miss it.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import libvirt
import libvirt_qemu

from drill.errors import DrillError, Refused, Unsupported, Usage
from drill.hypervisor import jobs
from drill.hypervisor.connection import Connection, Handle
from drill.hypervisor.domain_lock import DomainLocks

START_SECONDS = 20.0
"""A Python process with libvirt takes 0.2 s to answer; a machine under load several."""
PERSIST_SECONDS = 600.0
AGAIN_SECONDS = 0.5
AGENT_SECONDS = 2


class Hold(StrEnum):
    """What is held."""

    FROZEN = "frozen"
    PAUSED = "paused"
    JOB = "job"


class Releaser:
    """The agent's end: starts the process when it is first needed, and anew when it is gone."""

    def __init__(self, uri: str, folder: str) -> None:
        """`folder` is where our jobs have their scratch files."""
        self._command = [sys.executable, "-m", "drill.hypervisor.release", uri, folder]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, domain: str, what: Hold, seconds: float) -> None:
        """Return when the process watches; Unsupported when it does not."""
        with self._lock:
            answer = self._say(f"hold {json.dumps(domain)} {what} {seconds:g}")
        if answer != "held":
            raise Unsupported("a watch over the guest", f"its process answered {answer!r}")

    def let_go(self, domain: str, what: Hold) -> None:
        """There is nothing to release any more."""
        with self._lock:
            if self._process is not None:
                self._say(f"free {json.dumps(domain)} {what}")

    def close(self) -> None:
        """End the process; what it still holds it lets go of first."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.communicate(timeout=PERSIST_SECONDS)

    @property
    def pid(self) -> int | None:
        """The process, None before it is first needed."""
        return None if self._process is None else self._process.pid

    def _say(self, line: str) -> str:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = _start(self._command)
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        try:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            answer = os.read(process.stdout.fileno(), 4096).decode(errors="replace").strip() if ready else "nothing"
        except OSError as error:
            answer = str(error)
        if answer not in ("held", "free"):
            process.kill()  # what it watched is forgotten, so nothing new may rely on it
        return answer


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


class Watch:
    """What the process holds; every release runs in a thread of its own."""

    def __init__(self, uri: str, folder: str) -> None:
        self._connection = Connection(uri)
        self._folder = Path(folder)
        self._held: dict[tuple[str, Hold], float] = {}
        self._releases: list[threading.Thread] = []

    def run(self) -> None:
        """Until the end of input, then until everything is let go of."""
        buffer = b""
        while True:
            ready, _, _ = select.select([0], [], [], self._pause())
            self._release(time.monotonic())
            if not ready:
                continue
            data = os.read(0, 4096)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                os.write(1, self._answer(line.decode()).encode() + b"\n")
        self._release(float("inf"))
        for thread in self._releases:
            thread.join()

    def _pause(self) -> float | None:
        until = min(self._held.values(), default=math.inf)
        return None if math.isinf(until) else max(0.0, until - time.monotonic())

    def _answer(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        domain, end = json.JSONDecoder().raw_decode(rest)
        what, *seconds = rest[end:].split()
        if verb == "free":
            self._held.pop((domain, Hold(what)), None)
            return "free"
        try:
            self._connection.call("look for the guest", lambda handle: handle.lookupByName(domain))
        except DrillError as error:
            return str(error).replace("\n", " ")
        self._held[domain, Hold(what)] = time.monotonic() + float(seconds[0])
        return "held"

    def _release(self, now: float) -> None:
        """Let go of all that is due."""
        for (domain, what), until in list(self._held.items()):
            if until <= now:
                del self._held[domain, what]
                thread = threading.Thread(target=self._persist, args=(domain, what), name=f"release {domain}")
                self._releases.append(thread)
                thread.start()

    def _persist(self, domain: str, what: Hold) -> None:
        until = time.monotonic() + PERSIST_SECONDS
        while time.monotonic() < until and (domain, what) not in self._held:
            try:
                if self._connection.call("let go of the guest", lambda handle: self._let_go(handle, domain, what)):
                    return
            except Usage:
                return  # there is no such guest any more
            except DrillError:
                pass  # tried again
            time.sleep(AGAIN_SECONDS)

    def _let_go(self, handle: Handle, name: str, what: Hold) -> bool:
        """Thaw, resume or end; whether nothing is held any more."""
        domain = handle.lookupByName(name)
        if not domain.isActive():
            return True
        match what:
            case Hold.FROZEN:
                return _thaw(domain)
            case Hold.PAUSED:
                state, reason = domain.state()
                if state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_USER:
                    domain.resume()
            case Hold.JOB:
                self._end_job(domain)
        return True

    def _end_job(self, domain: jobs.Domain) -> None:
        """End a dead agent's job; a living one's is its own."""
        locks, uuid = DomainLocks(self._folder), str(domain.UUIDString())
        try:
            locks.claim(uuid, str(domain.name()))
        except Refused:
            return
        try:
            if jobs.has_job(domain) and jobs.is_ours(domain, self._folder):
                jobs.end_job(domain)
                jobs.resume_if_starved(domain)
        finally:
            locks.release(uuid)


def _thaw(domain: jobs.Domain) -> bool:
    libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-fsfreeze-thaw"}', AGENT_SECONDS, 0)
    status = libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-fsfreeze-status"}', AGENT_SECONDS, 0)
    return "thawed" in str(status)[:200]


if __name__ == "__main__":
    Watch(*sys.argv[1:3]).run()
