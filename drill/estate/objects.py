"""An estate file as the objects it is made of, and back: what `apply` compares and writes, and `export` reads.

    servers: [{name: S, clouds: [{name: C, sizes: […]}]}]     server S   {"name": "S", "clouds": ["C"], …}
                                                        ⇄     cloud C    {"name": "C", "sizes": ["large"], …}
                                                              size C/large {…}

What contains others keeps their names, in their order, which counts (F5, the first host).  Keys that have their default
are left out, sites and servers of mappings are always said, and paths are absolute, so that one meaning is one text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drill.core.canonical import canonical, parse
from drill.errors import Damaged
from drill.estate.load import Loaded
from drill.estate.yaml import Plain
from drill.model.vault import Desired, Kind

Shape = dict[str, Plain]

_NESTED: Mapping[Kind, Mapping[str, Kind]] = {
    Kind.SERVER: {
        "logical_networks": Kind.LOGICAL_NETWORK,
        "storage_classifications": Kind.STORAGE_CLASSIFICATION,
        "storage_locations": Kind.STORAGE_LOCATION,
        "clouds": Kind.CLOUD,
    },
    Kind.LOGICAL_NETWORK: {"vm_networks": Kind.VM_NETWORK},
    Kind.CLOUD: {"sizes": Kind.SIZE, "host_groups": Kind.HOST_GROUP},
    Kind.HOST_GROUP: {"hosts": Kind.HOST},
}
_TOP: Mapping[str, Kind] = {
    "sites": Kind.SITE,
    "credentials": Kind.CREDENTIAL,
    "servers": Kind.SERVER,
    "regions": Kind.REGION,
    "policies": Kind.POLICY,
    "pairs": Kind.PAIR,
    "network_mappings": Kind.NETWORK_MAPPING,
    "storage_mappings": Kind.STORAGE_MAPPING,
    "protected_items": Kind.ITEM,
    "groups": Kind.GROUP,
    "dns_zones": Kind.DNS_ZONE,
    "plans": Kind.PLAN,
}
_UNIQUE = frozenset({Kind.SERVER, Kind.CLOUD, Kind.HOST})
"""Kinds whose names are one in the whole estate; a name of the others begins with that of what contains them."""


def split(loaded: Loaded, folder: Path) -> tuple[Desired, ...]:
    """The objects of a sound file, sorted by kind and name; relative paths are those of `folder`."""
    whole: Shape = loaded.section.model_dump(mode="json", exclude_defaults=True)
    _settle(whole, loaded, folder)
    found: dict[tuple[Kind, str], Shape] = {}
    vault = whole["vault"]
    if isinstance(vault, dict):
        found[Kind.VAULT, loaded.estate.vault] = vault
    for key, kind in _TOP.items():
        for one in _shapes(whole.get(key)):
            _take(found, kind, "", one)
    return tuple(
        Desired(kind=kind, name=name, document=canonical(shape, f"{kind.value} {name}").decode("ascii"))
        for (kind, name), shape in sorted(found.items())
    )


def join(objects: Iterable[Desired]) -> Shape:
    """The file that objects make, its lists by name; Damaged where one names another that is not there."""
    shapes: dict[tuple[Kind, str], Shape] = {}
    for one in objects:
        where = f"{one.kind.value} {one.name}"
        shape = parse(one.document.encode("ascii"), where)
        if not isinstance(shape, dict):
            raise Damaged(where, "it is no mapping")
        shapes[one.kind, one.name] = shape
    whole: Shape = {}
    for (kind, _), shape in shapes.items():
        if kind is Kind.VAULT:
            whole["vault"] = shape
    for key, kind in _TOP.items():
        names = sorted(name for of, name in shapes if of is kind)
        if names:
            whole[key] = [_whole(shapes, kind, name) for name in names]
    return whole


@dataclass(frozen=True, slots=True)
class _Sides:
    """How a mapping is known: where it leads from, and to which site or server."""

    place: str

    def name(self, shape: Shape) -> str:
        return f"{shape[f'source_{self.place}']}/{shape['source']} to {shape[f'target_{self.place}']}"


_MAPPINGS = {Kind.NETWORK_MAPPING: _Sides("site"), Kind.STORAGE_MAPPING: _Sides("server")}


def _settle(whole: Shape, loaded: Loaded, folder: Path) -> None:
    """Say what the file leaves to be understood from elsewhere in it, or from where it lies."""
    for shape, network in zip(_shapes(whole.get("network_mappings")), loaded.estate.network_mappings, strict=True):
        shape.update(source_site=network.source_site, target_site=network.target_site)
    for shape, storage in zip(_shapes(whole.get("storage_mappings")), loaded.estate.storage_mappings, strict=True):
        shape.update(source_server=storage.source_server, target_server=storage.target_server)
    for item in _shapes(whole.get("protected_items")):
        for database in _shapes(item.get("databases")):
            if isinstance(history := database.get("history"), str):
                database["history"] = str(folder / history)


def _take(found: dict[tuple[Kind, str], Shape], kind: Kind, parent: str, shape: Shape) -> str:
    """Note an object and those in it; the name by which what contains it knows it."""
    name = _MAPPINGS[kind].name(shape) if kind in _MAPPINGS else str(shape["name"])
    key = f"{parent}/{name}" if parent and kind not in _UNIQUE else name
    for part, child in _NESTED.get(kind, {}).items():
        if part in shape:
            shape[part] = [_take(found, child, key, one) for one in _shapes(shape[part])]
    found[kind, key] = shape
    return name


def _whole(shapes: Mapping[tuple[Kind, str], Shape], kind: Kind, key: str) -> Shape:
    """An object with those in it again."""
    shape = dict(shapes[kind, key])
    for part, child in _NESTED.get(kind, {}).items():
        names = shape.get(part, [])
        if not isinstance(names, list):
            raise Damaged(f"{kind.value} {key}", f"its {part} are no list")
        keys = [str(name) if child in _UNIQUE else f"{key}/{name}" for name in names]
        for one in keys:
            if (child, one) not in shapes:
                raise Damaged(f"{kind.value} {key}", f"its {child.value} {one} is not there")
        if keys:
            shape[part] = [_whole(shapes, child, one) for one in keys]
    return shape


def _shapes(value: Plain | None) -> list[Shape]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
