"""A guest through its QEMU guest agent, behind the port `Guest`.

What an agent replies is a claim by a possibly hostile guest (guarantees § Security 18): replies are bounded in size,
parsed strictly, checked field by field, and rubbish is BadInput.  Nothing is repeated here.  The protocol is at
https://www.qemu.org/docs/master/interop/qemu-ga-ref.html.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Sequence
from ipaddress import ip_interface

import libvirt
import libvirt_qemu

from drill.errors import BadInput, DrillError, Unknown, Unreachable
from drill.hypervisor.connection import Connection, Handle, meaning
from drill.ports import Completed, GuestNic

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

REPLY_SECONDS = 10
REPLY_CHARACTERS_MAX = 4 * 1024 * 1024
OUTPUT_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 16
NICS_MAX = 256
ADDRESSES_MAX = 256
_CHUNK = 48 * 1024
_POLL_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SILENT = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_INVALID)


class LibvirtGuest:
    """The agent in the guest of domain `name`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def ping(self, timeout_seconds: float) -> None:
        """Return when the agent answers; libvirt counts whole seconds, so the least wait is one."""
        self._ask("guest-ping", {}, seconds=timeout_seconds, changes=False)

    def nics(self) -> tuple[GuestNic, ...]:
        """The guest's network cards in its order, the loopback left out."""
        cards = self._list(self._ask("guest-network-get-interfaces", {}, changes=False), NICS_MAX)
        return tuple(nic for card in cards if (nic := self._nic(card)) is not None)

    def time_us(self) -> int:
        """The guest's wall clock, microseconds since the epoch."""
        nanoseconds = self._ask("guest-get-time", {}, changes=False)
        if not isinstance(nanoseconds, int) or isinstance(nanoseconds, bool) or not 0 <= nanoseconds < 2**63:
            raise self._rubbish("guest-get-time returned no time")
        return nanoseconds // 1000

    def run(self, argv: Sequence[str], timeout_seconds: float) -> Completed:
        """Run a program inside the guest; when it has not ended by the timeout that is Unknown, and it goes on."""
        if not argv:
            raise ValueError("argv is empty")
        deadline = time.monotonic() + timeout_seconds
        arguments: dict[str, Json] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        started = self._dict(self._ask("guest-exec", arguments, seconds=timeout_seconds, changes=True))
        pid = self._integer(started, "pid")
        polls = 0
        while True:
            status = self._dict(self._ask("guest-exec-status", {"pid": pid}, changes=True))
            if self._boolean(status, "exited"):
                return self._completed(status)
            pause = _POLL_SECONDS[min(polls, len(_POLL_SECONDS) - 1)]
            if time.monotonic() + pause > deadline:
                raise Unknown(action=f"{argv[0]} in guest {self._name}", cause=f"not ended after {timeout_seconds:g} s")
            time.sleep(pause)
            polls += 1

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """The content of a file; BadInput when it is longer than `limit_bytes`, Failed when it cannot be opened."""
        file = self._ask("guest-file-open", {"path": path, "mode": "r"}, changes=False)
        if not isinstance(file, int) or isinstance(file, bool):
            raise self._rubbish("guest-file-open returned no number")
        try:
            content = bytearray()
            while True:
                part = self._dict(self._ask("guest-file-read", {"handle": file, "count": _CHUNK}, changes=False))
                content += self._bytes(part, "buf-b64", _CHUNK)
                if len(content) > limit_bytes:
                    raise self._rubbish(f"file {path} is longer than {limit_bytes} bytes")
                if self._boolean(part, "eof"):
                    return bytes(content)
                if not part.get("count"):
                    raise self._rubbish(f"file {path} reads as nothing, but does not end")
        finally:
            self._close(file)

    def _close(self, file: int) -> None:
        """Close a file in the guest; when that fails the guest is left with an open file, and the reading counts."""
        try:
            self._ask("guest-file-close", {"handle": file}, changes=False)
        except DrillError:
            return

    def _ask(self, command: str, arguments: dict[str, Json], *, seconds: float = REPLY_SECONDS, changes: bool) -> Json:
        """One command and its `return` value.

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

        reply = self._connection.call(f"{command} in guest {self._name}", act, changes=changes)
        return self._parse(reply)

    def _agent_meaning(self, error: libvirt.libvirtError, command: str, *, changes: bool) -> DrillError:
        action, cause = f"{command} in guest {self._name}", str(error)
        begun = error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE and "not connected" not in cause
        if begun and changes:
            return Unknown(action=action, cause=cause)
        if error.get_error_code() in _SILENT:
            return Unreachable(what="guest agent", address=self._name, cause=cause)
        return meaning(error, action, self._connection.uri, changes=changes)

    def _rubbish(self, problem: str) -> BadInput:
        return BadInput(where=f"agent of guest {self._name}", problem=problem)

    def _parse(self, reply: str) -> Json:
        if len(reply) > REPLY_CHARACTERS_MAX:
            raise self._rubbish(f"a reply of {len(reply)} characters")
        try:
            document: Json = json.loads(reply, parse_constant=_no_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise self._rubbish(f"a reply that is no JSON: {error}") from None
        if not isinstance(document, dict) or "return" not in document:
            raise self._rubbish("a reply without 'return'")
        if _depth(document) > DEPTH_MAX:
            raise self._rubbish(f"a reply nested more than {DEPTH_MAX} deep")
        return document["return"]

    def _dict(self, value: Json) -> dict[str, Json]:
        if not isinstance(value, dict):
            raise self._rubbish(f"{type(value).__name__} where an object belongs")
        return value

    def _list(self, value: Json, most: int) -> list[Json]:
        if not isinstance(value, list) or len(value) > most:
            raise self._rubbish(f"{type(value).__name__} where a list of at most {most} belongs")
        return value

    def _integer(self, value: dict[str, Json], key: str) -> int:
        number = value.get(key)
        if not isinstance(number, int) or isinstance(number, bool) or not -(2**31) <= number < 2**63:
            raise self._rubbish(f"no whole number {key!r}")
        return number

    def _boolean(self, value: dict[str, Json], key: str) -> bool:
        truth = value.get(key)
        if not isinstance(truth, bool):
            raise self._rubbish(f"no truth value {key!r}")
        return truth

    def _text(self, value: dict[str, Json], key: str, most: int = 256) -> str:
        text = value.get(key)
        if not isinstance(text, str) or len(text) > most:
            raise self._rubbish(f"no text {key!r} of at most {most} characters")
        return text

    def _bytes(self, value: dict[str, Json], key: str, most: int) -> bytes:
        """Decoded base64; an absent field is no bytes."""
        if key not in value:
            return b""
        try:
            data = base64.b64decode(self._text(value, key, REPLY_CHARACTERS_MAX), validate=True)
        except (binascii.Error, ValueError):
            raise self._rubbish(f"{key!r} is not base64") from None
        if len(data) > most:
            raise self._rubbish(f"{key!r} has {len(data)} bytes where at most {most} were asked for")
        return data

    def _completed(self, status: dict[str, Json]) -> Completed:
        signalled = "signal" in status
        code = -self._integer(status, "signal") if signalled else self._integer(status, "exitcode")
        output, errors = (self._bytes(status, key, REPLY_CHARACTERS_MAX) for key in ("out-data", "err-data"))
        return Completed(exit_code=code, output=output[:OUTPUT_BYTES_MAX], errors=errors[:OUTPUT_BYTES_MAX])

    def _nic(self, card: Json) -> GuestNic | None:
        fields = self._dict(card)
        name, mac = self._text(fields, "name", 64), fields.get("hardware-address")
        if mac is None or mac == "00:00:00:00:00:00":
            return None
        if not isinstance(mac, str) or not _MAC.fullmatch(mac.lower()):
            raise self._rubbish(f"the MAC of {name!r} is none")
        addresses = self._list(fields.get("ip-addresses", []), ADDRESSES_MAX)
        return GuestNic(name=name, mac=mac.lower(), addresses=tuple(self._address(entry) for entry in addresses))

    def _address(self, entry: Json) -> str:
        fields = self._dict(entry)
        text = f"{self._text(fields, 'ip-address', 64)}/{self._integer(fields, 'prefix')}"
        try:
            return str(ip_interface(text))
        except ValueError:
            raise self._rubbish(f"{text!r} is no address") from None


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _depth(value: Json) -> int:
    """Nesting of lists and objects, counted without recursion."""
    deepest, rest = 0, [(value, 1)]
    while rest:
        node, depth = rest.pop()
        deepest = max(deepest, depth)
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        rest += [(child, depth + 1) for child in inner]
    return deepest
