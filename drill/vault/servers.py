"""Servers of a vault: they register with a key, tell of themselves again, and unregister (spec B4-B9, A1, A2, A7)."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from drill.core import registration, versions
from drill.errors import Refused, Usage
from drill.model.vault import Particulars, RegisteredServer, Registration, SeenVersion, VaultProxy
from drill.vault import clouds, keys, rows, schema
from drill.vault.book import Book, Change, facts


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a vault."""

    book: Book

    def register(self, asked: Registration) -> tuple[str, ...]:
        """Put a server, or the next node of a server cluster, and its clouds into the vault; sentences to be told.

        Refused where a rule says no; then the key is as good as before.
        """
        registration.check_name(asked.server, "server")
        told = versions.check(asked.versions)
        try:
            with self.book.change("register", f"server {asked.server}") as change:
                if not keys.use(change, asked.server, asked.key, asked.secret):
                    raise _WrongKey(asked.server)
                told += self._admit(change, asked)
        except _WrongKey:
            with self.book.writing() as change:
                keys.note_failure(change, asked.server)
            raise
        return told

    def refresh(
        self, server: str, node: str, particulars: Particulars, seen: tuple[SeenVersion, ...]
    ) -> RegisteredServer:
        """What a node tells of itself from now on (spec B4); a node that was upgraded says so by this."""
        with self.book.change("refresh", f"server {server}") as change:
            known = _known(change, server)
            if node not in {one.name for one in known.nodes}:
                raise Usage(f"{server} has no node {node[:80]!r}", "drill vault servers shows them")
            told = versions.check(seen)
            change.detail.extend(told)
            _forget_versions(change, server, node)
            table = schema.server_nodes
            row = sa.update(table).where(table.c.server == server, table.c.name == node)
            change.connection.execute(row.values(**_particulars(particulars), seen_us=change.now_us))
            _note_versions(change, server, node, seen)
            return rows.servers(change.connection)[server]

    def connect(self, server: str, proxy: VaultProxy | None) -> None:
        """How a server reaches the vault from its next start on (spec B7): through a proxy, or directly."""
        with self.book.change("set the proxy", f"server {server}") as change:
            _known(change, server)
            row = sa.update(schema.servers).where(schema.servers.c.name == server)
            change.connection.execute(row.values(**_proxy(proxy)))
            change.note(f"{proxy.address}:{proxy.port}" if proxy else "direct")

    def unregister(self, server: str) -> tuple[str, ...]:
        """Take a server and its clouds out of the vault (spec B5); the names of the clouds.

        Refused while one of its clouds is in a pair.
        """
        with self.book.change("unregister", f"server {server}") as change:
            _known(change, server)
            mine = [cloud.facts.name for cloud in rows.clouds(change.connection).values() if cloud.server == server]
            for pair in rows.pairs(change.connection).values():
                for name in {pair.source, pair.target} & set(mine):
                    raise Refused(
                        f"cloud {name} is in the pair {pair.name}", "B5", f"remove the pair {pair.name} first"
                    )
            change.connection.execute(sa.delete(schema.servers).where(schema.servers.c.name == server))
            change.note(f"clouds: {', '.join(mine) or 'none'}")
            return tuple(mine)

    def all(self) -> tuple[RegisteredServer, ...]:
        """All servers, sorted by name."""
        with self.book.reading() as connection:
            return tuple(rows.servers(connection).values())

    def _admit(self, change: Change, asked: Registration) -> tuple[str, ...]:
        connection, goal = change.connection, facts(change.connection).goal
        known = rows.servers(connection)
        registration.check_new(asked.server, asked.cluster, asked.particulars.drill, known.get(asked.server))
        others = len(known.keys() - {asked.server})
        registration.check_server_count(goal, others)
        told = registration.check_clouds(goal, asked.clouds, others)
        if asked.server not in known:
            connection.execute(schema.servers.insert().values(**_server(asked, change.now_us)))
        node = asked.cluster.node if asked.cluster is not None else asked.server
        registration.check_name(node, "node")
        _add_node(change, asked, node, len(known[asked.server].nodes) if asked.server in known else 0)
        clouds.receive(change, asked.server, asked.clouds)
        if asked.synchronise:
            clouds.synchronise(change, tuple(cloud.name for cloud in asked.clouds))
        return told


class _WrongKey(Refused):
    """A key that is not the one; the same words whatever is wrong with it."""

    def __init__(self, server: str) -> None:
        cure = registration.ANOTHER_KEY.format(server=server)
        super().__init__(f"the registration key is not one for the server {server}", "B2", cure)

    @property
    def id(self) -> str:
        return Refused.__name__


def _known(change: Change, server: str) -> RegisteredServer:
    found = rows.servers(change.connection).get(server)
    if found is None:
        raise Usage(f"there is no server {server[:80]!r}", "drill vault servers shows them")
    return found


def _proxy(proxy: VaultProxy | None) -> dict[str, object]:
    return {
        "proxy_address": proxy.address if proxy else "",
        "proxy_port": proxy.port if proxy else 0,
        "proxy_user": proxy.user if proxy else "",
        "proxy_credential": proxy.credential if proxy else "",
    }


def _server(asked: Registration, now_us: int) -> dict[str, object]:
    return {
        "name": asked.server,
        "site": asked.site,
        "is_cluster": asked.cluster is not None,
        "registered_us": now_us,
        "encryption_certificate": asked.encryption_certificate,
        **_proxy(asked.proxy),
    }


def _add_node(change: Change, asked: Registration, node: str, position: int) -> None:
    row = {"server": asked.server, "name": node, "position": position}
    is_active = asked.cluster is None or asked.cluster.is_active
    seen = {"registered_us": change.now_us, "seen_us": change.now_us, "is_active": is_active}
    change.connection.execute(schema.server_nodes.insert().values(**row, **seen, **_particulars(asked.particulars)))
    _note_versions(change, asked.server, node, asked.versions)


def _particulars(told: Particulars) -> dict[str, str]:
    return {"host_name": told.host_name, "drill": told.drill, "certificate": told.certificate}


def _forget_versions(change: Change, server: str, node: str) -> None:
    table = schema.seen_versions
    change.connection.execute(sa.delete(table).where(table.c.server == server, table.c.node == node))


def _note_versions(change: Change, server: str, node: str, seen: tuple[SeenVersion, ...]) -> None:
    values = [
        {"server": server, "node": node, "component": one.component, "place": one.place, "version": one.version}
        for one in seen
    ]
    if values:
        change.connection.execute(schema.seen_versions.insert(), values)
