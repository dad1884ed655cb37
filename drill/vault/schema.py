"""The vault's tables, as the newest migration leaves them.

Every table says in `info` why it is there, every column what it holds and whether it can be left out: the privacy table
(drill/vault/privacy.py, spec R1) is drawn from here and from nothing else.  Times are integers, microseconds since the
epoch, UTC (SQLite has no time zones).  No column can hold the content of a disk.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

NAME_MAX: Final = 63
NEEDED: Final = "no"

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _name(column: str, what: str, *more: sa.schema.SchemaItem, key: bool = False, out: str = NEEDED) -> sa.Column[str]:
    return sa.Column(column, sa.String(NAME_MAX), *more, primary_key=key, nullable=False, info=_info(what, out))


def _text(column: str, what: str, *, key: bool = False, out: str = NEEDED) -> sa.Column[str]:
    return sa.Column(column, sa.Text, primary_key=key, nullable=False, info=_info(what, out))


def _time(column: str, what: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(column, sa.BigInteger, nullable=null, info=_info(what, NEEDED))


def _number(column: str, what: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(
        column, sa.BigInteger, primary_key=key, autoincrement=False, nullable=False, info=_info(what, NEEDED)
    )


def _flag(column: str, what: str) -> sa.Column[bool]:
    return sa.Column(column, sa.Boolean, nullable=False, info=_info(what, NEEDED))


def _info(what: str, out: str) -> dict[str, str]:
    return {"what": what, "out": out}


def _why(why: str) -> dict[str, str]:
    return {"why": why}


WITHOUT_PROXY: Final = "yes, without a proxy"

vault = sa.Table(
    "vault",
    metadata,
    sa.Column(
        "singleton",
        sa.Integer,
        sa.CheckConstraint("singleton = 1", name="one"),
        primary_key=True,
        autoincrement=False,
        info=_info("1: a database holds one vault", NEEDED),
    ),
    _name("id", "a random id of the vault"),
    _name("name", "the vault's name"),
    _name("region", "the vault's region"),
    _name("goal", "what is to be protected to where"),
    _name("state", "active, once it was made"),
    _time("made_us", "when it was made"),
    _number("generation", "how often desired objects were written"),
    info=_why("the vault itself"),
)

registration_keys = sa.Table(
    "registration_keys",
    metadata,
    _name("id", "the key's public id", key=True),
    _name("server", "the server that may use it"),
    sa.Column("secret_hash", sa.String(64), nullable=False, info=_info("a hash of the key, of no use as key", NEEDED)),
    _time("made_us", "when it was made"),
    _time("expires_us", "when it ends"),
    _time("used_us", "when it was used", null=True),
    _time("revoked_us", "when it was revoked", null=True),
    info=_why("registration: each key registers one server, once, within five days"),
)

failed_registrations = sa.Table(
    "failed_registrations",
    metadata,
    _number("n", "a running number", key=True),
    _name("server", "the name that was given"),
    _time("at_us", "when"),
    info=_why("registration: guessing of keys is slowed down"),
)

servers = sa.Table(
    "servers",
    metadata,
    _name("name", "the server's friendly name", key=True),
    _name("site", "its site"),
    _flag("is_cluster", "whether it is a server cluster"),
    _time("registered_us", "when it registered"),
    _text("proxy_address", "the proxy's address", out=WITHOUT_PROXY),
    sa.Column("proxy_port", sa.Integer, nullable=False, info=_info("the proxy's port", WITHOUT_PROXY)),
    _text("proxy_user", "the user at the proxy", out=WITHOUT_PROXY),
    _text("proxy_credential", "the name of the credential with the proxy's password", out=WITHOUT_PROXY),
    _text("encryption_certificate", "SHA-256 of the certificate file of encrypted stores", out="yes, without a region"),
    info=_why("registration: which servers there are and how they reach the vault"),
)

server_nodes = sa.Table(
    "server_nodes",
    metadata,
    _name("server", "the server", sa.ForeignKey("servers.name", ondelete="CASCADE"), key=True),
    _name("name", "the node; of a server that is no cluster, the server", key=True),
    _number("position", "its place in the order of registration"),
    _flag("is_active", "whether it was the active node when it registered"),
    _text("host_name", "the machine's host name"),
    _text("drill", "the version of drill on it"),
    _text("certificate", "its certificate, without the key", out="yes, without agents"),
    _time("registered_us", "when it registered"),
    _time("seen_us", "when it last told of itself"),
    info=_why("registration: the machines that run a server"),
)

seen_versions = sa.Table(
    "seen_versions",
    metadata,
    _name("server", "the server", key=True),
    _name("node", "the node that looked", key=True),
    _name("component", "libvirt, QEMU, guest agent or kernel", key=True),
    _text("place", "the machine or guest on which it was seen", key=True),
    _text("version", "the version"),
    sa.ForeignKeyConstraint(
        ["server", "node"], ["server_nodes.server", "server_nodes.name"], ondelete="CASCADE",
        name="fk_seen_versions_server",
    ),
    info=_why("registration: only tested versions are accepted"),
)  # fmt: skip

clouds = sa.Table(
    "clouds",
    metadata,
    _name("name", "the cloud's name", key=True),
    _name("server", "its server", sa.ForeignKey("servers.name", ondelete="CASCADE")),
    _text("profile", "its capability profile"),
    _time("synchronised_us", "since when it can be chosen", null=True),
    _flag("encrypts", "whether what is stored in a region is encrypted"),
    info=_why("registration: the clouds that can be chosen as source or target"),
)

cloud_hosts = sa.Table(
    "cloud_hosts",
    metadata,
    _name("cloud", "the cloud", sa.ForeignKey("clouds.name", ondelete="CASCADE"), key=True),
    _name("host_group", "the host group", key=True),
    _name("host", "the host's name, empty for a group without hosts", key=True),
    info=_why("registration: what a cloud consists of"),
)

pairs = sa.Table(
    "pairs",
    metadata,
    _name("name", "the pair's name", key=True),
    _text("region", "the region it replicates to", out="yes, between clouds"),
    _time("made_us", "when it was made"),
    info=_why("mapping: which cloud replicates to where"),
)

pair_stores = sa.Table(
    "pair_stores",
    metadata,
    _name("pair", "the pair", sa.ForeignKey("pairs.name", ondelete="CASCADE"), key=True),
    _number("since_us", "since when", key=True),
    _text("store", "the region's store", out="yes, between clouds"),
    info=_why("mapping: a new store holds for machines that are enabled afterwards"),
)

pair_clouds = sa.Table(
    "pair_clouds",
    metadata,
    _name("cloud", "the cloud", sa.ForeignKey("clouds.name", ondelete="RESTRICT"), key=True),
    _name("pair", "the pair", sa.ForeignKey("pairs.name", ondelete="CASCADE")),
    sa.Column("side", sa.String(6), nullable=False, info=_info("source or target", NEEDED)),
    sa.UniqueConstraint("pair", "side"),
    info=_why("mapping: a cloud is in one pair only"),
)

desired = sa.Table(
    "desired",
    metadata,
    _name("kind", "the kind of object", key=True),
    sa.Column("name", sa.String(255), primary_key=True, nullable=False, info=_info("the object's name", NEEDED)),
    _text("document", "how it is to be; the table of kinds says what that is"),
    _time("changed_us", "when it was last changed"),
    info=_why("how the estate is to be: what was written down is compared with what is there"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _text("id", "the job's id", key=True),
    _text("action", "what is done"),
    _text("subject", "to what: a plan, an item, a pair"),
    _text("actor", "who began it"),
    _name("state", "how far it is"),
    _time("created_us", "when it was made"),
    _time("started_us", "when it began", null=True),
    _time("ended_us", "when it ended", null=True),
    _text("cause", "the class of the error it ended with"),
    _text("cause_message", "the error's sentence"),
    _text("cause_remedy", "what to do about it"),
    info=_why("failover: status of every long action"),
)

job_steps = sa.Table(
    "job_steps",
    metadata,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, nullable=False,
              info=_info("the job", NEEDED)),
    _number("position", "the step's place", key=True),
    _text("name", "the step"),
    _name("state", "how far it is"),
    _time("started_us", "when it began", null=True),
    _time("ended_us", "when it ended", null=True),
    _number("done", "how much is done"),
    _number("total", "of how much"),
    _text("unit", "of what"),
    _text("detail", "what is said of it"),
    sa.UniqueConstraint("job", "name"),
    info=_why("failover: status of every step"),
)  # fmt: skip

job_questions = sa.Table(
    "job_questions",
    metadata,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, nullable=False,
              info=_info("the job", NEEDED)),
    _number("number", "the question's number", key=True),
    _text("text", "what the job waits for"),
    _time("asked_us", "since when"),
    _text("answer", "the answer"),
    _text("answered_by", "who answered"),
    _time("answered_us", "when", null=True),
    _text("note", "the note that was left", out="yes, nobody has to leave one"),
    info=_why("failover: manual actions and who acknowledged them"),
)  # fmt: skip

probes = sa.Table(
    "probes",
    metadata,
    _text("looker", "the machine that looked", key=True),
    _text("purpose", "what the connection is for", key=True),
    _text("at", "the address and port it looked at", key=True),
    _time("at_us", "when it last looked"),
    _flag("reached", "whether it could be reached"),
    _text("cause", "why not"),
    info=_why("registration: connections that will be needed are tried beforehand"),
)

audit = sa.Table(
    "audit",
    metadata,
    _number("n", "the entry's number", key=True),
    _text("line", "when, who, what, to what, with what outcome; chained by hashes"),
    sa.Column("hash", sa.String(64), nullable=False, info=_info("the entry's hash", NEEDED)),
    info=_why("evidence of who changed what; it only grows"),
)
