"""What a guest agent replies, taken apart with suspicion (guarantees § Security 18).

A reply is a claim by a possibly hostile guest: bounded in size and depth, strict JSON, every field checked for its
type before use; anything else is BadInput that names the guest.  The shapes are those of
https://www.qemu.org/docs/master/interop/qemu-ga-ref.html.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import NoReturn

from drill.errors import BadInput
from drill.ports import Completed, GuestNic

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

CHARACTERS_MAX = 24 * 1024 * 1024
"""The agent cuts a program's output at 16 MiB, which is 22 MiB of base64."""
DEPTH_MAX = 16
NICS_MAX = 256
ADDRESSES_MAX = 256
NUMBER_MAX = 2**63 - 1
"""What an agent can mean: its numbers are 64 bits wide, a clock's nanoseconds among them."""
SIGNAL_MAX = 127
EXIT_CODE_MAX = 2**32 - 1
"""Windows' are 32 bits wide."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NO_MAC = "00:00:00:00:00:00"
_GROUP = 1  # the bit of a MAC that addresses many cards: no card's own


@dataclass(frozen=True, slots=True)
class Reply:
    """One value of a reply; `where` names the guest in errors."""

    value: Json
    where: str

    @classmethod
    def parse(cls, text: str, *, where: str) -> Reply:
        """The `return` value of a whole reply, which holds nothing else: what has an id answers somebody else."""
        nothing = cls(None, where)
        if len(text) > CHARACTERS_MAX:
            nothing.refuse(f"a reply of {len(text)} characters")
        try:
            document: Json = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            nothing.refuse(f"a reply that is no JSON: {str(error)[:100]}")
        if _depth(document) > DEPTH_MAX:
            nothing.refuse(f"a reply nested more than {DEPTH_MAX} deep")
        if isinstance(document, dict) and document.keys() - {"return"}:
            nothing.refuse(f"a reply that also has {min(document.keys() - {'return'})[:40]!r}")
        return cls(document, where).field("return")

    def refuse(self, problem: str) -> NoReturn:
        """Raise BadInput."""
        raise BadInput(where=self.where, problem=problem)

    def field(self, key: str) -> Reply:
        """A field that an object must have."""
        found = self.optional(key)
        return found if found is not None else self.refuse(f"no {key!r} where it belongs")

    def optional(self, key: str) -> Reply | None:
        """A field that an object may have."""
        if not isinstance(self.value, dict):
            self.refuse(f"{type(self.value).__name__} where an object belongs")
        return replace(self, value=self.value[key]) if key in self.value else None

    def items(self, most: int) -> tuple[Reply, ...]:
        """The members of a list of at most `most`."""
        if not isinstance(self.value, list) or len(self.value) > most:
            self.refuse(f"{type(self.value).__name__} where a list of at most {most} belongs")
        return tuple(replace(self, value=item) for item in self.value)

    def number(self, most: int = NUMBER_MAX) -> int:
        """A whole number from 0 to `most`."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value <= most:
            self.refuse(f"no whole number up to {most} where one belongs")
        return self.value

    def truth(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.refuse("no truth value where one belongs")
        return self.value

    def is_frozen(self) -> bool:
        """The answer of `guest-fsfreeze-status`."""
        if self.value not in ("frozen", "thawed"):
            self.refuse("neither 'frozen' nor 'thawed' where one belongs")
        return self.value == "frozen"

    def text(self, most: int) -> str:
        """A text of at most `most` characters."""
        if not isinstance(self.value, str) or len(self.value) > most:
            self.refuse(f"no text of at most {most} characters where one belongs")
        return self.value

    def base64(self, most: int) -> bytes:
        """Decoded bytes, at most `most`."""
        try:
            data = base64.b64decode(self.text(CHARACTERS_MAX), validate=True)
        except (binascii.Error, ValueError):
            self.refuse("no base64 where it belongs")
        if len(data) > most:
            self.refuse(f"{len(data)} bytes where at most {most} were asked for")
        return data

    def completed(self, output_bytes_max: int) -> Completed:
        """The result in an answer of `guest-exec-status`; outputs are cut.  Killed by signal 9 is exit code -9."""
        signal = self.optional("signal")
        code = -signal.number(SIGNAL_MAX) if signal else self.field("exitcode").number(EXIT_CODE_MAX)
        outputs = (self.optional(key) for key in ("out-data", "err-data"))
        output, errors = (b"" if data is None else data.base64(CHARACTERS_MAX)[:output_bytes_max] for data in outputs)
        return Completed(exit_code=code, output=output, errors=errors)

    def nics(self) -> tuple[GuestNic, ...]:
        """The answer of `guest-network-get-interfaces`, without what has no MAC (the loopback)."""
        return tuple(nic for card in self.items(NICS_MAX) if (nic := card.nic()) is not None)

    def nic(self) -> GuestNic | None:
        """One card of it."""
        name, hardware = self.field("name").text(64), self.optional("hardware-address")
        mac = _NO_MAC if hardware is None else hardware.text(64).lower()
        if mac == _NO_MAC:
            return None
        if not name.isprintable() or not _MAC.fullmatch(mac) or int(mac[:2], 16) & _GROUP:
            self.refuse(f"network card {name!r} with MAC {mac!r}")
        entries = self.optional("ip-addresses")
        addresses = () if entries is None else entries.items(ADDRESSES_MAX)
        return GuestNic(name=name, mac=mac, addresses=tuple(entry.address() for entry in addresses))

    def address(self) -> str:
        """One address of a card, with its prefix length, in its usual form."""
        text = f"{self.field('ip-address').text(64)}/{self.field('prefix').number()}"
        try:
            found = ip_interface(text)
        except ValueError:
            self.refuse(f"{text!r} where an address belongs")
        if found.ip.is_multicast or found.ip.is_unspecified or "%" in text:
            self.refuse(f"{text!r} as the address of a card")
        return str(found)


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
