"""Operations on the wire: a role's Protocol is the whole description of what may be asked of it.

Arguments and replies are the model's own values as JSON; an error crosses as its stable id and its fields, and is
raised on the other side as the class it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import get_type_hints

from drill import errors
from drill.errors import BadInput, DrillError, Failed
from drill.replication import plainjson


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a role: the shape of its arguments and of its reply."""

    name: str
    arguments: type
    reply: object

    def encode_arguments(self, values: Mapping[str, object]) -> bytes:
        """Arguments as JSON."""
        return plainjson.encode(self.arguments, self.arguments(**values))

    def decode_arguments(self, data: bytes) -> dict[str, object]:
        """Arguments by name; BadInput when they are not what the method takes."""
        found: object = plainjson.decode(self.arguments, data, where=f"arguments of {self.name}")
        return {field.name: getattr(found, field.name) for field in fields(self.arguments)}


def operations(*shapes: type) -> dict[str, Operation]:
    """The operations of a role's Protocols, by name."""
    found: dict[str, Operation] = {}
    for name, method in [pair for shape in shapes for pair in vars(shape).items()]:
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        hints = get_type_hints(method)
        reply = hints.pop("return")
        shape = make_dataclass(
            f"{name}_arguments",
            list(hints.items()),
            frozen=True,
            namespace={"__pydantic_config__": {"extra": "forbid"}},
        )
        found[name] = Operation(name, shape, reply)
    return found


@dataclass(frozen=True, slots=True)
class WireError:
    """An error as it crosses."""

    id: str
    fields: dict[str, str]


def encode_error(error: DrillError) -> bytes:
    """An error as JSON."""
    values = {field.name: str(getattr(error, field.name))[:4000] for field in fields(error)}
    return plainjson.encode(WireError, WireError(error.id, values))


def decode_error(data: bytes | memoryview) -> DrillError:
    """The error that was raised on the other side; Failed where this drill does not know its class."""
    wire = plainjson.decode(WireError, data, where="an agent's error")
    kind = getattr(errors, wire.id, None)
    if not (isinstance(kind, type) and issubclass(kind, DrillError)):
        return Failed("the request", f"{wire.id}: {wire.fields}")
    if set(wire.fields) != {field.name for field in fields(kind)}:
        raise BadInput("an agent's error", f"{wire.id} with the fields {sorted(wire.fields)}")
    return kind(**wire.fields)
