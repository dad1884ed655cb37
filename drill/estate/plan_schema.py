"""The shape of recovery plans: groups, what an item needs, actions before and after, objectives; and DNS zones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from drill.estate.shapes import Endpoint, GuestPath, Name, Phrase, Port, Section
from drill.model.action import SCRIPT_SECONDS_MAX, FailoverKind

GROUPS_MAX = 7
"""Groups of a plan (spec K1)."""
ACTIONS_MAX = 100
Kind = Literal["test", "planned", "unplanned", "failback"]
EVERY_KIND: list[Kind] = [one.value for one in FailoverKind]
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]


class ActionSection(Section):
    """What every action has; `kinds` are the failovers in which it runs (spec K9)."""

    name: Name
    kinds: Annotated[list[Kind], Field(min_length=1)] = EVERY_KIND


class ScriptSection(ActionSection):
    """A file of the root-owned script folder, by its name and the SHA-256 of its bytes (spec K8)."""

    do: Literal["script"]
    script: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    timeout_seconds: Annotated[int, Field(ge=1, le=SCRIPT_SECONDS_MAX)] = SCRIPT_SECONDS_MAX


class ManualSection(ActionSection):
    """Something that a person does and acknowledges (spec K9)."""

    do: Literal["manual"]
    instruction: Phrase


class DnsUpdateSection(ActionSection):
    """Rewrite the record of a machine's card in a zone (spec P1)."""

    do: Literal["dns-update"]
    zone: Name
    record: Annotated[str, StringConstraints(pattern=r"^(@|[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?)$")]
    item: Name
    nic: Annotated[int, Field(ge=0, le=63)] = 0
    ttl_seconds: Annotated[int, Field(ge=0, le=604800)] = 300


class WaitForPortSection(ActionSection):
    """Wait until a machine answers on a TCP port."""

    do: Literal["wait-for-port"]
    item: Name
    port: Port
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 120


class RunInGuestSection(ActionSection):
    """Run a program in a machine through its agent: an absolute path and arguments, no shell."""

    do: Literal["run-in-guest"]
    item: Name
    program: GuestPath
    arguments: Annotated[list[Argument], Field(max_length=64)] = []
    timeout_seconds: Annotated[int, Field(ge=1, le=SCRIPT_SECONDS_MAX)] = 120


AnyAction = Annotated[
    ScriptSection | ManualSection | DnsUpdateSection | WaitForPortSection | RunInGuestSection, Field(discriminator="do")
]
Actions = Annotated[list[AnyAction], Field(max_length=ACTIONS_MAX)]


class GroupSection(Section):
    """Machines that start together, but for those that wait for others of their group, which they `need`.

    All items of a consistency group join it, after those that are named (spec K1).
    """

    items: list[Name] = []
    consistency_groups: list[Name] = []
    needs: dict[Name, Annotated[list[Name], Field(min_length=1)]] = {}
    before: Actions = []
    after: Actions = []


class ObjectivesSection(Section):
    """What the plan promises."""

    rpo_seconds: Annotated[float, Field(gt=0, le=31_536_000, strict=False)]
    rto_seconds: Annotated[float, Field(gt=0, le=31_536_000, strict=False)]


class PlanSection(Section):
    """A recovery plan: at most 7 groups, started in order (spec K1); servers follow from the items when left out."""

    name: Name
    source: Name | None = None
    target: Name | None = None
    groups: Annotated[list[GroupSection], Field(min_length=1, max_length=GROUPS_MAX)]
    after_cleanup: Actions = []
    infrastructure: list[Name] = []
    starts_max: Annotated[int, Field(ge=1, le=100)] = 4
    objectives: ObjectivesSection


class DnsZoneSection(Section):
    """A zone that plans may update by RFC 2136; `item` serves it, so that a test can update the copy in its bubble."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$")]
    server: Endpoint
    credential: Name | None = None
    algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    item: Name | None = None
