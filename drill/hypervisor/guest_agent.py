"""A guest through its QEMU guest agent, behind the port `Guest`.

What an agent replies is a claim by a possibly hostile guest; drill/hypervisor/agent_reply.py takes it apart.
Nothing is repeated here: whoever asks decides whether to ask again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import libvirt
import libvirt_qemu

from drill.errors import BadInput, DrillError, Unknown, Unreachable
from drill.hypervisor.agent_reply import Json, Reply
from drill.hypervisor.connection import CAUSE_MAX, Connection, Handle, meaning
from drill.ports import Completed, GuestNic

REPLY_SECONDS = 10
"""How long one answer may take; a program inside the guest is waited for by polling, with a deadline of its own."""
OUTPUT_BYTES_MAX = 1024 * 1024
_CHUNK = 48 * 1024
_POLL_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1)
_SILENT = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_INVALID)


class LibvirtGuest:
    """The agent in the guest of domain `name`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def ping(self, timeout_seconds: float) -> None:
        """Return when the agent answers; libvirt counts whole seconds, so the least wait is one."""
        self.ask("guest-ping", {}, seconds=timeout_seconds, changes=False)

    def nics(self) -> tuple[GuestNic, ...]:
        """The guest's network cards in its order, the loopback left out."""
        return self.ask("guest-network-get-interfaces", {}, changes=False).nics()

    def time_us(self) -> int:
        """The guest's wall clock, microseconds since the epoch."""
        return self.ask("guest-get-time", {}, changes=False).number() // 1000

    def run(self, argv: Sequence[str], timeout_seconds: float) -> Completed:
        """Run a program inside the guest; when it has not ended by the timeout that is Unknown, and it goes on."""
        if not argv:
            raise ValueError("argv is empty")
        deadline = time.monotonic() + timeout_seconds
        arguments: dict[str, Json] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        pid = self.ask("guest-exec", arguments, seconds=timeout_seconds, changes=True).field("pid").number()
        polls = 0
        while True:
            status = self.ask("guest-exec-status", {"pid": pid}, changes=True)
            if status.field("exited").truth():
                return status.completed(OUTPUT_BYTES_MAX)
            pause = _POLL_SECONDS[min(polls, len(_POLL_SECONDS) - 1)]
            if time.monotonic() + pause > deadline:
                raise Unknown(action=f"{argv[0]} in guest {self._name}", cause=f"not ended after {timeout_seconds:g} s")
            time.sleep(pause)
            polls += 1

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """The content of a file; BadInput when it is longer than `limit_bytes`, Failed when it cannot be opened."""
        file = self.ask("guest-file-open", {"path": path, "mode": "r"}, changes=False).number()
        try:
            return self._read_open(file, path, limit_bytes)
        finally:
            self._close(file)

    def _read_open(self, file: int, path: str, limit_bytes: int) -> bytes:
        content = bytearray()
        while True:
            part = self.ask("guest-file-read", {"handle": file, "count": _CHUNK}, changes=False)
            data = part.optional("buf-b64")
            piece = b"" if data is None else data.base64(_CHUNK)
            if part.field("count").number(_CHUNK) != len(piece):
                raise BadInput(
                    where=f"agent of guest {self._name}", problem=f"{path}: a part is not as long as it says"
                )
            content += piece
            if len(content) > limit_bytes:
                raise BadInput(where=f"agent of guest {self._name}", problem=f"{path} is over {limit_bytes} bytes")
            if part.field("eof").truth():
                return bytes(content)
            if not piece:
                raise BadInput(where=f"agent of guest {self._name}", problem=f"{path} gives nothing, but does not end")

    def _close(self, file: int) -> None:
        """Close a file in the guest; when that fails the guest is left with an open file, and the reading counts."""
        try:
            self.ask("guest-file-close", {"handle": file}, changes=False)
        except DrillError:
            return

    def ask(self, command: str, arguments: dict[str, Json], *, seconds: float = REPLY_SECONDS, changes: bool) -> Reply:
        """One command and what it returns.

        Unreachable when no agent is connected, or when none answers what changes nothing; Unknown when it does not
        answer what does; Failed with the agent's own words when it refuses.
        """
        request = json.dumps({"execute": command, "arguments": arguments})
        timeout = min(max(1, round(seconds)), REPLY_SECONDS)

        def act(handle: Handle) -> str:
            domain = handle.lookupByName(self._name)
            try:
                return str(libvirt_qemu.qemuAgentCommand(domain, request, timeout, 0))
            except libvirt.libvirtError as error:
                raise self._agent_meaning(error, command, changes=changes) from error
            except UnicodeDecodeError as error:
                raise BadInput(where=f"agent of guest {self._name}", problem="a reply that is not UTF-8") from error

        reply = self._connection.call(f"{command} in guest {self._name}", act, changes=changes)
        return Reply.parse(reply, where=f"agent of guest {self._name}")

    def _agent_meaning(self, error: libvirt.libvirtError, command: str, *, changes: bool) -> DrillError:
        action, cause = f"{command} in guest {self._name}", str(error)[:CAUSE_MAX]
        begun = error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE and "not connected" not in cause
        if begun and changes:
            return Unknown(action=action, cause=cause)
        if error.get_error_code() in _SILENT:
            return Unreachable(what="guest agent", address=self._name, cause=cause)
        return meaning(error, action, self._connection.uri, changes=changes)
