"""Clouds of registered servers: told of by their server, synchronised before they can be chosen (spec B4, B8, B10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from drill.core import registration
from drill.errors import Refused, Usage
from drill.model.vault import CloudFacts, RegisteredCloud
from drill.vault import rows, schema
from drill.vault.book import Book, Change, facts


@dataclass(frozen=True, slots=True)
class Clouds:
    """The clouds of a vault."""

    book: Book

    def all(self) -> tuple[RegisteredCloud, ...]:
        """All clouds, sorted by name."""
        with self.book.reading() as connection:
            return tuple(rows.clouds(connection).values())

    def told(self, server: str, told: tuple[CloudFacts, ...]) -> None:
        """What a server's clouds are from now on; a new one is not synchronised yet (spec B4)."""
        with self.book.change("tell of clouds", f"server {server}") as change:
            if server not in rows.servers(change.connection):
                raise Usage(f"there is no server {server[:80]!r}", "drill vault servers shows them")
            receive(change, server, told)

    def synchronise(self, names: Iterable[str] = ()) -> tuple[str, ...]:
        """Let clouds be chosen from now on, all of them when none is named; their names (spec B8)."""
        wanted = tuple(sorted(names))
        with self.book.change("synchronise", f"clouds {', '.join(wanted) or 'all'}"[:200]) as change:
            known = rows.clouds(change.connection)
            for name in wanted:
                _cloud(known, name)
            chosen = wanted or tuple(known)
            synchronise(change, chosen)
            return chosen

    def encrypt(self, name: str, *, wanted: bool) -> str:
        """Set whether what a cloud stores in a region is encrypted; a note where that changes nothing (spec B10)."""
        with self.book.change("set encryption", f"cloud {name}") as change:
            cloud = _cloud(rows.clouds(change.connection), name)
            certificate = rows.servers(change.connection)[cloud.server].encryption_certificate
            goal = facts(change.connection).goal
            encrypts, note = registration.encryption(goal, cloud, certificate, wanted=wanted)
            row = sa.update(schema.clouds).where(schema.clouds.c.name == name)
            change.connection.execute(row.values(encrypts=encrypts))
            change.note(note or ("on" if encrypts else "off"))
            return note

    def check_failover(self, name: str, certificate: str) -> None:
        """Refused unless a failover from a cloud's store names the right certificate, or needs none (spec B10)."""
        with self.book.reading() as connection:
            cloud = _cloud(rows.clouds(connection), name)
            registered = rows.servers(connection)[cloud.server].encryption_certificate
        registration.check_failover_certificate(cloud, registered, certificate)


def receive(change: Change, server: str, told: Iterable[CloudFacts]) -> None:
    """Take over what a server tells of its clouds; one that is gone is taken out, unless it is in a pair."""
    connection, now = change.connection, {cloud.name: cloud for cloud in told}
    known = rows.clouds(connection)
    for name in now:
        registration.check_name(name, "cloud")
        if name in known and known[name].server != server:
            raise Refused(f"cloud {name} belongs to the server {known[name].server}", "A2", "give it another name")
    gone = {name for name, cloud in known.items() if cloud.server == server} - now.keys()
    for pair in rows.pairs(connection).values():
        for name in {pair.source, pair.target} & gone:
            raise Refused(
                f"cloud {name} is gone, and in the pair {pair.name}", "D4", f"remove the pair {pair.name} first"
            )
    connection.execute(sa.delete(schema.clouds).where(schema.clouds.c.name.in_(gone)))
    for cloud in now.values():
        _put(connection, server, cloud, is_new=cloud.name not in known)


def synchronise(change: Change, names: tuple[str, ...]) -> None:
    """Let clouds that are there be chosen."""
    row = sa.update(schema.clouds).where(schema.clouds.c.name.in_(names))
    change.connection.execute(row.values(synchronised_us=change.now_us))


def _put(connection: sa.Connection, server: str, cloud: CloudFacts, *, is_new: bool) -> None:
    if is_new:
        row = schema.clouds.insert().values(name=cloud.name, server=server, profile=cloud.profile, encrypts=False)
        connection.execute(row)
    else:
        same = schema.clouds.c.name == cloud.name
        connection.execute(sa.update(schema.clouds).where(same).values(profile=cloud.profile))
        connection.execute(sa.delete(schema.cloud_hosts).where(schema.cloud_hosts.c.cloud == cloud.name))
    values = [
        {"cloud": cloud.name, "host_group": group, "host": host}
        for group, hosts in cloud.host_groups.items()
        for host in hosts or ("",)
    ]
    if values:
        connection.execute(schema.cloud_hosts.insert(), values)


def _cloud(known: dict[str, RegisteredCloud], name: str) -> RegisteredCloud:
    if name not in known:
        raise Usage(f"there is no cloud {name[:80]!r}", "drill vault clouds list shows them")
    return known[name]
