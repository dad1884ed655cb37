"""How two states of an estate differ, object by object and field by field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from drill.core.canonical import parse
from drill.model.fact import Json
from drill.model.vault import Desired, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of an object; a side is None where the field has its default there."""

    field: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One object that was `added`, `changed` or `removed`; `fields` are those that changed."""

    kind: Kind
    name: str
    change: str
    fields: tuple[FieldChange, ...] = ()


def differences(before: Iterable[Desired], after: Iterable[Desired]) -> tuple[Difference, ...]:
    """What leads from one state to the other, sorted by kind and name; none where they mean the same."""
    old = {(one.kind, one.name): one.document for one in before}
    new = {(one.kind, one.name): one.document for one in after}
    found = []
    for kind, name in sorted(old.keys() | new.keys()):
        key = (kind, name)
        if key not in old:
            found.append(Difference(kind=kind, name=name, change="added"))
        elif key not in new:
            found.append(Difference(kind=kind, name=name, change="removed"))
        elif old[key] != new[key]:
            where = f"{kind.value} {name}"
            fields = tuple(_fields("", _value(old[key], where), _value(new[key], where)))
            if fields:
                found.append(Difference(kind=kind, name=name, change="changed", fields=fields))
    return tuple(found)


def _value(document: str, where: str) -> Json:
    value: Json = parse(document.encode("ascii"), where)  # type: ignore[assignment]  # JSON has no other values
    return value


def _fields(path: str, before: Json, after: Json) -> Iterator[FieldChange]:
    """The fields below a path that differ; lists of one length element by element, others as wholes."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from _fields(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _fields(f"{path}.{index}", old, new)
    else:
        yield FieldChange(field=path, before=before, after=after)
