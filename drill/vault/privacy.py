"""What a vault keeps, why, where, and what can be left out (spec R1), drawn from the schema.

Every column of every table is a row.  `desired` holds documents: what a kind of document is about stands in KINDS,
and a kind without its row is a defect that a test finds.  Files beside the database stand in FILES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from drill.model.vault import Kind
from drill.vault.schema import NEEDED, metadata

_OPTIONAL: Final = "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing that is kept: where, what, why, and whether it can be left out."""

    where: str
    what: str
    why: str
    out: str


KINDS: Final[dict[Kind, tuple[str, str, str]]] = {
    Kind.VAULT: ("name and region", "registration", NEEDED),
    Kind.SITE: ("names of sites and their time zones", "registration", NEEDED),
    Kind.SERVER: ("names of servers, their nodes, their proxy", "registration", NEEDED),
    Kind.CLOUD: ("names of clouds, their sizes, their encryption setting", "registration", NEEDED),
    Kind.HOST_GROUP: ("names of host groups", "registration", NEEDED),
    Kind.HOST: ("names, addresses and versions of hosts", "registration", NEEDED),
    Kind.LOGICAL_NETWORK: ("names of logical networks", "mapping", NEEDED),
    Kind.VM_NETWORK: ("names, subnets, address pools of VM networks", "mapping", NEEDED),
    Kind.STORAGE_CLASSIFICATION: ("names of storage classifications", "mapping", "yes, the default location is used"),
    Kind.STORAGE_LOCATION: ("hosts and paths of storage locations", "mapping", "yes, the default location is used"),
    Kind.SIZE: ("sizes of target machines", "enable", _OPTIONAL),
    Kind.REGION: ("names of regions, their stores and networks", "mapping", "yes, between sites"),
    Kind.POLICY: ("settings of replication policies", "enable", NEEDED),
    Kind.PAIR: ("names of paired clouds, or of a region and its store", "mapping", NEEDED),
    Kind.NETWORK_MAPPING: ("names of mapped networks", "mapping", "yes, replicas are then connected to nothing"),
    Kind.STORAGE_MAPPING: ("names of mapped storage classifications", "mapping", "yes, the default location is used"),
    Kind.ITEM: ("name, id, networks and addresses of a virtual machine, its target properties", "enable", NEEDED),
    Kind.GROUP: ("names of machines that share an instant", "enable", _OPTIONAL),
    Kind.PLAN: ("metadata of machines, scripts and manual actions of a recovery plan", "plan", "yes, without plans"),
    Kind.DNS_ZONE: ("names of zones and their server", "plan", "yes, names are then not updated"),
    Kind.CREDENTIAL: ("the name of a credential, never its secret", "plan", "yes, where nothing asks for one"),
}

FILES: Final = (
    Kept(
        where="server.json",
        what="location of the vault, the server's name, its proxy without password",
        why="registration: which vault the server belongs to",
        out=NEEDED,
    ),
    Kept(
        where="credentials/NAME",
        what="a secret under its name",
        why="connections that ask for one",
        out="yes, where nothing asks for one",
    ),
    Kept(
        where="the key file",
        what="a registration key",
        why="registration",
        out="yes, it is deleted once it was used",
    ),
)
NEVER: Final = "The content of disks goes from host to host and never through the vault: no column can hold it."


def table() -> tuple[Kept, ...]:
    """All rows: of the database by table and column, of documents by kind, of files."""
    rows = [row(one, column) for one in metadata.sorted_tables for column in one.columns]
    rows += [
        Kept(where=f"desired.document of {kind.value}", what=what, why=why, out=out)
        for kind, (what, why, out) in KINDS.items()
    ]
    return (*rows, *FILES)


def markdown() -> str:
    """The table as the guide prints it."""
    lines = ["| where | what | why | can it be left out |", "|---|---|---|---|"]
    lines += [f"| `{one.where}` | {one.what} | {one.why} | {one.out} |" for one in table()]
    return "\n".join([*lines, "", NEVER, ""])


def row(table: sa.Table, column: sa.Column[Any]) -> Kept:
    """What is kept in a column; TypeError for one that could hold the content of a disk."""
    if isinstance(column.type, sa.LargeBinary):
        raise TypeError(f"{table.name}.{column.name} could hold the content of a disk")
    return Kept(
        where=f"{table.name}.{column.name}", what=column.info["what"], why=table.info["why"], out=column.info["out"]
    )
