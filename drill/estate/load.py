"""An estate file → the model's `Estate`, every reference resolved, every mistake with its file, line and column.

Three readings, each only after the one before found nothing: the text as YAML (`yaml`), its shape (`schema`), and what
must agree with something else in it (`sites`, `pairs`, `items`, `groups`, `plans`: later ones refer to earlier ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from drill.estate import schema
from drill.estate.findings import Findings
from drill.estate.groups import consistency_groups
from drill.estate.items import Items
from drill.estate.pairs import Pairs
from drill.estate.plans import Plans
from drill.estate.sites import Sites
from drill.estate.yaml import Document, read
from drill.model.estate import Estate


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A file that was found sound: its sections, and the values they stand for."""

    section: schema.EstateSection
    estate: Estate


def load(path: Path) -> Estate:
    """Read and check a whole estate; BadInput lists every mistake that this reading finds."""
    return load_document(read(path), path.absolute().parent).estate


def load_document(document: Document, folder: Path) -> Loaded:
    """Check a parsed file; relative paths in it are taken from `folder`."""
    found = Findings(document)
    try:
        section = schema.EstateSection.model_validate(document.value)
    except ValidationError as error:
        found.shape(error)
        found.close()
        raise
    estate = _resolved(section, found, folder)
    found.close()
    return Loaded(section=section, estate=estate)


def _resolved(section: schema.EstateSection, found: Findings, folder: Path) -> Estate:
    sites = Sites(found)
    sites.read(section)
    pairs = Pairs(found, sites)
    pairs.read(section)
    items = Items(found, pairs, folder)
    items.read(section.protected_items)
    groups = consistency_groups(section.groups, items.items, found)
    plans = Plans(found, sites, items.items, groups)
    plans.read(section.dns_zones, section.plans)
    return Estate(
        vault=section.vault.name,
        region=section.vault.region,
        subscription=section.vault.subscription or "",
        sites=sites.sites,
        credentials=sites.credentials,
        servers=sites.servers,
        clouds=sites.clouds,
        host_groups=sites.host_groups,
        hosts=sites.hosts,
        logical_networks=tuple(sites.logical_networks.values()),
        networks=tuple(sites.networks.values()),
        storage_classifications=tuple(sites.classifications.values()),
        storage_locations=tuple(sites.locations.values()),
        regions=sites.regions,
        policies=pairs.policies,
        pairs=pairs.pairs,
        network_mappings=tuple(pairs.network_mappings.values()),
        storage_mappings=tuple(pairs.storage_mappings.values()),
        items=items.items,
        groups=groups,
        dns_zones=plans.zones,
        plans=plans.plans,
    )
