"""Servers, clouds and pairs as values, read from their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import sqlalchemy as sa

from drill.model.vault import (
    CloudFacts,
    CloudPair,
    Particulars,
    RegisteredCloud,
    RegisteredNode,
    RegisteredServer,
    SeenVersion,
    VaultProxy,
)
from drill.vault import schema

Row = sa.Row[tuple[object, ...]]


def servers(connection: sa.Connection) -> dict[str, RegisteredServer]:
    """All servers with their nodes, by name."""
    versions: dict[tuple[str, str], list[SeenVersion]] = defaultdict(list)
    table = schema.seen_versions
    for row in connection.execute(sa.select(table).order_by(table.c.place, table.c.component)):
        seen = SeenVersion(component=row.component, place=row.place, version=row.version)
        versions[row.server, row.node].append(seen)
    nodes: dict[str, list[RegisteredNode]] = defaultdict(list)
    for row in connection.execute(sa.select(schema.server_nodes).order_by(schema.server_nodes.c.position)):
        nodes[row.server].append(_node(row, versions[row.server, row.name]))
    rows = connection.execute(sa.select(schema.servers).order_by(schema.servers.c.name))
    return {row.name: _server(row, nodes[row.name]) for row in rows}


def clouds(connection: sa.Connection) -> dict[str, RegisteredCloud]:
    """All clouds, by name."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    table = schema.cloud_hosts
    for row in connection.execute(sa.select(table).order_by(table.c.host_group, table.c.host)):
        groups[row.cloud][row.host_group] += [row.host] if row.host else []
    rows = connection.execute(sa.select(schema.clouds).order_by(schema.clouds.c.name))
    return {row.name: _cloud(row, groups[row.name]) for row in rows}


def pairs(connection: sa.Connection) -> dict[str, CloudPair]:
    """All pairs, by name."""
    sides: dict[tuple[str, str], str] = {}
    for row in connection.execute(sa.select(schema.pair_clouds)):
        sides[row.pair, row.side] = row.cloud
    stores: dict[str, str] = {}
    for row in connection.execute(sa.select(schema.pair_stores).order_by(schema.pair_stores.c.since_us)):
        stores[row.pair] = row.store
    found = connection.execute(sa.select(schema.pairs).order_by(schema.pairs.c.name))
    return {
        row.name: CloudPair(
            name=row.name,
            source=sides[row.name, "source"],
            target=sides.get((row.name, "target"), ""),
            region=row.region,
            store=stores.get(row.name, ""),
        )
        for row in found
    }


def _node(row: Row, versions: list[SeenVersion]) -> RegisteredNode:
    return RegisteredNode(
        name=row.name,
        is_active=row.is_active,
        particulars=Particulars(host_name=row.host_name, drill=row.drill, certificate=row.certificate),
        registered_us=row.registered_us,
        seen_us=row.seen_us,
        versions=tuple(versions),
    )


def _server(row: Row, nodes: list[RegisteredNode]) -> RegisteredServer:
    proxy = None
    if row.proxy_address:
        proxy = VaultProxy(
            address=row.proxy_address, port=row.proxy_port, user=row.proxy_user, credential=row.proxy_credential
        )
    return RegisteredServer(
        name=row.name,
        site=row.site,
        is_cluster=row.is_cluster,
        registered_us=row.registered_us,
        nodes=tuple(nodes),
        proxy=proxy,
        encryption_certificate=row.encryption_certificate,
    )


def _cloud(row: Row, groups: Mapping[str, list[str]]) -> RegisteredCloud:
    return RegisteredCloud(
        server=row.server,
        facts=CloudFacts(
            name=row.name, profile=row.profile, host_groups={name: tuple(hosts) for name, hosts in groups.items()}
        ),
        synchronised_us=row.synchronised_us,
        encrypts=row.encrypts,
    )
