"""The shape of an estate file, as pydantic models; names of keys are final.

Only shape and single values are judged here; what must agree with something else is judged by `drill.estate.load` and
the files it calls.  The published JSON schema (docs/estate.schema.json) is made of these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drill.estate.item_schema import ConsistencyGroupSection, ProtectedItemSection
from drill.estate.plan_schema import DnsZoneSection, PlanSection
from drill.estate.shapes import AbsolutePath, LocalTime, Minute, Name, Port, Section
from drill.estate.site_schema import CredentialSection, RegionSection, ServerSection, SiteSection, VaultSection


class BandwidthWindowSection(Section):
    """Another limit for a part of the day, `begin` and `end` as HH:MM in the sending host's local time."""

    begin: Minute
    end: Minute
    bytes_per_second: Annotated[int, Field(ge=0, lt=1 << 63)]
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = []


class BandwidthSection(Section):
    """A limit on what is sent to one receiver (spec Q1); 0 is no limit."""

    bytes_per_second: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    windows: list[BandwidthWindowSection] = []


class InitialSection(Section):
    """How the first copy travels (spec E9, H2); the locations are folders on the source and on the target host."""

    method: Literal["network", "offline"] = "network"
    start: Literal["now"] | LocalTime = "now"
    export_location: AbsolutePath | None = None
    import_location: AbsolutePath | None = None


class PolicySection(Section):
    """A replication policy; the frequencies are those of spec E4 and E6, compression that of E7."""

    name: Name
    target_type: Literal["site", "region"] = "site"
    host_version: Name | None = None
    copy_frequency_seconds: Literal[30, 300, 900]
    witness: bool = False
    application_consistent_hours: int = Field(default=0, ge=0, le=12)
    window_minutes: int = Field(default=60, ge=0, le=1440)
    additional_points: int = Field(default=24, ge=0, le=24)
    resync_window: str = Field(
        default="18:30-06:00", pattern=r"^(at once|([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])$"
    )
    compression: bool = True
    bandwidth: BandwidthSection | None = None
    authentication: Literal["certificate", "pair-key"] = "certificate"
    port: Port | None = None
    delete_replica: bool = False
    initial_replication: InitialSection = InitialSection()


class PairSection(Section):
    """Source cloud → target cloud, or → region and store, under a policy (spec D1); `policies` are further ones."""

    name: Name
    source: Name
    target: Name | None = None
    region: Name | None = None
    store: Name | None = None
    policy: Name
    policies: list[Name] = []


class NetworkMappingSection(Section):
    """Source VM network → target VM network (spec F1); the sites where names alone do not tell."""

    source: Name
    source_site: Name | None = None
    target: Name
    target_site: Name | None = None
    first_subnet: Literal["definition", "alphabetical"] = "definition"


class StorageMappingSection(Section):
    """Source classification → target classification (spec G1); the servers where names alone do not tell."""

    source: Name
    source_server: Name | None = None
    target: Name
    target_server: Name | None = None


class EstateSection(Section):
    """The whole file."""

    vault: VaultSection
    sites: list[SiteSection] = []
    credentials: list[CredentialSection] = []
    servers: Annotated[list[ServerSection], Field(min_length=1)]
    regions: list[RegionSection] = []
    policies: list[PolicySection] = []
    pairs: list[PairSection] = []
    network_mappings: list[NetworkMappingSection] = []
    storage_mappings: list[StorageMappingSection] = []
    protected_items: list[ProtectedItemSection] = []
    groups: list[ConsistencyGroupSection] = []
    dns_zones: list[DnsZoneSection] = []
    plans: list[PlanSection] = []
